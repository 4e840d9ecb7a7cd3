package router

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// add takes in a connection that has not joined yet.
func (q *pool) add(p *peer) {
	q.mu.Lock()
	q.peers[p] = struct{}{}
	q.arrivals++
	p.arrival = q.arrivals
	closed := q.closed
	q.mu.Unlock()
	if closed {
		_ = p.conn.Close()
	}
}

// known tells whether p has joined under this name and with this concurrency
// before: no news for a log.
func (q *pool) known(p *peer, info frame.JoinInfo) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return p.joined && p.info.Name == info.Name && p.info.Concurrency == min(max(info.Concurrency, 1), MaxConcurrency)
}

// deny notes that p was refused what it announces, if it has joined, and tells whether it has.
func (q *pool) deny(p *peer) (joined bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.denied = p.joined
	return p.joined
}

// denied tells whether p was refused the last that it announced, but not what came before.
func (q *pool) denied(p *peer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return p.joined && p.denied
}

// claims notes what p says of itself, and returns what it said before.
func (q *pool) claims(p *peer, said *claim) (before *claim) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before, p.claim, p.denied = p.claim, said, false
	return before
}

// claimOf returns what p has said of itself and what became of that, and whether it was refused.
func (q *pool) claimOf(p *peer) (said *claim, now frame.JoinInfo, refused bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return p.claim, p.info, p.parked != ""
}

// join gives p its state, and returns the older connection of the same worker,
// which p takes over from. What p announced before and does not now is forgotten
// at once, if nobody else does. The error is errTakenOver, or errTooManyRoutes: then p
// is what it was.
func (q *pool) join(p *peer, info frame.JoinInfo, at []place) (old *peer, err error) {
	q.mu.Lock()
	defer q.unlock()
	if p.gone { // what it had still said must not turn that round
		return nil, errTakenOver
	}
	q.sweep()
	if n := q.routes.missing(at); n > 0 && q.routes.n+n > maxRoutes {
		return nil, errTooManyRoutes
	}
	again, before := p.joined, p.seats
	q.unseat(p, false)
	if again && p.info.Name != info.Name {
		q.unname(p)
	}
	info.Concurrency = min(max(info.Concurrency, 1), MaxConcurrency)
	same := q.names[info.Name]
	if same == nil {
		same = &namesakes{instances: map[string]*peer{}, numbered: map[int]*peer{}, free: 1}
		q.names[info.Name] = same
	}
	if other := same.instances[info.Instance]; other != nil && other != p && info.Instance != "" {
		old = other
		old.gone = true
		before = append(before, old.seats...)
		q.unseat(old, false)
		if p.draining {
			q.unnumber(old)
		} else {
			same.succeed(old, p)
		}
	}
	if again && same.instances[p.info.Instance] == p {
		delete(same.instances, p.info.Instance)
	}
	p.info, p.slots, p.weight = info, int(info.Concurrency), int(min(max(info.Weight, 1), maxWeight))
	if !again {
		p.began, p.fresh = time.Now(), q.slowStart > 0
	}
	fresh := q.sit(p, at)
	for i := range before {
		if at := before[i].at; len(at.seats) == 0 && !at.gone {
			q.unroute(at)
		}
	}
	same.add(p)
	p.joined, p.parked = true, ""
	q.parked = slices.DeleteFunc(q.parked, func(o *peer) bool { return o == p })
	if !p.draining {
		q.count(p, 1)
		q.enlist(p)
	}
	if fresh {
		q.welcome()
	}
	q.settle()
	q.offer(p)
	return old, nil
}

// errTakenOver says that the worker has a newer connection.
var errTakenOver = errors.New("taken over from")

// namesakes are the workers of one name, each with a number of its own.
type namesakes struct {
	instances map[string]*peer
	numbered  map[int]*peer // those that do not drain
	free      int           // no number below is free
}

// add gives p a number, unless it has one already, or drains.
func (n *namesakes) add(p *peer) {
	n.instances[p.info.Instance] = p
	switch {
	case p.draining:
		p.label = p.info.Name
		p.show(p.label)
		return
	case n.numbered[p.number] == p:
		n.number(p, p.number)
		return
	}
	for n.numbered[n.free] != nil {
		n.free++
	}
	n.number(p, n.free)
}

// succeed gives p the number of an older connection of the same worker.
func (n *namesakes) succeed(old, p *peer) {
	if n.numbered[old.number] != old {
		return
	}
	if n.numbered[p.number] == p {
		delete(n.numbered, p.number)
		n.free = min(n.free, p.number)
	}
	n.numbered[old.number], p.number = p, old.number
}

