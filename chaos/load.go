package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// load is an open-loop client: requests leave when they are due, whatever has
// become of those before, and their time counts from when they were due.
type load struct {
	seed   uint64
	rate   float64 // requests per second
	fronts []*front
	book   *book
	now    atomic.Pointer[window] // what is going on; set by enter

	number   uint32 // of the last request; owned by run
	requests sync.WaitGroup
}

// window is the time in which a fault, or none, has its way.
type window struct {
	before *window // the one that it followed
	fault  *fault
	row    *row // of the report
	mood   mood
}

// enter begins a window.
func (l *load) enter(w window) {
	w.before = l.now.Load()
	l.now.Store(&w)
}

// since tells whether one of the windows from start to w, which both count, is
// of such a fault.
func (w *window) since(start *window, is func(*fault) bool) bool {
	for ; w != nil; w = w.before {
		if is(w.fault) {
			return true
		}
		if w == start {
			break
		}
	}
	return false
}

// during sends while do runs, and leaves no connection behind.
func (l *load) during(ctx context.Context, do func(ctx context.Context) error) error {
	sending, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { l.run(sending) })
	err := do(ctx)
	stop()
	running.Wait()
	for _, f := range l.fronts {
		f.close()
	}
	return err
}

// run sends until ctx ends, and waits for what is on its way.
func (l *load) run(ctx context.Context) {
	defer l.requests.Wait()
	draw := rand.New(rand.NewPCG(l.seed, 1<<40))
	for due := time.Now(); ; {
		w := l.now.Load()
		rate := l.rate
		if w.mood.factor > 0 {
			rate *= w.mood.factor
		}
		due = due.Add(time.Duration(draw.ExpFloat64() / rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 && sleep(ctx, wait) != nil || ctx.Err() != nil {
			return
		}
		l.number++
		p := makePlan(l.seed, l.number, w.mood)
		l.requests.Go(func() { l.send(p, w, due) })
	}
}

func (l *load) send(p plan, w *window, due time.Time) {
	l.book.leaves(&p, w, due)
	at := int(p.number) % len(l.fronts)
	o := l.fronts[at].ask(&p, due)
	// The client's own retry: where a router restarts, and nothing has come.
	if o.status == 0 && !o.hung && p.kind.repeatable() && len(l.fronts) > 1 && l.now.Load().since(w, func(f *fault) bool { return f.restarts }) {
		first := o.err
		o = l.fronts[(at+1)%len(l.fronts)].ask(&p, due)
		o.retried = true
		if o.status != http.StatusOK {
			o.err = errors.Join(first, o.err)
		}
	}
	o.end = time.Now()
	l.book.returns(p.number, l.now.Load(), o)
}
