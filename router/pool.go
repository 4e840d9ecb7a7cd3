package router

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
)

// pool is where requests and workers meet. Each route has a ring of workers that
// can take a request, and a room of requests that wait for one. Each step costs
// the same with one worker and with a thousand, but a worker that comes, or whose last
// slot is taken or comes free, takes all its seats.
//
// Streams that a REP worker may serve are told apart from those that only
// native workers may, by one list each; tickets put two lists in one order.
type pool struct {
	limit       int
	maxParked   int
	balance     Balance // of routes whose workers want no other
	maxFailures int     // in a row, and a worker is set aside; below 0: never
	sticky      string  // the same
	keeper      keeper
	slowStart   time.Duration // until a worker gets its whole share
	wait        time.Duration // that a request may, at most
	forget      time.Duration
	born        time.Time

	mu        sync.Mutex
	ticket    uint64
	routes    routes
	services  map[string]*service
	empty     list[route, *route] // without seats, in the order in which they were left
	owners    int                 // services that have routes
	crowded   map[*route]struct{} // where requests wait
	nowhere   *route              // for requests that nobody has announced a route for, yet
	waiting   int
	gathering map[*stream]struct{} // whose bodies are being gathered for a REP worker
	workers   int                  // joined and not draining
	peers     map[*peer]struct{}   // all connections, parked ones too
	arrivals  uint64               // how many there have been
	names     map[string]*namesakes
	away      int       // seats that are kept for workers that have gone
	recalled  []*peer   // that are not set aside any more, and may serve once that is settled
	adrift    []*stream // that wait, and look for their places anew when what changes has changed
	parked    []*peer
	closed    bool
}

const (
	native = 0 // index of route.ready
	rep    = 1

	anyWorker  = 0 // index of a room
	nativeOnly = 1
)

func newPool(cfg *Config) *pool {
	return &pool{
		limit: cfg.QueueLimit, maxParked: maxParked, wait: cfg.QueueWait, forget: cfg.Forget, born: time.Now(),
		balance: cfg.Balance, slowStart: cfg.SlowStart, maxFailures: cfg.MaxFailures,
		sticky: cfg.Sticky, keeper: newKeeper(cfg),
		routes: newRoutes(), services: map[string]*service{}, nowhere: &route{service: new(service)},
		crowded: map[*route]struct{}{}, gathering: map[*stream]struct{}{}, peers: map[*peer]struct{}{}, names: map[string]*namesakes{},
	}
}

// errOnlyREP says that a stream wants a native worker, and only REP workers are
// there: whether that is still so is the stream's to judge.
var errOnlyREP = errors.New("only REP workers are there")

