//go:build !unix

package supervise

import "syscall"

func ownGroup() *syscall.SysProcAttr { return nil }

// terminate kills: there is no asking.
func (p *process) terminate() { p.kill() }
func (p *process) kill()      { _ = p.cmd.Process.Kill() }

func (p *process) leavesBehind() bool { return false }
