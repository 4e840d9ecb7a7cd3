// Package testpipe is the network of tests: connections in memory that have a buffer, deadlines and half-close, as
// TCP's have, and block in ways that testing/synctest understands.
package testpipe

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// DefaultSize is how many bytes New's pipes hold in each direction before a writer waits.
const DefaultSize = 64 << 10

// New returns the two ends of a connection.
func New() (a, b net.Conn) { return NewSize(DefaultSize) }

// NewSize is New for a buffer of size bytes, at least one, in each direction.
func NewSize(size int) (a, b net.Conn) { return newPair(size, "pipe:a", "pipe:b") }

func newPair(size int, nameA, nameB addr) (a, b *Conn) {
	ab, ba := newStream(size), newStream(size)
	return &Conn{in: ba, out: ab, local: nameA, remote: nameB}, &Conn{in: ab, out: ba, local: nameB, remote: nameA}
}

// Conn is one end of a connection.
type Conn struct {
	in, out       *stream
	local, remote addr
}

type addr string

func (addr) Network() string  { return "pipe" }
func (a addr) String() string { return string(a) }

// Read waits for at least one byte. After the peer's CloseWrite or Close and its last byte the error is io.EOF.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write waits until the buffer has taken all of p. After the peer's Close the error is syscall.EPIPE.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close ends both directions. What the peer has not read yet it still can.
func (c *Conn) Close() error {
	c.in.update(func(s *stream) { s.reader.closed = true })
	return c.CloseWrite()
}

// CloseWrite ends the outgoing direction.
func (c *Conn) CloseWrite() error {
	c.out.update(func(s *stream) { s.writer.closed = true })
	return nil
}

// PeerClosed tells whether the peer has closed its end, or its outgoing direction, though bytes before that be unread.
func (c *Conn) PeerClosed() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.writer.closed
}

// LocalAddr names this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr names the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline is as net.Conn says, for Reads that wait already too.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.update(func(s *stream) { s.setDeadline(&s.reader, t) })
	return nil
}

// SetWriteDeadline is as net.Conn says, for Writes that wait already too.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.update(func(s *stream) { s.setDeadline(&s.writer, t) })
	return nil
}

// stream is one direction.
type stream struct {
	size int

	mu      sync.Mutex
	changed sync.Cond
	data    []byte
	reader  side
	writer  side
}

type side struct {
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

func newStream(size int) *stream {
	s := &stream{size: max(size, 1)}
	s.changed.L = &s.mu
	return s
}

func (s *stream) update(f func(*stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
	s.changed.Broadcast()
}

func (s *stream) setDeadline(side *side, t time.Time) {
	if side.timer != nil {
		side.timer.Stop()
	}
	side.deadline = t
	// No timer for what has passed: update wakes those who wait, and timers of a synctest bubble that are due when
	// they are made, on two threads at once, crash the race detector (golang/go#78156).
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		side.timer = time.AfterFunc(wait, func() { s.update(func(*stream) {}) })
	}
}

// err is why a side may not go on.
func (x *side) err() error {
	if x.closed {
		return net.ErrClosed
	}
	if !x.deadline.IsZero() && !time.Now().Before(x.deadline) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.reader.err(); err != nil {
			return 0, err
		}
		if len(s.data) > 0 || len(p) == 0 {
			n := copy(p, s.data)
			s.data = s.data[:copy(s.data, s.data[n:])]
			s.changed.Broadcast()
			return n, nil
		}
		if s.writer.closed {
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.writer.err(); err != nil {
			return n, err
		}
		if s.reader.closed {
			return n, syscall.EPIPE
		}
		if free := min(s.size-len(s.data), len(p)-n); free > 0 {
			s.data = append(s.data, p[n:n+free]...)
			n += free
			s.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		s.changed.Wait()
	}
}
