package router

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/dialmux/dialmux/ring"
)

// roster is who has a seat at a route, ready or not, and so may own keys. Labels
// tell them apart.
type roster struct {
	sites  []ring.Site // in the order of labels
	seats  []*seat     // the same
	busy   int         // requests that run on them
	weight int         // of those that are there
	away   int         // seats that are kept for workers that have gone
	found  []nearest   // lately, where there are many: most keys come again
}

// nearest is whom a key is nearest to.
type nearest struct {
	key uint64
	at  int32 // in seats, and one more; 0: nobody has looked
}

const (
	manySeats = 64 // from which on remembering is less work than looking
	foundBits = 12 // of how many places there are to remember
)

// maxAway bounds the seats that are kept, at all routes.
const maxAway = maxRoutes

func (r *roster) find(label string) (i int, found bool) {
	return slices.BinarySearchFunc(r.seats, label, func(s *seat, label string) int { return cmp.Compare(s.label, label) })
}

func (r *roster) insert(s *seat) {
	i, _ := r.find(s.label)
	s.seed = ring.Seed(s.label)
	r.found = nil
	r.seats = slices.Insert(r.seats, i, s)
	r.sites = slices.Insert(r.sites, i, ring.Site{Seed: s.seed, Weight: uint64(s.weight)})
}

func (r *roster) remove(i int) {
	r.found = nil
	r.seats = slices.Delete(r.seats, i, i+1)
	r.sites = slices.Delete(r.sites, i, i+1)
}

// nearest is the first of a key's owners that fits; nil: none does.
func (r *roster) nearest(key uint64, fits func(*seat) bool) (best *seat) {
	i := r.closest(key)
	if i < 0 {
		return nil
	}
	if fits(r.seats[i]) {
		return r.seats[i]
	}
	least := uint64(math.MaxUint64)
	for i := range r.sites {
		site := &r.sites[i]
		if d := ring.Distance(site.Seed, key, site.Weight); d < least && fits(r.seats[i]) {
			least, best = d, r.seats[i]
		}
	}
	return best
}

// closest is ring.Nearest.
func (r *roster) closest(key uint64) int {
	if len(r.sites) < manySeats {
		return ring.Nearest(r.sites, key)
	}
	if r.found == nil {
		r.found = make([]nearest, 1<<foundBits)
	}
	f := &r.found[key*0x9e3779b97f4a7c15>>(64-foundBits)]
	if f.at == 0 || f.key != key {
		*f = nearest{key, int32(ring.Nearest(r.sites, key)) + 1}
	}
	return int(f.at) - 1
}

// owner is pick for a stream with a key.
func (q *pool) owner(s *stream) *peer {
	at := s.at
	r := &at.roster
	var now time.Time
	if r.away > 0 {
		now = time.Now()
	}
	if at.sticky.Bound > 0 {
		return q.boundOwner(s, now)
	}
	o := r.nearest(s.key.hash, func(o *seat) bool { return o.owns(s.only, now) })
	switch {
	case o == nil: // whoever there is fails, refuses or is of no use
		return nil
	case o.p != nil && q.ready(o.p):
		q.take(o.p)
		return o.p
	}
	s.owner, s.awaits = o, o.until
	return nil
}

// boundOwner is owner where an owner with too much passes requests on: with more than
// so many times the mean, its weight considered, or no free slot.
func (q *pool) boundOwner(s *stream, now time.Time) *peer {
	r := &s.at.roster
	share := s.at.sticky.Bound * float64(r.busy+1) / float64(max(r.weight, 1))
	o := r.nearest(s.key.hash, func(o *seat) bool {
		return o.owns(s.only, now) && (o.p == nil || float64(o.p.busy) < math.Ceil(share*float64(o.weight)) && q.ready(o.p))
	})
	if o == nil {
		o = r.nearest(s.key.hash, func(o *seat) bool { return o.owns(s.only, now) && q.ready(o.p) })
	}
	switch {
	case o == nil: // nobody is free
		return nil
	case o.p == nil:
		s.owner, s.awaits = o, o.until
		return nil
	}
	q.take(o.p)
	return o.p
}

// owns tells whether keys are the seat's at all: its worker is not failing or refusing,
// or it is waited for.
func (s *seat) owns(only int, now time.Time) bool {
	if s.p == nil {
		return now.Before(s.until)
	}
	return !s.p.aside && !s.p.passed && !s.p.gone && (only == anyWorker || s.p.rep == native)
}

