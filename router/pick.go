package router

import "time"

// pick takes a slot for s of the worker that is to have it, whose turn it is or who owns its
// key. nil: s is to wait, for s.owner if it has one.
func (q *pool) pick(s *stream) *peer {
	s.owner, s.awaits = nil, time.Time{}
	if by := s.at.sticky; by != nil {
		if s.key.by != by { // it has come to another route while it waited
			s.key = q.keeper.keyOf(&s.request, by)
		}
		if !s.key.none {
			return q.owner(s)
		}
	}
	return q.turn(s.at, s.only)
}

// turn takes a slot from the worker at the front of a route's ring and moves it to
// the back. nil: nobody is ready.
func (q *pool) turn(at *route, only int) *peer {
	for {
		if at.ready[native].resting.head != nil || at.ready[rep].resting.head != nil {
			q.rouse(at, only)
		}
		s := at.front(only)
		if s == nil {
			return nil
		}
		p := s.p
		if p.fresh && q.mature(p) {
			continue
		}
		if !q.ready(p) {
			continue
		}
		s.turns++
		if q.slowStart > 0 && !p.fresh {
			at.tick(s)
		}
		switch {
		case p.busy+1 == p.slots: // it leaves the ring
		case p.fresh && at.grown > 0:
			at.rest(s)
		case at.balance == Least || s.turns >= p.weight:
			q.pass(s)
		}
		q.take(p)
		return p
	}
}

// ready tells whether p can take a request now.
func (q *pool) ready(p *peer) bool {
	if p.free() && p.conn.Full() && p.conn.AwaitDrain(p.conn.Gen()) {
		p.full = true // until its writer has taken the queue
	}
	if !p.free() {
		q.unring(p)
		return false
	}
	return true
}

// take takes a slot of p.
func (q *pool) take(p *peer) {
	q.run(p, 1)
	if !p.free() {
		q.unring(p)
	}
}

// front is whose turn it is.
func (at *route) front(only int) *seat {
	s := at.ready[native].head()
	if r := at.ready[rep].head(); only == anyWorker && r != nil && (s == nil || r.load < s.load || r.load == s.load && r.ticket < s.ticket) {
		return r
	}
	return s
}

// pass ends the turn of s.
func (q *pool) pass(s *seat) {
	ring := &s.at.ready[s.p.rep]
	ring.remove(s)
	q.ticket++
	s.ticket, s.turns = q.ticket, 0
	ring.add(s, s.load, false)
}

// run counts n requests more that run on p, and puts it where it belongs in
// rings that go by load.
func (q *pool) run(p *peer, n int) {
	p.busy += n
	if p.listed {
		for i := range p.seats {
			p.seats[i].at.roster.busy += n
		}
	}
	if !p.ringed {
		return
	}
	for i := range p.seats {
		s := &p.seats[i]
		if now := load(s.at.balance, p.busy, p.weight); now != s.load && s.load != resting {
			ring := &s.at.ready[p.rep]
			ring.remove(s)
			ring.add(s, now, false)
		}
	}
}
