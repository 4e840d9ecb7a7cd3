//go:build !linux

package http1

// socket is how a connection reads and writes: as net.Conn does.
type socket struct{}

func (c *Conn) open() {}

func (c *Conn) read() error { return c.readPlain() }

func (c *Conn) write(pieces ...[]byte) error { return c.writePlain(pieces) }

func (c *Conn) pending() bool { return true }

func (c *Conn) taken() (n uint64, ok bool) { return 0, false }

// sockets is the memory of gone.
type sockets struct{ found []*Conn }

// gone returns those connections whose clients have closed them.
func (s *sockets) gone(conns []*Conn) []*Conn {
	clear(s.found)
	s.found = s.found[:0]
	for _, c := range conns {
		if !c.switched.Load() && (closedPlain(c.nc) || peek(c.nc)) {
			s.found = append(s.found, c)
		}
	}
	return s.found
}