// enlist makes p an owner at its routes. q.mu is held.
func (q *pool) enlist(p *peer) {
	p.listed = true
	var all []*stream
	for i := range p.seats {
		s := &p.seats[i]
		s.label, s.weight = p.label, p.weight
		r := &s.at.roster
		if back := q.dropAway(r, s.label); back != nil {
			back.room.each(func(o *stream) { all = append(all, o) })
		}
		r.insert(s)
		r.busy += p.busy
		r.weight += s.weight
	}
	q.settle(all)
	q.reclaim(p)
}

// reclaim has those wait for p who wait for others, or for anybody, while p owns
// their keys: it has just come, or had passed them on. q.mu is held.
func (q *pool) reclaim(p *peer) {
	if !p.listed {
		return
	}
	var all []*stream
	for i := range p.seats {
		s := &p.seats[i]
		s.at.each(func(o *stream) {
			if s.outranks(o) {
				all = append(all, o)
			}
		})
	}
	q.settle(all)
}

// outranks tells whether one who waits should rather wait for s.
func (s *seat) outranks(o *stream) bool {
	by := s.at.sticky
	if by == nil || o.key.by != by || o.key.none {
		return false
	}
	if o.owner == nil {
		return by.Bound == 0
	}
	mine, other := s.distance(o.key.hash), o.owner.distance(o.key.hash)
	return mine < other || mine == other && s.label < o.owner.label
}

func (s *seat) distance(key uint64) uint64 {
	return ring.Distance(s.seed, key, uint64(s.weight))
}

// delist undoes it. Where the policy says so its seats are kept for a while, unless
// it only has another name now.
func (q *pool) delist(p *peer, renamed bool) {
	p.listed = false
	var all []*stream
	for i := range p.seats {
		s := &p.seats[i]
		r := &s.at.roster
		at, found := r.find(s.label)
		if !found || r.seats[at] != s {
			continue
		}
		s.room.each(func(o *stream) { all = append(all, o) })
		r.remove(at)
		r.busy -= p.busy
		r.weight -= s.weight
		if by := s.at.sticky; by != nil && by.Wait > 0 && !renamed {
			all = q.expire(s.at, all)
			if q.away < maxAway {
				r.insert(&seat{at: s.at, label: s.label, weight: s.weight, until: time.Now().Add(by.Wait)})
				r.away++
				q.away++
			}
		}
	}
	q.settle(all)
}

// dropAway removes the seat that is kept under a label, if one is, and returns it.
func (q *pool) dropAway(r *roster, label string) *seat {
	i, found := r.find(label)
	if !found || r.seats[i].p != nil {
		return nil
	}
	s := r.seats[i]
	r.remove(i)
	r.away--
	q.away--
	return s
}

// giveUp waits no more for who has gone by this label.
func (q *pool) giveUp(at *route, label string) {
	if s := q.dropAway(&at.roster, label); s != nil {
		q.vacate(s)
	}
}

// expire drops the seats that have been kept for long enough, and adds to all who
// waits there.
func (q *pool) expire(at *route, all []*stream) []*stream {
	if at.roster.away == 0 {
		return all
	}
	now := time.Now()
	for _, o := range slices.Clone(at.roster.seats) {
		if o.p == nil && !now.Before(o.until) {
			q.dropAway(&at.roster, o.label)
			o.room.each(func(s *stream) { all = append(all, s) })
		}
	}
	return all
}

// vacate has all who wait at a seat look anew. q.mu is held.
func (q *pool) vacate(s *seat) {
	var all []*stream
	s.room.each(func(o *stream) { all = append(all, o) })
	q.settle(all)
}

// dismiss gives up those that s and others at its route have awaited for long
// enough. q.mu is held.
func (q *pool) dismiss(s *stream) {
	if s.roomed && !s.awaits.IsZero() && !time.Now().Before(s.awaits) {
		q.settle(q.expire(s.at, nil))
	}
}

// stick has r keep requests as a worker wants, or else the router.
func (q *pool) stick(r *route, announced string) {
	r.announced = cmp.Or(announced, r.announced)
	by := newPolicy(cmp.Or(r.announced, q.sticky))
	if by.String() == r.sticky.String() {
		return
	}
	r.sticky = by
	var all []*stream
	r.each(func(s *stream) { all = append(all, s) })
	q.settle(all)
}