// acquire takes a slot of the worker whose turn it is, or waits for one until
// the deadline. Who came first is served first: a stream that moves from one
// worker to another keeps its place, and comes in though the room be full.
func (q *pool) acquire(s *stream, moved bool, wait time.Duration) (*peer, error) {
	q.mu.Lock()
	q.locate(s)
	for by := s.at.sticky; by != nil && s.key.by != by; by = s.at.sticky {
		q.mu.Unlock() // it may take a while
		s.key = q.keeper.keyOf(&s.request, by)
		q.mu.Lock()
		q.locate(s)
	}
	if s.ticket == 0 {
		q.ticket++
		s.ticket = q.ticket
	}
	if p := q.pick(s); p != nil {
		q.mu.Unlock()
		return p, nil
	}
	err := q.hopeless(s)
	if err == nil && !moved && !q.admits(s) {
		err = errQueueFull
	}
	if err != nil {
		q.mu.Unlock()
		return nil, err
	}
	q.enter(s, nil)
	anew := q.anew(s)
	q.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		var err error
		select {
		case <-s.wake:
			err = s.broken()
		case <-anew:
		case <-timer.C:
			err = errQueueWait
		}
		q.mu.Lock()
		q.dismiss(s)
		p := s.granted
		s.granted = nil
		if p == nil && err == nil {
			err = q.hopeless(s)
		}
		if p == nil && err != nil {
			q.leave(s)
		}
		anew = q.anew(s)
		q.mu.Unlock()
		if p != nil { // though the time be up, or the client gone: s sends nothing then
			return p, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// locate finds the route of s as of now: a more exact one may have come since
// it was sent the last time. q.mu is held.
func (q *pool) locate(s *stream) {
	q.sweep()
	s.at = q.find(s)
	q.expire(&s.at.roster)
	q.settle()
}

func (q *pool) find(s *stream) *route {
	at := q.routes.only
	if at == nil && q.routes.n > 0 {
		at = q.routes.find(s.request.fields.Get(":authority"), s.request.fields.Get(":path"))
	}
	if at == nil {
		at = q.nowhere
	}
	return at
}

// anew is when s looks again though nothing has happened: once a route that is not
// there, or an owner that has gone, will not come any more. q.mu is held.
func (q *pool) anew(s *stream) <-chan time.Time {
	when := s.awaits
	if grown := q.born.Add(q.wait); time.Now().Before(grown) && (when.IsZero() || grown.Before(when)) {
		when = grown
	}
	if when.IsZero() || !s.roomed {
		return nil
	}
	return time.After(time.Until(when))
}

// relocate unmoors all who wait at some routes and belong to others now. q.mu is held.
func (q *pool) relocate(from ...*route) {
	for _, at := range from {
		at.each(func(s *stream) {
			if q.find(s) != at {
				q.unmoor(s)
			}
		})
	}
}

// unmoor takes s out of where it waits, until settle. q.mu is held.
func (q *pool) unmoor(s *stream) {
	q.leave(s)
	q.adrift = append(q.adrift, s)
}

// unlock settles who has been unmoored: no sooner, so that nobody goes elsewhere
// amid a change that leaves its place where it was.
func (q *pool) unlock() {
	q.settle()
	q.mu.Unlock()
}

// settle finds places for those who have been unmoored, in the order in which they
// came. q.mu is held.
func (q *pool) settle() {
	if len(q.adrift)+len(q.recalled) == 0 {
		return
	}
	all, recalled := q.adrift, q.recalled
	q.adrift, q.recalled = nil, nil
	slices.SortFunc(all, func(a, b *stream) int { return cmp.Compare(a.ticket, b.ticket) })
	older := map[*list[stream, *stream]]*stream{} // the last that came, by where it waits
	for _, s := range all {
		s.at = q.find(s)
		if p := q.pick(s); p != nil {
			q.grant(s, p)
			continue
		}
		in := s.room()
		q.enter(s, older[in])
		older[in] = s
		s.poke() // there may be no hope
	}
	for _, p := range recalled {
		q.offer(p)
	}
}

// welcome has new routes take those who wait at others, but are for them. q.mu
// is held.
func (q *pool) welcome() {
	if q.waiting == 0 {
		return
	}
	q.relocate(slices.Collect(maps.Keys(q.crowded))...)
	stir(q.nowhere) // that there are routes at all may be news
}

// hopeless is why s need not wait, if there is a reason. q.mu is held.
func (q *pool) hopeless(s *stream) error {
	switch {
	case q.closed:
		return errStopped
	case s.at == q.nowhere && q.routes.n > 0 && time.Since(q.born) >= q.wait:
		return errNoRoute
	case q.lacksNative(s):
		return errOnlyREP
	}
	return nil
}

// admits tells whether one more may wait for a service. One alone that has routes may have all
// the room; of several, none more than is left, so that one whose
// workers are dead cannot fill it.
func (q *pool) admits(s *stream) bool {
	left, services := max(q.limit, 0)-q.waiting, q.owners
	if q.nowhere.service.waiting > 0 {
		services++
	}
	if o := s.owner; o != nil && len(s.at.roster.seats) > 1 && o.waiting >= left {
		return false
	}
	return left > 0 && (services <= 1 || s.at.service.waiting < left)
}

// serviceOf is what the workers call it that s was meant for; "": nothing.
func (q *pool) serviceOf(s *stream) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.at == nil {
		return ""
	}
	return s.at.service.name
}

// release gives a slot back: the worker has ended the stream, or never heard
// of it. good: it has answered as it should.
func (q *pool) release(p *peer, good bool) {
	q.mu.Lock()
	if good {
		p.failures = 0
	}
	p.ended++
	q.run(p, -1)
	q.readmit(p)
	q.unlock()
}

// unpick gives back a slot that was not used; it stays that worker's turn where
// it was picked.
func (q *pool) unpick(p *peer, at *route) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.run(p, -1)
	q.offer(p)
	for i := range p.seats {
		if s := &p.seats[i]; s.at == at && p.ringed {
			ring := &at.ready[p.rep]
			ring.remove(s)
			ring.add(s, load(at.balance, p.busy, p.weight), true)
			s.turns = max(s.turns-1, 0)
			if n := s.after; n != nil {
				s.ticket = n.ticket - 1
			}
		}
	}
}

