package supervise

import "syscall"

// diesWithParent has the kernel kill the process when the thread that starts it ends, and so when we are killed.
func diesWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
