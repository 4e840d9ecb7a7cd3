package router

import (
	"cmp"
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

// claims notes what p says of itself.
func (q *pool) claims(p *peer, said *claim) {
	q.mu.Lock()
	p.claim = said
	q.mu.Unlock()
}

// claimOf returns what p has said of itself, and whether it was refused.
func (q *pool) claimOf(p *peer) (said *claim, refused bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return p.claim, p.parked != ""
}

// join gives p its state, and returns the older connection of the same worker,
// which p takes over from. It is not ok if p has been taken over from. What p
// announced before and does not now is forgotten at once, if nobody else does.
func (q *pool) join(p *peer, info frame.JoinInfo, at []place) (old *peer, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.gone { // taken over itself: what it had still said must not turn that round
		return nil, false
	}
	before := p.seats
	q.withdraw(p)
	info.Concurrency = min(max(info.Concurrency, 1), MaxConcurrency)
	same := q.names[info.Name]
	if same == nil {
		same = &namesakes{instances: map[string]*peer{}, taken: map[int]bool{}, free: 1}
		q.names[info.Name] = same
	}
	if other := same.instances[info.Instance]; other != nil && info.Instance != "" {
		old = other
		old.gone = true
		before = append(before, old.seats...)
		q.withdraw(old)
		q.names[info.Name] = same // which withdraw forgets if that was the only one
	}
	p.info, p.slots, p.weight = info, int(info.Concurrency), int(min(max(info.Weight, 1), maxWeight))
	p.began, p.starts = time.Now(), q.slowStart > 0
	q.sit(p, at)
	for i := range before {
		if at := before[i].at; at.seats == 0 {
			q.unroute(at)
		}
	}
	same.add(p)
	p.show(p.label)
	p.joined, p.parked = true, ""
	q.parked = slices.DeleteFunc(q.parked, func(o *peer) bool { return o == p })
	if !p.draining {
		q.count(p, 1)
	}
	q.relocate(q.nowhere)
	q.offer(p)
	return old, true
}

// room tells whether n more routes may be announced.
func (q *pool) room(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return n <= 1 || q.routes.n+n <= maxRoutes
}

// sit gives p a seat at each route that it announces.
func (q *pool) sit(p *peer, at []place) {
	for _, v := range q.services {
		if q.forgotten(v) {
			q.disband(v)
		}
	}
	v := q.services[p.info.Service]
	if v == nil {
		v = &service{name: p.info.Service, routes: map[*route]struct{}{}}
		q.services[v.name] = v
	}
	v.members++
	p.service = v
	p.seats = make([]seat, len(at))
	for i, place := range at {
		r := q.routes.get(place.host, place.path)
		if r == nil {
			r = &route{host: place.host, path: place.path, service: v}
			q.routes.add(r)
			v.routes[r] = struct{}{}
		} else if r.service != v && r.seats == 0 { // whose workers have gone
			q.entrust(r, v)
		}
		r.seats++
		p.seats[i] = seat{p: p, at: r}
		q.rule(r, Balance(p.info.Balance))
	}
}

// rule has r balanced as a worker wants, or else the router.
func (q *pool) rule(r *route, b Balance) {
	if b == "" {
		b = cmp.Or(r.balance, q.balance, RoundRobin)
	}
	if r.balance == b {
		return
	}
	r.balance = b
	for i := range r.ready {
		for _, s := range r.ready[i].all() { // each to its place
			r.ready[i].remove(s)
			r.ready[i].add(s, load(b, s.p.busy, s.p.weight), false)
		}
	}
}

// entrust makes r another service's.
func (q *pool) entrust(r *route, v *service) {
	delete(r.service.routes, r)
	for i := range r.room {
		for s := r.room[i].head; s != nil; s = s.after {
			r.service.waiting--
			v.waiting++
		}
	}
	r.service = v
	v.routes[r] = struct{}{}
}

// forgotten tells whether a service has been without workers for so long that
// what it announced counts no more.
func (q *pool) forgotten(v *service) bool {
	return v.members == 0 && v != q.nowhere.service && time.Since(v.left) >= q.forget
}

// disband forgets a service.
func (q *pool) disband(v *service) {
	for r := range v.routes {
		if r.seats == 0 {
			q.unroute(r)
			continue
		}
		for p := range q.peers { // one of another service
			for i := range p.seats {
				if p.seats[i].at == r && p.joined && r.service == v {
					q.entrust(r, p.service)
				}
			}
		}
	}
	delete(q.services, v.name)
}

// unroute forgets a route. Who waits there looks anew.
func (q *pool) unroute(r *route) {
	q.routes.remove(r)
	delete(r.service.routes, r)
	q.relocate(r)
}

// namesakes are the workers of one name, each with a number of its own.
type namesakes struct {
	instances map[string]*peer
	taken     map[int]bool
	free      int // no number below is free
}

func (n *namesakes) add(p *peer) {
	for n.taken[n.free] {
		n.free++
	}
	n.taken[n.free] = true
	n.instances[p.info.Instance] = p
	p.number, p.label = n.free, p.info.Name
	if p.number > 1 {
		p.label += ";" + strconv.Itoa(p.number)
	}
}

func (n *namesakes) remove(p *peer) {
	delete(n.taken, p.number)
	n.free = min(n.free, p.number)
	if n.instances[p.info.Instance] == p {
		delete(n.instances, p.info.Instance)
	}
}

// drain leaves p out for good; its streams go on. It reports whether that is
// new.
func (q *pool) drain(p *peer) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	first = !p.draining
	if p.joined && first {
		q.count(p, -1)
	}
	p.draining = true
	q.unring(p)
	return first
}

// park leaves p out until it joins as it should; if it is late, unless it has
// joined, or was parked, meanwhile. It is not ok if nothing was done. With too
// many parked, the oldest is returned, to be closed.
func (q *pool) park(p *peer, why string, late bool) (oldest *peer, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.gone || late && (p.joined || p.parked != "") {
		return nil, false
	}
	q.withdraw(p)
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
	defer q.mu.Unlock()
	q.withdraw(p)
	p.gone = true
	for _, timer := range []*time.Timer{p.pause, p.probation} {
		if timer != nil {
			timer.Stop()
		}
	}
	delete(q.peers, p)
	q.parked = slices.DeleteFunc(q.parked, func(o *peer) bool { return o == p })
}

// withdraw undoes join. q.mu is held.
func (q *pool) withdraw(p *peer) {
	q.unring(p)
	if !p.joined {
		return
	}
	p.joined = false
	if !p.draining {
		q.count(p, -1)
	}
	q.recover(p)
	for i := range p.seats {
		p.seats[i].at.seats--
	}
	p.seats = nil
	if p.service.members--; p.service.members == 0 {
		p.service.left = time.Now()
	}
	same := q.names[p.info.Name]
	if same.remove(p); len(same.taken) == 0 {
		delete(q.names, p.info.Name)
	}
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
	}
}