// unsent gives back a slot whose request could not be queued, for err.
func (q *pool) unsent(p *peer, err error) {
	q.mu.Lock()
	q.run(p, -1)
	switch {
	case errors.Is(err, errMoved): // it drains
	case !errors.Is(err, zmtp.ErrFull):
		p.gone = true // its read loop is about to find out
	case p.conn.AwaitDrain(p.conn.Gen()):
		p.full = true
	}
	q.offer(p)
	q.mu.Unlock()
}

// refused gives back the slot of a stream that p refused, or lost with what it
// answers from, and passes p over until one of its streams ends or the pause is
// over.
func (q *pool) refused(p *peer, lost bool) {
	q.mu.Lock()
	defer q.unlock()
	q.run(p, -1)
	if lost {
		p.ended++
	} else {
		p.refusals++
	}
	p.passed = true
	q.unring(p)
	q.vacate(p)
	if p.pause == nil {
		p.pause = time.AfterFunc(refusalPause, func() { q.resume(p) })
		return
	}
	p.pause.Reset(refusalPause)
}

// refusalPause is how long a worker that refused or lost a stream is passed over.
const refusalPause = 100 * time.Millisecond

func (q *pool) resume(p *peer) {
	q.mu.Lock()
	q.readmit(p)
	q.unlock()
}

// readmit passes p over no more. q.mu is held.
func (q *pool) readmit(p *peer) {
	if p.passed {
		p.passed = false
		q.reclaim(p)
		q.settle()
	}
	q.offer(p)
}

// drained is called when p's writer took the queue that was full.
func (q *pool) drained(p *peer) {
	q.mu.Lock()
	if p.full {
		p.full = false
		q.offer(p)
	}
	q.mu.Unlock()
}

// offer lets p serve who waits, and rings it while it has slots left. It is
// called whenever something about p changed; q.mu is held.
func (q *pool) offer(p *peer) {
	for p.free() {
		s := q.oldest(p)
		if s == nil {
			break
		}
		q.leave(s)
		q.run(p, 1)
		q.grant(s, p)
	}
	switch {
	case !p.free():
		q.unring(p)
	case !p.ringed:
		q.ring(p)
	}
}

// grant gives a slot of p, which is taken, to one who waited.
func (q *pool) grant(s *stream, p *peer) {
	s.at.service.pace.count()
	s.granted = p
	s.poke()
}

// oldest is who has waited longest for what p serves.
func (q *pool) oldest(p *peer) (s *stream) {
	if q.waiting == 0 {
		return nil
	}
	for i := range p.seats {
		for _, in := range [...]*room{&p.seats[i].at.room, &p.seats[i].room} {
			for only := range in {
				if e := in[only].head; e != nil && (only == anyWorker || p.rep == native) && (s == nil || e.ticket < s.ticket) {
					s = e
				}
			}
		}
	}
	return s
}

