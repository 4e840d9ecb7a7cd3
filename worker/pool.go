package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hardLimit is how long a handler may take to return after its context ended for good.
const hardLimit = time.Second

// pool is one Run: its links, and the requests that came over them.
type pool struct {
	// Static after newPool.
	Worker
	base  context.Context // of every request; it does not end
	links []*link

	scratches sync.Pool // of *scratch
	copies    sync.Pool // of *[copySize]byte

	busy     atomic.Int64   // slots taken
	handlers sync.WaitGroup // requests that run or shall, with what they hijacked; none is added once every link drains
	runners  runners

	mu      sync.Mutex
	orphans map[*exchange]struct{} // those that run, and whose stream is void
}

func newPool(ctx context.Context, w Worker) (*pool, error) {
	w, err := w.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &pool{Worker: w, base: context.WithoutCancel(ctx), orphans: map[*exchange]struct{}{}}
	p.scratches.New, p.copies.New = newScratch, newCopyBuffer
	process := rand.Text()
	said, _ := w.Announced.now()
	for i, endpoint := range w.Routers {
		// Two endpoints may lead to one router, where a JOIN takes the place of whoever has the same instance.
		join, err := w.join(instance(process, i+1))
		if err != nil {
			return nil, err
		}
		l := newLink(p, endpoint, join)
		l.replace(said)
		p.links = append(p.links, l)
	}
	return p, nil
}

func instance(process string, link int) string { return fmt.Sprintf("%s-%d", process, link) }

func (p *pool) run(ctx context.Context) error {
	var links sync.WaitGroup
	for _, l := range p.links {
		links.Go(func() { l.run(ctx) })
	}
	for over := false; !over; {
		over = ctx.Err() != nil // what was replaced before that is said still
		said, changed := p.Announced.now()
		for _, l := range p.links {
			l.replace(said)
			if over {
				l.drain()
			} else {
				l.announce()
			}
		}
		if !over {
			select {
			case <-ctx.Done():
			case <-changed:
			}
		}
	}
	err := p.awaitHandlers()
	p.runners.close()
	if err != nil {
		for _, l := range p.links {
			l.close()
		}
	} else {
		p.runners.all.Wait()
	}
	links.Wait()
	return err
}

// awaitHandlers gives running handlers Grace to finish, and a little more to notice that it is over.
func (p *pool) awaitHandlers() error {
	returned := make(chan struct{})
	var waiter sync.WaitGroup // it outlives this function only if a handler does
	waiter.Go(func() {
		p.handlers.Wait()
		close(returned)
	})
	for _, limit := range []time.Duration{p.Grace, hardLimit} {
		timer := time.NewTimer(limit)
		select {
		case <-returned:
			timer.Stop()
			waiter.Wait()
			return nil
		case <-timer.C:
			for _, l := range p.links {
				l.abort(errGrace)
			}
		}
	}
	stuck := p.stuck()
	p.Logger.Error("handlers ignore that their contexts ended", "requests", stuck)
	return fmt.Errorf("worker: %d handlers still run %v after their contexts ended, mend them to watch Request.Context: %s",
		len(stuck), hardLimit, strings.Join(stuck, ", "))
}

// stuck names the requests whose handlers still run.
func (p *pool) stuck() (names []string) {
	for _, l := range p.links {
		if s := l.current(); s != nil {
			for _, x := range s.open() {
				names = append(names, x.name())
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := range p.orphans {
		names = append(names, x.name())
	}
	return names
}

// acquire takes a slot if one is free.
func (p *pool) acquire() bool {
	if p.busy.Add(1) > int64(p.Concurrency) {
		p.busy.Add(-1)
		return false
	}
	return true
}

func (p *pool) release() { p.busy.Add(-1) }

func (p *pool) orphan(x *exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orphans[x] = struct{}{}
}

func (p *pool) forget(x *exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.orphans, x)
}
