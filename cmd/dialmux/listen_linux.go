package main

import (
	"math"
	"net"
	"syscall"
)

// refuseMore makes the kernel refuse whoever tries to connect from now on, as
// if the port were closed, while what it has accepted can still be taken. If
// the port were just closed, a connection could always slip in after the last
// look, and be reset with its request.
//
// It binds the listener to an interface that does not exist. This needs no
// privilege (Linux 5.7), and does not concern connections that are open.
func refuseMore(l *net.TCPListener) error {
	const soBindToIfindex = 62
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var bound error
	err = raw.Control(func(fd uintptr) {
		bound = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soBindToIfindex, math.MaxInt32)
	})
	if err != nil {
		return err
	}
	return bound
}
