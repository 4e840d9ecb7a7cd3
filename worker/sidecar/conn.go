package sidecar

import (
	"bufio"
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	maxHead    = 64 << 10 // of an answer: no larger one fits into a frame
	bufferSize = 32 << 10
	idleFor    = time.Minute // as long as a connection is kept without a request
	maxIdle    = 256
	quickClose = time.Second            // an app that closes connections sooner than that may do it at any time
	turn       = 250 * time.Millisecond // as long as a connection may be used again and again while others wait for the app
)

var errHeadTooLarge = errors.New("its head is larger than 64 KiB")

// conn is a connection to the app, for one request after the other.
type conn struct {
	net.Conn
	answers *bufio.Reader
	kept    bool          // it has carried a request before
	first   time.Time     // it was put away for the first time
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
	late  int           // newcomers that have waited for long
}

// newcomer is a request on a fresh connection that has no answer yet. An app that serves one connection after the other gets to it only when
// those that it has kept are closed: each has had its turn.
type newcomer struct {
	s    *idle
	turn time.Duration

	// Guarded by s.mu.
	timer *time.Timer
	late  bool
	over  bool
}

func (s *idle) await(turn time.Duration) *newcomer {
	n := &newcomer{s: s, turn: turn}
	s.mu.Lock()
	defer s.mu.Unlock()
	n.timer = time.AfterFunc(turn, n.press)
	return n
}

// press is called each turn that n has waited.
func (n *newcomer) press() {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if n.over {
		return
	}
	if !n.late {
		n.late = true
		n.s.late++
	}
	n.s.filter(func(c *conn) bool { return time.Since(c.first) < n.turn })
	n.timer.Reset(n.turn)
}

// end is for when an answer comes, or nobody waits for one any more.
func (n *newcomer) end() {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if n.timer.Stop(); n.late && !n.over {
		n.s.late--
	}
	n.over = true
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
	if c.since = time.Now(); !c.kept {
		c.kept, c.first = true, c.since
	}
	s.mu.Lock()
	keep := len(s.conns) < maxIdle && (s.late == 0 || c.since.Sub(c.first) < turn)
	if keep {
		s.conns = append(s.conns, c)
	}
	s.mu.Unlock()
	if !keep {
		_ = c.Close()
	}
}

// sweep closes those that have ended, or were idle for too long.
func (s *idle) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter(func(c *conn) bool {
		waited := time.Since(c.since)
		alive := quiet(c.Conn)
		if !alive {
			s.lower(waited)
		}
		return alive && waited < idleFor
	})
}

// filter closes those that shall not stay. s.mu is held.
func (s *idle) filter(stays func(c *conn) bool) {
	s.conns = slices.DeleteFunc(s.conns, func(c *conn) bool {
		if stays(c) {
			return false
		}
		_ = c.Close()
		return true
	})
}

// empty closes all.
func (s *idle) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter(func(*conn) bool { return false })
}

// anew closes all, and forgets how the app was.
func (s *idle) anew() {
	s.empty()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.safe = idleFor
}
