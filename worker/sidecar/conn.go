package sidecar

import (
	"bufio"
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"time"
)

const (
	maxHead    = 64 << 10 // of an answer: no larger one fits into a frame
	bufferSize = 32 << 10
	idleFor    = time.Minute // as long as a connection is kept without a request
	maxIdle    = 256
	quickClose = time.Second // an app that closes connections sooner than that may do it at any time
)

var errHeadTooLarge = errors.New("its head is larger than 64 KiB")

// conn is a connection to the app, for one request after the other.
type conn struct {
	net.Conn
	answers *bufio.Reader
	kept    bool          // it has carried a request before
	since   time.Time     // it was put away
	idle    time.Duration // from then until it was taken

	// Owned by who reads the answer.
	limit  int64 // bytes that may be read
	broken bool  // reading failed, or came to the end

	scratch []byte // of heads
}

// connect makes a connection for requests.
func (a *App) connect(ctx context.Context) (*conn, error) {
	nc, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, limit: math.MaxInt64}
	c.answers = bufio.NewReaderSize(c, 4<<10)
	return c, nil
}

// Read is for answers.
func (c *conn) Read(p []byte) (int, error) {
	if c.limit <= 0 {
		return 0, errHeadTooLarge
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.limit)])
	c.limit -= int64(n)
	c.broken = c.broken || err != nil
	return n, err
}

// CloseWrite ends what the app reads.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// idle are connections that wait for a request, the one used last on top.
type idle struct {
	mu    sync.Mutex
	conns []*conn
	safe  time.Duration // one that waits for longer may be closed just when a request comes
}

// take returns a connection, nil if a fresh one is better. again: the request can be sent again.
func (s *idle) take(again bool) *conn {
	for {
		s.mu.Lock()
		n := len(s.conns) - 1
		if n < 0 {
			s.mu.Unlock()
			return nil
		}
		c := s.conns[n]
		s.conns[n] = nil
		s.conns = s.conns[:n]
		c.idle = time.Since(c.since)
		safe := again || c.idle < s.safe
		s.mu.Unlock()
		switch {
		case !safe: // nor is any below it
			_ = c.Close()
			return nil
		case quiet(c.Conn):
			return c
		}
		_ = c.Close()
		s.learn(c.idle)
	}
}

// learn notes that the app has closed a connection that waited for so long.
func (s *idle) learn(waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lower(waited)
}

// lower keeps well away from the shortest time that was seen, which may have been seen late. s.mu is held.
func (s *idle) lower(waited time.Duration) {
	if waited < quickClose {
		waited = 0
	}
	s.safe = min(s.safe, waited/2)
}

func (s *idle) put(c *conn) {
	c.kept, c.since = true, time.Now()
	s.mu.Lock()
	full := len(s.conns) >= maxIdle
	if !full {
		s.conns = append(s.conns, c)
	}
	s.mu.Unlock()
	if full {
		_ = c.Close()
	}
}

// sweep closes those that have ended, or were idle for too long.
func (s *idle) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.conns[:0]
	for _, c := range s.conns {
		waited := time.Since(c.since)
		alive := quiet(c.Conn)
		if alive && waited < idleFor {
			kept = append(kept, c)
			continue
		}
		if !alive {
			s.lower(waited)
		}
		_ = c.Close()
	}
	clear(s.conns[len(kept):])
	s.conns = kept
}

// anew closes all, and forgets how the app was.
func (s *idle) anew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns, s.safe = nil, idleFor
}
