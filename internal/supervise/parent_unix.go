//go:build unix && !linux

package supervise

import "syscall"

func diesWithParent(*syscall.SysProcAttr) {}