func (n *namesakes) number(p *peer, number int) {
	n.numbered[number] = p
	p.number, p.label = number, p.info.Name
	if number > 1 {
		p.label += ";" + strconv.Itoa(number)
	}
	p.show(p.label)
}

// leave takes p's number. Who is left alone with a name is called by it, so that a
// worker that came back before its old connection was known to be dead gets its keys back.
func (n *namesakes) leave(p *peer) (alone *peer) {
	if n.numbered[p.number] != p {
		return nil
	}
	delete(n.numbered, p.number)
	n.free = min(n.free, p.number)
	if len(n.numbered) != 1 {
		return nil
	}
	for number, alone := range n.numbered {
		if number != 1 {
			return alone
		}
	}
	return nil
}

// drain leaves p out for good; its streams go on. It reports whether that is
// new.
func (q *pool) drain(p *peer) (first bool) {
	q.mu.Lock()
	defer q.unlock()
	first = !p.draining
	p.draining = true
	q.unring(p)
	if p.joined && first {
		q.recover(p)
		q.count(p, -1)
		q.delist(p, false)
		q.unnumber(p)
	}
	return first
}

// park leaves p out until it joins as it should; if it is late, unless it has
// joined, or was parked, meanwhile. It is not ok if nothing was done. With too
// many parked, the oldest is returned, to be closed.
func (q *pool) park(p *peer, why string, late bool) (oldest *peer, ok bool) {
	q.mu.Lock()
	defer q.unlock()
	if p.gone || late && (p.joined || p.parked != "") {
		return nil, false
	}
	q.withdraw(p, false)
	if p.parked == "" {
		q.parked = append(q.parked, p)
	}
	p.parked = why
	if len(q.parked) > q.maxParked {
		oldest, q.parked = q.parked[0], q.parked[1:]
	}
	return oldest, true
}

// letGo hangs up if p has no request and shall get none.
func (p *peer) letGo() {
	if !p.r.lettingGo.Load() {
		return
	}
	p.r.pool.mu.Lock()
	idle := p.busy == 0
	if idle {
		p.gone = true
		p.r.pool.unring(p)
	}
	p.r.pool.mu.Unlock()
	if idle {
		p.conn.CloseAfterFlush(farewell)
	}
}

// remove forgets a connection that has ended.
func (q *pool) remove(p *peer) {
	q.mu.Lock()
	defer q.unlock()
	q.withdraw(p, true)
	p.gone = true
	for _, timer := range []*time.Timer{p.pause, p.probation} {
		if timer != nil {
			timer.Stop()
		}
	}
	delete(q.peers, p)
	q.parked = slices.DeleteFunc(q.parked, func(o *peer) bool { return o == p })
}

// withdraw undoes join. lost: p said nothing, and may come back. q.mu is held.
func (q *pool) withdraw(p *peer, lost bool) {
	named := p.joined
	if q.unseat(p, lost); named {
		q.unname(p)
	}
}

// unseat takes p's seats. q.mu is held.
func (q *pool) unseat(p *peer, lost bool) {
	q.unring(p)
	if !p.joined {
		return
	}
	p.joined = false
	q.recover(p) // or it would count among those that are aside
	if !p.draining {
		q.count(p, -1)
		q.delist(p, lost)
	}
	q.rise(p)
}

// unname takes p's name. q.mu is held.
func (q *pool) unname(p *peer) {
	same := q.names[p.info.Name]
	if same == nil { // p drained, without an instance, and a namesake that did too has gone
		return
	}
	q.unnumber(p)
	if same.instances[p.info.Instance] == p {
		delete(same.instances, p.info.Instance)
	}
	if len(same.instances) == 0 && len(same.numbered) == 0 {
		delete(q.names, p.info.Name)
	}
}

// unnumber takes p's number. q.mu is held.
func (q *pool) unnumber(p *peer) {
	same := q.names[p.info.Name]
	alone := same.leave(p)
	if alone == nil {
		return
	}
	q.delist(alone, false)
	delete(same.numbered, alone.number)
	same.number(alone, 1)
	q.enlist(alone)
}

func (q *pool) count(p *peer, n int) {
	q.workers += n
	for i := range p.seats {
		at := p.seats[i].at
		if p.rep == rep {
			at.reps += n
		} else {
			at.natives += n
		}
		if at.natives == 0 { // what waited for one may be served by others
			stir(at)
		}
		if at.aside > 0 && at.natives+at.reps <= at.aside {
			q.recall(at)
		}
	}
}
