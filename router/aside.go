package router

import (
	"slices"
	"time"
)

// A worker whose answers keep failing, as the router sees it (streams that it
// resets, that break the protocol, that are never answered, for which it is
// sorry), is set aside for a while: what it spoils fast, others would serve. Then it is tried again. Whoever is the
// last one for something stays.
const (
	firstAside  = time.Second
	longestAway = 30 * time.Second
)

// failed counts an answer that failed.
func (q *pool) failed(p *peer) {
	q.mu.Lock()
	pause := q.setAside(p)
	failures := p.failures
	q.unlock()
	if pause > 0 {
		p.r.log.Warn("worker set aside: its answers keep failing", "worker", p.name(), "in_a_row", failures, "pause", pause.String())
	}
}

// setAside sets p aside if it has failed once too often, and tells for how long. q.mu is held.
func (q *pool) setAside(p *peer) (pause time.Duration) {
	if p.aside { // what it still had counts no more
		return 0
	}
	if p.failures++; q.maxFailures < 0 || p.failures < q.maxFailures || !p.joined || p.draining {
		return 0
	}
	for i := range p.seats {
		if at := p.seats[i].at; at.natives+at.reps-at.aside < 2 {
			return 0
		}
	}
	p.aside = true
	for i := range p.seats {
		p.seats[i].at.aside++
	}
	q.unring(p)
	q.vacate(p)
	pause = min(firstAside<<min(p.failures-q.maxFailures, 10), longestAway)
	if p.probation != nil {
		p.probation.Reset(pause)
		return pause
	}
	p.probation = time.AfterFunc(pause, func() {
		q.mu.Lock()
		q.recover(p)
		q.settle()
		q.offer(p)
		q.mu.Unlock()
	})
	return pause
}

// recall has all tried again that were set aside at a route where nobody else is
// left. q.mu is held.
func (q *pool) recall(at *route) {
	for p := range q.peers {
		if p.aside && slices.ContainsFunc(p.seats, func(s seat) bool { return s.at == at }) {
			q.recover(p)
			q.recalled = append(q.recalled, p)
		}
	}
}

// recover has p tried again. q.mu is held.
func (q *pool) recover(p *peer) {
	if !p.aside {
		return
	}
	p.aside = false
	for i := range p.seats {
		p.seats[i].at.aside--
	}
	q.reclaim(p)
}
