package router

import (
	"cmp"
	"fmt"
	"time"
)

// missing tells how many of these routes would be new.
func (t *routes) missing(at []place) (n int) {
	for _, place := range at {
		if t.get(place.host, place.path) == nil {
			n++
		}
	}
	return n
}

// errTooManyRoutes refuses a worker.
var errTooManyRoutes = fmt.Errorf("the router has no room for its routes, of which it takes %d in all: let workers announce fewer hosts and paths", maxRoutes)

// sit gives p a seat at each route that it announces, and tells whether there
// was none for one of them. q.mu is held.
func (q *pool) sit(p *peer, at []place) (fresh bool) {
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
		switch {
		case r == nil:
			r = &route{host: place.host, path: place.path, seats: map[*service]int{}}
			q.routes.add(r)
			q.entrust(r, v)
			fresh = true
		case len(r.seats) == 0: // its workers have gone, whatever they called it
			q.empty.remove(r)
			q.entrust(r, v)
			r.balance, r.announced = "", "" // nor does what they wanted count
		}
		r.seats[v]++
		p.seats[i] = seat{p: p, at: r, since: r.clock}
		q.rule(r, Balance(p.info.Balance))
		q.stick(r, p.info.Sticky)
	}
	return fresh
}

// issues is the policy of a route of p by which cookies are issued, "" if none is.
func (q *pool) issues(p *peer) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range p.seats {
		if by := p.seats[i].at.sticky; by != nil && by.Issue {
			return by.text
		}
	}
	return ""
}

// rise takes the seats of p. A route without any is known for a while: its
// workers may come back. q.mu is held.
func (q *pool) rise(p *peer) {
	v := p.service
	for i := range p.seats {
		r := p.seats[i].at
		if r.seats[v]--; r.seats[v] == 0 {
			delete(r.seats, v)
		}
		switch {
		case len(r.seats) == 0:
			r.left = time.Now()
			q.empty.pushBack(r)
		case r.service == v && r.seats[v] == 0:
			for heir := range r.seats {
				q.entrust(r, heir)
				break
			}
		}
	}
	p.seats = nil
	v.members--
	q.drop(v)
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

// entrust makes r the route of a service, with those who wait there.
func (q *pool) entrust(r *route, v *service) {
	if r.service == v {
		return
	}
	q.disown(r)
	r.service = v
	v.waiting += r.waiting
	if v.routes[r] = struct{}{}; len(v.routes) == 1 {
		q.owners++
	}
}

// disown takes r from its service, if it has one.
func (q *pool) disown(r *route) {
	v := r.service
	if v == nil {
		return
	}
	v.waiting -= r.waiting
	if delete(v.routes, r); len(v.routes) == 0 {
		q.owners--
	}
	q.drop(v)
}

// drop forgets a service of which nothing is left.
func (q *pool) drop(v *service) {
	if v.members == 0 && len(v.routes) == 0 {
		delete(q.services, v.name)
	}
}

// sweep forgets the routes that have been without workers for so long that
// they count no more. q.mu is held.
func (q *pool) sweep() {
	for r := q.empty.head; r != nil && time.Since(r.left) >= q.forget; r = q.empty.head {
		q.unroute(r)
	}
}

// unroute forgets a route that has no seat. Who waits there looks anew. q.mu is held.
func (q *pool) unroute(r *route) {
	q.empty.remove(r)
	q.routes.remove(r)
	q.relocate(r)
	q.away -= r.roster.away
	r.roster = roster{}
	q.disown(r)
}
