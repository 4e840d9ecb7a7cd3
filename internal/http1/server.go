// Package http1 is the server's side of HTTP/1.1 (RFC 9112): one goroutine a connection reads each request's head once,
// strictly, hands it to a Handler, and writes what that answers. It knows nothing of what becomes of requests.
//
// What it does not understand in exactly one way it refuses, and closes the connection. A request without a body, and its
// answer, allocate nothing once a connection is warm; a connection that waits for a request holds no buffers.
package http1

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Handler serves the requests of one connection, one after the other.
type Handler interface {
	// Serve answers one request. The connection's goroutine calls it.
	Serve(c *Conn)
	// Refuse answers what is no request, or none that is served: the connection closes after it. Nothing but the
	// answer may be asked of c.
	Refuse(c *Conn, why *Error)
	// Left says that the client has closed its connection while Serve runs, once at most for each call. It comes from
	// another goroutine, and Serve does not return before it has. It must not block.
	Left()
}

// Server is what connections have in common. Set the exported fields before the first ServeConn. A limit of 0 is the
// default; a negative time is none.
type Server struct {
	HeadTimeout  time.Duration // from a head's first byte, or the connection's beginning, to its end; default 10 s
	IdleTimeout  time.Duration // between two requests; default 75 s
	BodyTimeout  time.Duration // without a byte of a body that is wanted; default 60 s
	WriteTimeout time.Duration // without a byte taken by a client; default 60 s
	MaxHead      int           // bytes of a head, or of trailers; default 64 KiB
	MaxTarget    int           // bytes of a target; default 32 KiB
	MaxFields    int           // in a head, or in trailers; default 256

	// HTTP2 gets connections that begin with HTTP/2's preface (RFC 9113 section 3.4), which it reads again. nil:
	// the preface is refused like any other unknown version.
	HTTP2 func(net.Conn)

	setup  sync.Once
	limits limits
	began  time.Time
	clock  atomic.Int64           // coarse time since began, in nanoseconds; never 0
	date   atomic.Pointer[[]byte] // Date's line
	wake   chan struct{}          // of one: Watch has connections to watch

	draining atomic.Bool
	drained  chan struct{} // of one: the last connection has ended

	mu       sync.Mutex
	conns    []*Conn
	farewell time.Duration // while draining: how long an idle connection is kept
	cutting  bool          // Drain's context has ended
}

const (
	defaultHeadTimeout  = 10 * time.Second
	defaultIdleTimeout  = 75 * time.Second
	defaultBodyTimeout  = 60 * time.Second
	defaultWriteTimeout = 60 * time.Second
	defaultMaxHead      = 64 << 10
	defaultMaxTarget    = 32 << 10
	defaultMaxFields    = 256

	// lingering is how long nothing may come of the rest of a request, which is read and thrown away before the
	// connection closes, so that the client reads the answer before a reset (RFC 9112 section 9.6); lingeringAll
	// is how long all of it may take.
	lingering    = 2 * time.Second
	lingeringAll = 30 * time.Second
)

func orDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (s *Server) start() {
	s.setup.Do(func() {
		orDefault(&s.HeadTimeout, defaultHeadTimeout)
		orDefault(&s.IdleTimeout, defaultIdleTimeout)
		orDefault(&s.BodyTimeout, defaultBodyTimeout)
		orDefault(&s.WriteTimeout, defaultWriteTimeout)
		orDefault(&s.MaxHead, defaultMaxHead)
		orDefault(&s.MaxTarget, defaultMaxTarget)
		orDefault(&s.MaxFields, defaultMaxFields)
		s.limits = limits{s.MaxHead, s.MaxTarget, s.MaxFields}
		s.wake, s.drained = make(chan struct{}, 1), make(chan struct{}, 1)
		s.began = time.Now()
		s.tick()
	})
}

func (s *Server) add(c *Conn) {
	s.mu.Lock()
	if len(s.conns) == 0 {
		s.tick() // nobody has watched the clock
	}
	c.place = len(s.conns)
	s.conns = append(s.conns, c)
	cutting := s.cutting
	s.mu.Unlock()
	if cutting {
		Reset(c.nc)
	}
	notify(s.wake)
}

func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	last := len(s.conns) - 1
	s.conns[c.place] = s.conns[last]
	s.conns[c.place].place = c.place
	s.conns[last] = nil
	s.conns = s.conns[:last]
	s.mu.Unlock()
	if last == 0 {
		notify(s.drained)
	}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Drain has every connection close: after its request, or once it has been idle for farewell, since a request may be on
// its way. It returns when all have ended, or, resetting those that are left, when ctx ends. Connections whose ServeConn begins
// later are served like those before.
func (s *Server) Drain(ctx context.Context, farewell time.Duration) {
	s.start()
	s.mu.Lock()
	s.farewell = farewell
	s.mu.Unlock()
	s.draining.Store(true)
	for {
		s.mu.Lock()
		left := len(s.conns)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-s.drained:
		case <-ctx.Done():
			s.cut()
			ctx = context.WithoutCancel(ctx)
		}
	}
}

// cut resets every connection.
func (s *Server) cut() {
	s.mu.Lock()
	s.cutting = true
	conns := slices.Clone(s.conns)
	s.mu.Unlock()
	for _, c := range conns {
		Reset(c.nc)
		c.left()
	}
}