func (q *pool) ring(p *peer) {
	p.ringed = true
	for i := range p.seats {
		s := &p.seats[i]
		q.ticket++
		s.ticket, s.turns = q.ticket, 0
		s.at.ready[p.rep].add(s, load(s.at.balance, p.busy, p.weight), false)
		switch {
		case !p.fresh:
			s.at.grown += p.weight
			s.at.elders++
		case s.at.grown > 0:
			s.at.rest(s)
		}
	}
}

func (q *pool) unring(p *peer) {
	if !p.ringed {
		return
	}
	p.ringed = false
	for i := range p.seats {
		s := &p.seats[i]
		s.at.ready[p.rep].remove(s)
		if !p.fresh {
			s.at.grown -= p.weight
			s.at.elders--
		}
	}
}

// room is where s waits.
func (s *stream) room() *list[stream, *stream] {
	if s.owner != nil {
		return &s.owner.room[s.only]
	}
	return &s.at.room[s.only]
}

// enter has s wait, in the order in which all came. older: one that waits there and came
// before it, or nil; nobody before that is looked at.
func (q *pool) enter(s, older *stream) {
	s.roomed = true
	q.waiting++
	s.at.service.waiting++
	if s.owner != nil {
		s.owner.waiting++
	}
	if s.at.waiting++; s.at.waiting == 1 {
		q.crowded[s.at] = struct{}{}
	}
	in := s.room()
	if in.tail == nil || in.tail.ticket < s.ticket {
		in.pushBack(s)
		return
	}
	e := in.head // it is older than most
	if older != nil {
		e = older.after
	}
	for e != nil && e.ticket < s.ticket {
		e = e.after
	}
	in.insert(s, e)
}

// lacksNative tells whether s waits for native workers where there are only
// others.
func (q *pool) lacksNative(s *stream) bool {
	return s.only == nativeOnly && s.at.natives == 0 && s.at.reps > 0
}

// gather counts a stream in whose body is to be gathered. They do not wait for
// a worker, but for their clients, and are bounded by themselves.
func (q *pool) gather(s *stream) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.gathering) >= max(q.limit, DefaultQueueLimit) {
		return errQueueFull
	}
	q.gathering[s] = struct{}{}
	return nil
}

func (q *pool) gathered(s *stream) {
	q.mu.Lock()
	delete(q.gathering, s)
	q.mu.Unlock()
}

func (q *pool) leave(s *stream) {
	if s.roomed {
		s.roomed = false
		q.waiting--
		s.at.service.waiting--
		if s.owner != nil {
			s.owner.waiting--
		}
		if s.at.waiting--; s.at.waiting == 0 {
			delete(q.crowded, s.at)
		}
		s.room().remove(s)
	}
}

// members counts the workers that are there, ready or not.
func (q *pool) members() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.workers
}

// hasNative tells whether a native worker for s is there, ready or not.
func (q *pool) hasNative(s *stream) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.locate(s)
	return s.at.natives > 0
}

// rooms calls visit with each route where requests wait.
func (q *pool) rooms(visit func(at *route)) {
	for at := range q.crowded {
		visit(at)
	}
}

// stir has all look anew who wait at a route. q.mu is held.
func stir(at *route) {
	at.each((*stream).poke)
}

func (q *pool) snapshot() []*peer {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]*peer, 0, len(q.peers))
	for p := range q.peers {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *peer) int { return cmp.Compare(a.arrival, b.arrival) })
	return out
}

// farewell is how long a worker may take to hang up once nothing runs.
const farewell = 200 * time.Millisecond

// closeAll ends every connection, and the waiting of those who still wait.
func (q *pool) closeAll() {
	q.mu.Lock()
	q.closed = true
	q.rooms(stir)
	q.mu.Unlock()
	for _, p := range q.snapshot() {
		p.conn.CloseAfterFlush(farewell)
	}
}
