package main

import (
	"context"
	"reflect"
	"sync"

	"github.com/dialmux/dialmux/worker"
)

// appWorker is a worker for what a file said of one app. What it announces may change; another app wants another worker.
type appWorker struct {
	to          forwarding
	concurrency int
	withdraw    context.CancelFunc
	said        worker.Announcement
	known       *known

	// Guarded by succession.mu.
	worker worker.Worker // as it is announced
	joined bool
}

// succession is the workers of a file: the one that it speaks of, and the one before, which goes on until all routers have taken its successor.
type succession struct {
	mu              sync.Mutex
	current, before *appWorker
}

// take makes next the one that the file speaks of, unless one of its workers is for the same app: then that one stays, and announces w. It
// reports whether next is to be run. What cannot be announced is an error, and changes nothing.
func (s *succession) take(next *appWorker, w worker.Worker) (fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stays := next
	for _, one := range []*appWorker{s.current, s.before} {
		if one != nil && one.concurrency == next.concurrency && reflect.DeepEqual(one.to, next.to) {
			stays = one
			break
		}
	}
	if err := stays.said.Replace(w); err != nil {
		return false, err
	}
	stays.worker = w
	switch {
	case s.current == nil || s.current == stays:
	case s.before == stays:
		s.current.leave(w)
		s.before = nil
	case s.current.joined:
		s.before = s.current
	default: // nobody needs it
		s.current.leave(w)
	}
	s.current = stays
	if stays != next {
		return false, nil
	}
	next.known = &known{all: len(w.Routers), tell: func() { s.join(next) }}
	if s.before != nil {
		next.known.before = s.before.known
	}
	return true, nil
}

// join notes that routers know one, and lets the worker before it leave.
func (s *succession) join(one *appWorker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.joined = true
	if s.current == one && s.before != nil {
		s.before.leave(one.worker)
		s.before = nil
	}
}

// leave withdraws a worker whose place another one takes. By its last word it announces the same as that one: what it alone announced is not
// missed, but gone.
func (one *appWorker) leave(w worker.Worker) {
	w.Name = one.worker.Name
	_ = one.said.Replace(w) // which has been taken from the other one
	one.withdraw()
}

// run is the life of one.
func (s *succession) run(ctx context.Context, one *appWorker, a *app, w worker.Worker) error {
	defer one.known.stop()
	w.Announced, w.OnJoin, w.OnRefuse = &one.said, one.known.joined, one.known.refused
	return a.run(ctx, w)
}

func (s *succession) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil
}

// stop withdraws all.
func (s *succession) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range []*appWorker{s.current, s.before} {
		if one != nil {
			one.withdraw()
		}
	}
}
