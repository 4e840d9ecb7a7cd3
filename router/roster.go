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
	expiry time.Time   // when the first of these is given up
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
	for i := range p.seats {
		s := &p.seats[i]
		s.label, s.weight = p.label, p.weight
		r := &s.at.roster
		q.giveUp(r, s.label) // it has come back
		r.insert(s)
		r.busy += p.busy
		r.weight += s.weight
	}
	q.reclaim(p)
}

// reclaim unmoors those who wait for others than p, or for anybody, while p owns
// their keys: it has just come, or had passed them on. q.mu is held.
func (q *pool) reclaim(p *peer) {
	if !p.listed {
		return
	}
	for i := range p.seats {
		s := &p.seats[i]
		if s.at.sticky == nil {
			continue
		}
		s.at.each(func(o *stream) {
			if s.outranks(o) {
				q.unmoor(o)
			}
		})
	}
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

// delist undoes it. Where p is lost, and the policy says so, its keys wait for it. q.mu is held.
func (q *pool) delist(p *peer, lost bool) {
	if !p.listed {
		return
	}
	p.listed = false
	q.vacate(p)
	for i := range p.seats {
		s := &p.seats[i]
		r := &s.at.roster
		at, _ := r.find(s.label)
		r.remove(at)
		r.busy -= p.busy
		r.weight -= s.weight
		if by := s.at.sticky; lost && by != nil && by.Wait > 0 {
			q.expect(s, time.Now().Add(by.Wait))
		}
	}
}

// expect keeps a seat for a worker that has gone.
func (q *pool) expect(s *seat, until time.Time) {
	r := &s.at.roster
	q.expire(r)
	if q.away == maxAway {
		return
	}
	r.insert(&seat{at: s.at, label: s.label, weight: s.weight, until: until})
	r.away++
	q.away++
	if r.expiry.IsZero() || until.Before(r.expiry) {
		r.expiry = until
	}
}

// expire gives up those that have been expected for long enough.
func (q *pool) expire(r *roster) {
	if r.away == 0 || time.Now().Before(r.expiry) {
		return
	}
	now := time.Now()
	r.expiry = time.Time{}
	for _, s := range slices.Clone(r.seats) {
		switch {
		case s.p != nil:
		case !now.Before(s.until):
			q.giveUp(r, s.label)
		case r.expiry.IsZero() || s.until.Before(r.expiry):
			r.expiry = s.until
		}
	}
}

// giveUp expects who has gone by this label no more.
func (q *pool) giveUp(r *roster, label string) {
	i, found := r.find(label)
	if !found || r.seats[i].p != nil {
		return
	}
	r.seats[i].room.each(q.unmoor)
	r.remove(i)
	r.away--
	q.away--
}

// vacate unmoors all who wait for p. q.mu is held.
func (q *pool) vacate(p *peer) {
	for i := range p.seats {
		p.seats[i].room.each(q.unmoor)
	}
}

// dismiss gives up those that s and others at its route have awaited for long
// enough. q.mu is held.
func (q *pool) dismiss(s *stream) {
	if s.roomed && !s.awaits.IsZero() && !time.Now().Before(s.awaits) {
		q.expire(&s.at.roster)
		q.settle()
	}
}

// stick has r keep requests as a worker wants, or else the router.
func (q *pool) stick(r *route, announced string) {
	r.announced = cmp.Or(announced, r.announced)
	text := cmp.Or(r.announced, q.sticky, "off")
	if r.sticky.String() != text {
		r.sticky = newPolicy(text)
		r.each(q.unmoor)
	}
}
