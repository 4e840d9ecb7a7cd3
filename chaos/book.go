package main

import (
	"fmt"
	"sync"
	"time"
)

// grace is how long after a request's end a worker may still begin it: longer
// than any worker is stopped, and any path held.
const grace = 40 * time.Second

// work is what a worker said that it did.
type work struct {
	worker string
	began  time.Time
	ended  time.Time // zero: it has not said so
}

// entry is one request: what was sent, what came back, and who worked on it.
type entry struct {
	plan    plan
	start   *window
	due     time.Time
	end     *window // nil: under way
	outcome outcome
	works   []work
}

// book holds the two records side by side, the clients' and the workers', and
// judges each request when nothing more can happen to it.
type book struct {
	mu         sync.Mutex
	open       map[uint32]*entry
	queue      []*entry // that have ended, in that order
	unkept     map[uint32]struct{}
	violations []violation
	places     places
}

func newBook() *book {
	return &book{open: map[uint32]*entry{}, unkept: map[uint32]struct{}{}, places: places{}}
}

// leaves comes before a request's first byte is sent.
func (b *book) leaves(p *plan, w *window, due time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[p.number] = &entry{plan: *p, start: w, due: due}
}

// returns comes when its client is done with it.
func (b *book) returns(number uint32, w *window, o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.open[number]
	e.end, e.outcome = w, o
	b.queue = append(b.queue, e)
	for len(b.queue) > 0 && o.end.Sub(b.queue[0].outcome.end) > grace {
		b.settle(b.queue[0])
		b.queue = b.queue[1:]
	}
}

// notes takes a line of a worker's record.
func (b *book) notes(worker string, what event, number uint32, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.open[number]
	switch {
	case e == nil:
		if _, ok := b.unkept[number]; ok && what == began {
			b.violations = append(b.violations, violation{doubled, quiet.name, fmt.Sprintf(
				"request %d, which must not be repeated, was begun by %s more than %v after its client was done with it", number, worker, grace)})
		}
	case what == began:
		e.works = append(e.works, work{worker: worker, began: at})
	default:
		for i := range e.works {
			if e.works[i].worker == worker {
				e.works[i].ended = at
			}
		}
	}
}

// close judges what is left: nobody works any more.
func (b *book) close() []violation {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.queue {
		b.settle(e)
	}
	b.queue = nil
	return b.violations
}

// settle counts a request in its window's row. b.mu is held.
func (b *book) settle(e *entry) {
	delete(b.open, e.plan.number)
	if !e.plan.kind.repeatable() {
		b.unkept[e.plan.number] = struct{}{}
	}
	found := judge(e)
	e.row().count(e, found)
	b.places.count(e)
	b.violations = append(b.violations, found...)
}

// met tells whether such a fault had its way while e was under way.
func (e *entry) met(is func(*fault) bool) bool { return e.end.since(e.start, is) }

// row is where e counts: that of the fault that it met last.
func (e *entry) row() *row {
	last := e.end
	for last.fault == &quiet && last != e.start {
		last = last.before
	}
	return last.row
}
