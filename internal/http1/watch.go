package http1

import (
	"context"
	"time"
)

const (
	// beat is how often connections are looked at: how coarse deadlines are.
	beat = 50 * time.Millisecond
	// patience is how long a request runs, at least, before its client is looked after: most are over by then, and an
	// answer that quick reaches a client that has closed its sending half only.
	patience = 50 * time.Millisecond
)

// Watch keeps the clock, ends what is overdue and notices clients that leave, for all connections, until ctx ends. It
// must run while connections do. Without connections it sleeps.
func (s *Server) Watch(ctx context.Context) {
	s.start()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var w watch
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		w.second = s.tick()
		if s.sweep(&w) > 0 {
			continue
		}
		ticker.Stop()
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		ticker.Reset(beat)
	}
}

// tick sets the coarse clock, and Date's line once a second: then it returns true.
func (s *Server) tick() (second bool) {
	now := time.Now()
	before := s.clock.Swap(int64(now.Sub(s.began)) + 1)
	if s.date.Load() != nil && before/int64(time.Second) == s.clock.Load()/int64(time.Second) {
		return false
	}
	line := append(now.UTC().AppendFormat([]byte("Date: "), "Mon, 02 Jan 2006 15:04:05 GMT"), "\r\n"...)
	s.date.Store(&line)
	return true
}

// watch is what a sweep needs, kept for the next one.
type watch struct {
	second  bool // another second has begun
	late    []*Conn
	writing []*Conn // and have waited for their clients
	waiting []*Conn
	sockets sockets
}

// sweep looks at all connections, and returns how many there are.
func (s *Server) sweep(w *watch) int {
	now, draining := s.clock.Load(), s.draining.Load()
	w.late, w.writing, w.waiting = w.late[:0], w.writing[:0], w.waiting[:0]
	s.mu.Lock()
	n := len(s.conns)
	for _, c := range s.conns {
		if draining && c.idle.Load() {
			c.hasten(now + int64(s.farewell))
		}
		if overdue(c.reading.Load(), now) || overdue(c.writing.Load(), now) {
			w.late = append(w.late, c)
		}
		if w.second && c.writing.Load() > 0 {
			w.writing = append(w.writing, c)
		}
		if since := c.since.Load(); since != 0 && now-since >= int64(patience+beat/2) { // since may be a beat old
			w.waiting = append(w.waiting, c)
		}
	}
	s.mu.Unlock()
	for _, c := range w.writing {
		c.drains()
	}
	for _, c := range w.late {
		if d := c.reading.Load(); overdue(d, now) && c.reading.CompareAndSwap(d, expired) {
			_ = c.nc.SetReadDeadline(longAgo)
		}
		if d := c.writing.Load(); overdue(d, now) && c.writing.CompareAndSwap(d, expired) {
			_ = c.nc.SetWriteDeadline(longAgo)
		}
	}
	for _, c := range w.sockets.gone(w.waiting) {
		c.left()
	}
	clear(w.late)
	clear(w.writing)
	clear(w.waiting)
	return n
}

// expired is a deadline that the sweep has enforced.
const expired = -1

var longAgo = time.Unix(1, 0)

func overdue(deadline, now int64) bool { return deadline > 0 && now >= deadline }

// hasten brings an idle connection's deadline forward.
func (c *Conn) hasten(deadline int64) {
	d := c.reading.Load()
	if (d > deadline || d == 0) && c.reading.CompareAndSwap(d, deadline) && !c.idle.Load() {
		c.reading.CompareAndSwap(deadline, d) // a request has begun meanwhile
	}
}

// drains puts a write's deadline off if the client has taken something of what the kernel holds: a write that waits does
// not show it.
func (c *Conn) drains() {
	d := c.writing.Load()
	if taken, ok := c.taken(); ok && d > 0 && taken != c.seen {
		c.seen = taken
		c.writing.CompareAndSwap(d, c.after(c.srv.WriteTimeout))
	}
}

// left tells the handler, if a request is still being served and it has not been told.
func (c *Conn) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving && !c.told {
		c.told = true
		c.h.Left()
	}
}
