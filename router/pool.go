package router

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
)

// pool is where requests and workers meet: a ring of workers that can take a
// request, and a room of requests that wait for one. Each step costs the same
// with one worker and with a thousand.
//
// Streams that a REP worker may serve are told apart from those that only
// native workers may, by one list each; tickets put two lists in one order.
type pool struct {
	limit     int
	maxParked int

	mu        sync.Mutex
	ticket    uint64
	ready     [2]list[peer, *peer]     // by peer.rep
	room      [2]list[stream, *stream] // by stream.only, oldest first
	waiting   int
	pace      pace                 // of those who leave it for a worker
	gathering map[*stream]struct{} // whose bodies are being gathered for a REP worker
	natives   int                  // joined and not draining
	reps      int
	peers     map[*peer]struct{} // all connections, parked ones too
	arrivals  uint64             // how many there have been
	names     map[string]*namesakes
	parked    []*peer
	closed    bool
}

const (
	native = 0 // index of pool.ready
	rep    = 1

	anyWorker  = 0 // index of pool.room
	nativeOnly = 1
)

func newPool(limit int) *pool {
	return &pool{limit: limit, maxParked: maxParked, gathering: map[*stream]struct{}{}, peers: map[*peer]struct{}{}, names: map[string]*namesakes{}}
}

// errOnlyREP says that a stream wants a native worker, and only REP workers are
// there: whether that is still so is the stream's to judge.
var errOnlyREP = errors.New("only REP workers are there")

// acquire takes a slot of the worker whose turn it is, or waits for one until
// the deadline. Who came first is served first: a stream that moves from one
// worker to another keeps its place, and comes in though the room be full.
func (q *pool) acquire(s *stream, moved bool, wait time.Duration) (*peer, error) {
	q.mu.Lock()
	if s.ticket == 0 {
		q.ticket++
		s.ticket = q.ticket
	}
	if p := q.pick(s.only); p != nil {
		q.mu.Unlock()
		return p, nil
	}
	switch {
	case q.lacksNative(s):
		q.mu.Unlock()
		return nil, errOnlyREP
	case q.closed:
		q.mu.Unlock()
		return nil, errStopped
	case q.waiting >= max(q.limit, 0) && !moved:
		q.mu.Unlock()
		return nil, errQueueFull
	}
	q.waiting++
	q.enter(s, moved)
	q.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		var err error
		select {
		case <-s.wake:
			err = s.broken()
		case <-timer.C:
			err = errQueueWait
		}
		q.mu.Lock()
		p := s.granted
		s.granted = nil
		switch {
		case p != nil || err != nil:
		case q.closed:
			err = errStopped
		case q.lacksNative(s):
			err = errOnlyREP
		}
		if p == nil && err != nil {
			q.leave(s)
		}
		q.mu.Unlock()
		if p != nil { // though the time be up, or the client gone: s sends nothing then
			return p, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// pick takes a slot from the worker at the front of the ring and moves it to
// the back. nil: nobody is ready.
func (q *pool) pick(only int) *peer {
	for {
		p := q.ready[native].head
		if r := q.ready[rep].head; only == anyWorker && r != nil && (p == nil || r.ticket < p.ticket) {
			p = r
		}
		if p == nil {
			return nil
		}
		q.unring(p)
		if p.conn.Full() && p.conn.AwaitDrain(p.conn.Gen()) {
			p.full = true // until its writer has taken the queue
			continue
		}
		p.busy++
		if p.free() {
			q.ring(p)
		}
		return p
	}
}

// release gives a slot back: the worker has ended the stream, or never heard
// of it.
func (q *pool) release(p *peer) {
	q.mu.Lock()
	p.busy--
	p.ended++
	p.passed = false
	q.offer(p)
	q.mu.Unlock()
}

// unpick gives back a slot that was not used; it stays that worker's turn.
func (q *pool) unpick(p *peer) {
	q.mu.Lock()
	p.busy--
	if q.unring(p); p.free() && q.room[anyWorker].head == nil && (p.rep == rep || q.room[nativeOnly].head == nil) {
		p.ringed = true
		q.ready[p.rep].pushFront(p)
		if n := p.after; n != nil {
			p.ticket = n.ticket - 1
		}
	} else {
		q.offer(p)
	}
	q.mu.Unlock()
}

// unsent gives back a slot whose request could not be queued, for err.
func (q *pool) unsent(p *peer, err error) {
	q.mu.Lock()
	p.busy--
	if errors.Is(err, zmtp.ErrFull) && p.conn.AwaitDrain(p.conn.Gen()) {
		p.full = true
	} else if !errors.Is(err, zmtp.ErrFull) {
		p.gone = true // its read loop is about to find out
	}
	q.offer(p)
	q.mu.Unlock()
}

// refused gives back the slot of a stream that p refused, and passes p over
// until one of its streams ends or the pause is over.
func (q *pool) refused(p *peer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.busy--
	p.refusals++
	p.passed = true
	q.unring(p)
	if p.pause == nil {
		p.pause = time.AfterFunc(refusalPause, func() { q.resume(p) })
		return
	}
	p.pause.Reset(refusalPause)
}

// refusalPause is how long a worker that refused a stream is passed over.
const refusalPause = 100 * time.Millisecond

func (q *pool) resume(p *peer) {
	q.mu.Lock()
	p.passed = false
	q.offer(p)
	q.mu.Unlock()
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
		s := q.room[anyWorker].head
		if n := q.room[nativeOnly].head; p.rep == native && n != nil && (s == nil || n.ticket < s.ticket) {
			s = n
		}
		if s == nil {
			break
		}
		q.leave(s)
		q.pace.count()
		p.busy++
		s.granted = p
		s.poke()
	}
	switch {
	case !p.free():
		q.unring(p)
	case !p.ringed:
		q.ring(p)
	}
}

func (q *pool) ring(p *peer) {
	q.ticket++
	p.ticket, p.ringed = q.ticket, true
	q.ready[p.rep].pushBack(p)
}

func (q *pool) unring(p *peer) {
	if p.ringed {
		p.ringed = false
		q.ready[p.rep].remove(p)
	}
}

func (q *pool) enter(s *stream, moved bool) {
	s.roomed = true
	room := &q.room[s.only]
	if !moved {
		room.pushBack(s)
		return
	}
	e := room.head // it is older than most
	for e != nil && e.ticket < s.ticket {
		e = e.after
	}
	room.insert(s, e)
}

// lacksNative tells whether s waits for native workers where there are only
// others.
func (q *pool) lacksNative(s *stream) bool {
	return s.only == nativeOnly && q.natives == 0 && q.reps > 0
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
		q.room[s.only].remove(s)
	}
}

// members counts the workers that are there, ready or not.
func (q *pool) members() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.natives + q.reps
}

// hasNative tells whether a native worker is there, ready or not.
func (q *pool) hasNative() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.natives > 0
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
	for i := range q.room {
		for s := q.room[i].head; s != nil; s = s.after {
			s.poke()
		}
	}
	q.mu.Unlock()
	for _, p := range q.snapshot() {
		p.conn.CloseAfterFlush(farewell)
	}
}
