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
)

var errHeadTooLarge = errors.New("its head is larger than 64 KiB")

// conn is a connection to the app, for one request after the other.
type conn struct {
	net.Conn
	answers *bufio.Reader
	kept    bool      // it has carried a request before
	since   time.Time // it is idle

	// Owned by who reads the answer.
	limit  int64 // bytes that may be read
	broken bool  // reading failed, or came to the end

	scratch []byte // of heads
}

// take returns a connection that waits for a request, or makes one.
func (a *App) take(ctx context.Context) (*conn, error) {
	if c := a.idle.take(); c != nil {
		return c, nil
	}
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
}

func (s *idle) take() *conn {
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
		s.mu.Unlock()
		if quiet(c.Conn) {
			return c
		}
		_ = c.Close()
	}
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
func (s *idle) sweep(most time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.conns[:0]
	for _, c := range s.conns {
		if time.Since(c.since) < most && quiet(c.Conn) {
			kept = append(kept, c)
		} else {
			_ = c.Close()
		}
	}
	clear(s.conns[len(kept):])
	s.conns = kept
}
