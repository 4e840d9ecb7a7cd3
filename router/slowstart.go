package router

import "time"

// A worker that has just joined weighs a tenth at first, and more and more
// until slowStart is over. It rests after each request until those that have
// grown have had so many that one is due to it. Where nobody has grown, nobody
// rests.

// clock counts requests of those that have grown.
type clock struct {
	rounds float64 // in which each got as many as it weighs
	turns  float64 // in which each got one: by `least`, while they are idle
}

// tick counts a request of s.
func (at *route) tick(s *seat) {
	if at.balance == Least && s.load == 0 {
		at.clock.turns += 1 / float64(at.elders)
	} else {
		at.clock.rounds += 1 / float64(at.grown)
	}
}

// saved is how many requests s would have had by now, were it grown.
func (at *route) saved(s *seat) float64 {
	return (at.clock.rounds-s.since.rounds)*float64(s.p.weight) + at.clock.turns - s.since.turns
}

// rest has s wait until a request is due to it.
func (at *route) rest(s *seat) {
	ring := &at.ready[s.p.rep]
	ring.remove(s)
	s.load = resting
	ring.resting.pushBack(s)
}

// rouse lets one that rests in again, if a request is due to it, or nobody else
// is there. q.mu is held.
func (q *pool) rouse(at *route, only int) {
	for i := range at.ready {
		ring := &at.ready[i]
		s := ring.resting.head
		if s == nil {
			continue
		}
		p, saved := s.p, at.saved(s)
		needed := at.grown == 0 || at.front(only) == nil
		if !needed && saved < 1 { // were it grown, it would not be due
			at.rest(s) // each is looked at in turn
			continue
		}
		if q.mature(p) {
			continue
		}
		pause := 1 / q.part(p)
		if !needed && saved < pause {
			at.rest(s)
			continue
		}
		s.since, s.turns = at.clock, 0
		s.since.turns -= min(max(saved-pause, 0), max(pause, float64(p.weight))) // it saves for a round at most
		ring.remove(s)
		ring.add(s, load(at.balance, p.busy, p.weight), true)
	}
}

// mature takes a fresh p for grown once it is. q.mu is held.
func (q *pool) mature(p *peer) bool {
	if q.part(p) < 1 {
		return false
	}
	q.unring(p)
	p.fresh = false
	q.ring(p)
	return true
}

// part is how much of its weight p has grown into.
func (q *pool) part(p *peer) float64 {
	age := time.Since(p.began)
	if age >= q.slowStart {
		return 1
	}
	return max(float64(age)/float64(q.slowStart), 0.1)
}
