package http1

import (
	"bytes"
	"net"
)

// This file is for connections that are no bare sockets: TLS, pipes in memory, other systems than Linux.

// readPlain waits with one byte of memory, and then reads what came with that byte.
func (c *Conn) readPlain() error {
	if c.buf == nil {
		if n, err := c.nc.Read(c.one[:]); n == 0 {
			return err
		}
		c.grab()
		c.buf[0] = c.one[0]
		c.w = 1
		return nil
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// piece is how much is written at a time, so that a slow client's progress shows.
const piece = 16 << 10

func (c *Conn) writePlain(pieces [][]byte) error {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if size <= piece && len(pieces) > 1 {
		pieces = [][]byte{bytes.Join(pieces, nil)}
	}
	for _, p := range pieces {
		for len(p) > 0 {
			c.progress()
			n, err := c.nc.Write(p[:min(len(p), piece)])
			if err != nil {
				return err
			}
			p = p[n:]
		}
	}
	return nil
}

// closedPlain asks a connection that can tell whether its peer has closed it.
func closedPlain(nc net.Conn) bool {
	if p, ok := Beneath(nc).(interface{ PeerClosed() bool }); ok {
		return p.PeerClosed()
	}
	return false
}
