package http1

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is how a connection reads and writes. On a bare TCP connection it waits without holding a buffer, and sees what
// each call has moved; otherwise (TLS, tests) it uses net.Conn.
type socket struct {
	raw   syscall.RawConn // nil: not a bare socket
	probe syscall.RawConn // the socket beneath, for gone; nil: there is none
	fd    int             // of probe; it may have been closed since

	// Of the call that runs, kept here so that it allocates nothing.
	reader, writer func(fd uintptr) bool
	count          int
	readFault      error
	writeFault     error // the reader of a body and the writer of the answer may be two
	pieces         [3][]byte
}

func (c *Conn) open() {
	under := Beneath(c.nc)
	c.fd = -1
	sc, ok := under.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	if raw.Control(func(fd uintptr) { c.fd = int(fd) }) != nil {
		return
	}
	c.probe = raw
	if _, ok := c.nc.(around); !ok {
		c.raw, c.reader, c.writer = raw, c.tryRead, c.tryWrite
	}
}

// read reads at least one byte into the buffer, which it grabs when there is something to read.
func (c *Conn) read() error {
	if c.raw == nil {
		return c.readPlain()
	}
	err := c.raw.Read(c.reader)
	if err == nil {
		err = c.readFault
	}
	switch {
	case err != nil:
		return err
	case c.count == 0:
		return io.EOF
	}
	c.w += c.count
	return nil
}

func (c *Conn) tryRead(fd uintptr) bool {
	c.grab()
	n, err := unix.Read(int(fd), c.buf[c.w:])
	for err == unix.EINTR {
		n, err = unix.Read(int(fd), c.buf[c.w:])
	}
	if err == unix.EAGAIN {
		if c.w == 0 {
			c.giveBack()
			c.buf = nil
		}
		return false
	}
	c.count, c.readFault = n, nil
	if err != nil {
		c.count, c.readFault = 0, os.NewSyscallError("read", err)
	}
	return true
}

// write sends the pieces one behind the other, in one call if the kernel takes them all.
func (c *Conn) write(pieces ...[]byte) error {
	if c.raw == nil {
		return c.writePlain(pieces)
	}
	copy(c.pieces[:], pieces)
	c.progress()
	err := c.raw.Write(c.writer)
	c.pieces = [3][]byte{}
	if err == nil {
		err = c.writeFault
	}
	return err
}

func (c *Conn) tryWrite(fd uintptr) bool {
	c.writeFault = nil
	for {
		p := c.pieces[:]
		for len(p) > 0 && len(p[0]) == 0 {
			p = p[1:]
		}
		for len(p) > 0 && len(p[len(p)-1]) == 0 {
			p = p[:len(p)-1]
		}
		var n int
		var err error
		switch len(p) {
		case 0:
			return true
		case 1:
			n, err = unix.Write(int(fd), p[0])
		default:
			n, err = unix.Writev(int(fd), p)
		}
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case err != nil:
			c.writeFault = os.NewSyscallError("write", err)
			return true
		}
		for i := range p {
			k := min(n, len(p[i]))
			p[i], n = p[i][k:], n-k
		}
		if len(p[len(p)-1]) > 0 {
			c.progress()
		}
	}
}

// pending tells whether bytes wait in the kernel: closing over them would reset the connection, and lose the answer.
func (c *Conn) pending() (is bool) {
	if c.probe != nil {
		_ = c.probe.Control(func(fd uintptr) {
			n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
			is = err == nil && n > 0
		})
	}
	return is
}

// taken counts the bytes that the client has acknowledged.
func (c *Conn) taken() (n uint64, ok bool) {
	if c.probe == nil {
		return 0, false
	}
	_ = c.probe.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if ok = err == nil; ok {
			n = info.Bytes_acked
		}
	})
	return n, ok
}

// sockets is the memory of gone.
type sockets struct {
	polls []unix.PollFd
	at    []*Conn
	found []*Conn
}

// gone returns those connections whose clients have closed them, or at least their sending half: the kernel knows, though
// bytes before the end be unread.
func (s *sockets) gone(conns []*Conn) []*Conn {
	clear(s.found)
	s.polls, s.at, s.found = s.polls[:0], s.at[:0], s.found[:0]
	for _, c := range conns {
		switch {
		case c.probe != nil:
			s.polls = append(s.polls, unix.PollFd{Fd: int32(c.fd), Events: c.signs()})
			s.at = append(s.at, c)
		case !c.switched.Load() && closedPlain(c.nc):
			s.found = append(s.found, c)
		}
	}
	defer clear(s.at)
	if len(s.polls) == 0 {
		return s.found
	}
	if n, err := unix.Poll(s.polls, 0); n <= 0 || err != nil {
		return s.found
	}
	for i := range s.polls {
		if s.polls[i].Revents != 0 && s.at[i].closed() {
			s.found = append(s.found, s.at[i])
		}
	}
	return s.found
}

// signs are the events of a client that has gone, besides POLLHUP and POLLERR.
func (c *Conn) signs() int16 {
	if c.switched.Load() {
		return 0
	}
	return unix.POLLRDHUP
}

// closed asks again, while the descriptor cannot be given to another connection.
func (c *Conn) closed() (is bool) {
	err := c.probe.Control(func(fd uintptr) {
		polls := [1]unix.PollFd{{Fd: int32(fd), Events: c.signs()}}
		n, err := unix.Poll(polls[:], 0)
		is = err == nil && n == 1 && polls[0].Revents != 0
	})
	return is || err != nil // cut closes a connection that is served; nobody else does
}
