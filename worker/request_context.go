package worker

import (
	"context"
	"sync"
	"time"
)

// requestContext is the context of a request. Most handlers ask nothing of it, so the context that it stands for is made when one
// does; it is that one in all respects from then on, for context.Cause and for contexts made of it too.
type requestContext struct {
	base  context.Context // does not end
	until time.Time       // the request's deadline; zero: it has none

	mu     sync.Mutex
	actual context.Context // nil until it is needed
	end    context.CancelCauseFunc
	ended  bool
	late   bool // its deadline had passed by then
	cause  error
}

// cancel ends the context for the first cause given, nil for none in particular.
func (c *requestContext) cancel(cause error) {
	c.mu.Lock()
	end := c.end
	if !c.ended {
		c.ended, c.late, c.cause = true, c.overdue(), cause
	}
	cause = c.cause
	c.mu.Unlock()
	if end != nil {
		end(cause) // with no lock held: it calls into contexts of others
	}
}

// get returns the context that c stands for.
func (c *requestContext) get() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.actual == nil {
		c.actual, c.end = c.make()
		if c.ended {
			c.end(c.cause)
		}
	}
	return c.actual
}

func (c *requestContext) make() (context.Context, context.CancelCauseFunc) {
	if c.until.IsZero() || c.ended && !c.late {
		return context.WithCancelCause(c.base)
	}
	timed, stop := context.WithDeadline(c.base, c.until)
	actual, end := context.WithCancelCause(timed)
	return actual, func(cause error) {
		end(cause)
		stop()
	}
}

func (c *requestContext) overdue() bool { return !c.until.IsZero() && !time.Now().Before(c.until) }

func (c *requestContext) Done() <-chan struct{} { return c.get().Done() }

func (c *requestContext) Deadline() (time.Time, bool) {
	if !c.until.IsZero() {
		return c.until, true
	}
	return c.base.Deadline()
}

// Err is of its own so that asking whether the client is still there makes nothing.
func (c *requestContext) Err() error {
	c.mu.Lock()
	actual, ended, late := c.actual, c.ended, c.late
	c.mu.Unlock()
	switch {
	case actual != nil:
		return actual.Err()
	case ended && !late:
		return context.Canceled
	case ended, c.overdue():
		return context.DeadlineExceeded
	}
	return nil
}

// Value looks in base first. What base does not have may be package context's own question for a context that can be cancelled.
func (c *requestContext) Value(key any) any {
	if v := c.base.Value(key); v != nil {
		return v
	}
	return c.get().Value(key)
}
