//go:build unix

package sidecar

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quiet tells a connection on which nothing has come, not its end either. An end that is still on its way is not seen.
func quiet(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var blocks error
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, blocks = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && errors.Is(blocks, unix.EAGAIN)
}
