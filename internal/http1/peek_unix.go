//go:build unix && !linux

package http1

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peek tells whether nothing comes any more and nothing is left to read. What a client sent before its end, and nobody has
// read, hides the end.
func peek(nc net.Conn) (ended bool) {
	sc, ok := Beneath(nc).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = n == 0 && err == nil || err == unix.ECONNRESET
	})
	return ended || err != nil
}
