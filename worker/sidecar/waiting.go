package sidecar

import (
	"errors"
	"sync"
)

var errHung = errors.New("the app hangs")

// waiting are requests that have no answer yet, and that another worker may answer if the app hangs.
type waiting struct {
	mu   sync.Mutex
	hung bool
	all  map[*waiter]struct{}
}

type waiter struct {
	end  func()
	lost bool // guarded by waiting.mu
}

// join is for a request that is about to be sent; end breaks it off. It reports false if the app hangs.
func (s *waiting) join(q *request, end func()) (w *waiter, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung || !q.repeatable { // what may not be repeated has nothing to gain
		return nil, !s.hung
	}
	w = &waiter{end: end}
	s.all[w] = struct{}{}
	return w, true
}

// leave is for when an answer has come, and reports whether it is too late for that.
func (s *waiting) leave(w *waiter) (lost bool) {
	if w == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, w)
	return w.lost
}

// hang breaks all of them off, and turns new ones away until the app is well.
func (s *waiting) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hung = true
	for w := range s.all {
		w.lost = true
		w.end()
	}
	clear(s.all)
}

func (s *waiting) well() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hung = false
}
