//go:build unix

package supervise

import (
	"errors"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	diesWithParent(attr)
	return attr
}

func (p *process) terminate() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) } // it may have ended
func (p *process) kill()      { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// leavesBehind tells whether others of its group are there. The process must have ended.
func (p *process) leavesBehind() bool {
	group := -p.cmd.Process.Pid
	// As process 1 of a container we are who must bury them.
	for n := 1; n > 0; {
		n, _ = syscall.Wait4(group, nil, syscall.WNOHANG, nil)
	}
	return !errors.Is(syscall.Kill(group, 0), syscall.ESRCH)
}
