package router

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

const tcpEstablished = 1 // TCP_ESTABLISHED in linux/tcp_states.h

// closedByPeer asks the kernel for the state of a TCP connection: unread data
// hides the end from a read.
func closedByPeer(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err == nil && info.State != tcpEstablished
	})
	return err != nil || closed
}
