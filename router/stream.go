package router

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// stream is one client's request on its way: waiting -> sent -> begun -> done.
// An exchange drives it: see client, the seam between the fronts and streams.
//
// In the goroutine that serves the request it calls
//
//	s := r.newStream()                 // and fills s.request
//	s.open()
//	for { part, err := s.next() }      // informational heads, the head, body, the end
//	s.close(code, reason)              // whatever happened: cancels what still runs
//	s.release()
//
// next waits for a worker, sends, and sends again elsewhere where that is
// safe. It gives credit back for the body that the previous part held, so a
// front that is slow to write holds up its own worker's stream. After an error
// nothing more comes.
//
// A request with a body has a second goroutine, which calls
//
//	n := s.wantBody(gone)              // blocks; 0: nobody wants more
//	s.feed(p, end, trailers)           // at most n bytes
//	s.spoil(err)                       // instead: the client broke off
//
// and which ends between close and release. Until release any goroutine may
// call s.leave.
type stream struct {
	links[stream]

	r    *Router
	wake chan struct{} // of one: something changed for the front's goroutine

	// Set by the front before open, and constant after.
	request request
	arrived time.Time
	alarm   *time.Timer // calls overdue; nil until needed

	// Guarded by pool.mu.
	at      *route // nil: not looked for yet
	only    int    // anyWorker or nativeOnly
	ticket  uint64
	key     stickyKey
	owner   *seat // that it waits for, or would; nil: anybody's
	roomed  bool
	awaits  time.Time // the owner of its key, until then; zero: does not
	granted *peer

	// Owned by the front's goroutine.
	deadline time.Time // for finding a worker
	shown    arrival   // head of the part that next returned, to be reused
	last     []byte    // block of that part's body
	credit   int64     // cost of that body

	mu sync.Mutex
	// Guarded by mu.
	peer   *peer  // on which the stream is open; nil: waiting, or done
	id     uint64 // on that peer
	ledger ledger
	until  time.Time // the request's deadline; zero: it has none
	since  uint64    // r.beats when it was sent, or its body's end was
	err    error     // why the stream is over: one that retry knows, or what next returns
	worker string    // who answers

	upload   upload
	reserved int64     // of the router's memory
	noted    int64     // of that, when it last made progress
	progress time.Time // when that was

	heads  []arrival // heads that next has not returned yet
	spares []arrival // memory for them
	infos  int       // informational heads so far
	final  bool      // the final head has arrived
	body   pieces    // that has arrived
	cost   int64     // of body
	owed   int64     // cost consumed and not given back yet
	window int64     // what the worker may still send
	got    uint64    // bytes of body so far
	ended  bool
	tail   frame.Fields // trailers
}

// request is what a front knows of a request.
type request struct {
	fields     frame.Fields // pseudo fields first
	method     string
	length     int64 // of the body; -1: unknown, 0: none
	named      nominated
	trailers   bool   // some are announced
	expect     bool   // 100-continue
	repeatable bool   // may be carried out twice
	protocol   string // to upgrade to; "": none
	grpc       bool

	timeout   time.Duration // the client's; 0: it said none
	timed     bool          // by Request-Timeout
	grpcTimed bool          // by grpc-timeout
}

// target is the path without the query, for logs and /streams.
func (q *request) target() string {
	path, _, _ := bytes.Cut(q.fields.Get(":path"), []byte("?"))
	return string(path)
}

// arrival is a head that a worker sent.
type arrival struct {
	status int
	fields frame.Fields
}

// part is what next returns: a piece of the response, valid until next is
// called again.
type part struct {
	status   int          // of a head; 0: no head in this part
	fields   frame.Fields // of that head, without :status
	worker   string       // whose head it is
	body     []byte
	size     int64 // with a head: of the whole body; -1: not known yet, or trailers come
	end      bool  // the response is whole
	trailers frame.Fields
}

// failure is an answer of the router's own.
type failure struct {
	status int
	reason string
	retry  bool // worth trying again: Retry-After
}

func (f *failure) Error() string { return f.reason }

var (
	errQueueFull   = &failure{503, "too many requests wait for a worker", true}
	errQueueWait   = &failure{503, "no worker became ready in time", true}
	errNoRoute     = &failure{404, "no service here serves this host and path", false}
	errStopped     = &failure{503, "the router has stopped", true}
	errBroken      = &failure{502, "the worker's answer broke the protocol", false}
	errTooLarge    = &failure{413, "the body is larger than REP workers take, and no native worker is there", false}
	errBusy        = &failure{503, "too many requests run at once", true}
	errNoAnswer    = &failure{504, "the worker did not begin its answer in time", false}
	errLate        = &failure{504, "the request's time was over before its answer was whole", false}
	errLateWaiting = &failure{504, "the request's time was over before a worker became ready", false}
	errBodyLate    = &failure{408, "nothing of the request's body came for too long", false}
	errBodySize    = &failure{413, "the request's body is larger than allowed here", false}
	errMemory      = &failure{503, "too much memory is taken by bodies that wait for slow clients or REP workers", true}
	errMemoryLate  = &failure{502, "too much memory is taken by bodies that wait for slow clients or REP workers; the request may have been carried out", false}
	errStalled     = &failure{408, "the request's body stopped coming", false}
	errLeft        = errors.New("the client left")

	// Why a request is not sent again.
	errBrokeOff    = errors.New("the worker was lost amid its answer")
	errQuarantined = &failure{502, "the worker, or its app, was lost twice with this request", false}
	errUnsafe      = &failure{502, "the worker, or its app, was lost; the request may have been carried out, so it was not sent again", false}
	errNotKept     = &failure{502, "the worker, or its app, was lost, and more of the body had been sent than is kept for a second try", false}
	errSpent       = &failure{502, "the worker, or its app, was lost, and too many requests are sent again already", false}

	// Turned into another try, or a 502.
	errLost    = errors.New("the worker was lost")
	errMoved   = errors.New("the worker left before it began")
	errRefused = errors.New("the worker refused")
)

// newStream returns a stream with an empty request, which its front fills.
func (r *Router) newStream() *stream {
	if s, ok := r.spares.Get().(*stream); ok {
		return s
	}
	return &stream{r: r, wake: make(chan struct{}, 1)}
}

// open ends the set-up of s; next may be called.
func (s *stream) open() {
	s.arrived = time.Now()
	s.r.retries.earn()
	s.mu.Lock()
	s.upload.start(&s.request)
	s.rewind()
	s.hasten()
	s.mu.Unlock()
	if s.request.length != 0 || s.request.protocol != "" {
		s.choose()
	}
}

// choose settles which workers may serve s, by what is known of its body and
// who is there.
func (s *stream) choose() {
	natives := s.r.pool.hasNative(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	q, u := &s.request, &s.upload
	s.only = anyWorker
	switch {
	case q.protocol != "":
		s.only = nativeOnly
	case u.eof:
		if u.trailers.Len() > 0 || len(u.buf) > MaxGather {
			s.only = nativeOnly
		}
	case q.trailers, q.length > MaxGather, q.length < 0 && natives:
		s.only = nativeOnly
	}
}

// next returns the next part of the response.
func (s *stream) next() (part, error) {
	for {
		s.mu.Lock()
		s.repay()
		err, sent := s.err, s.peer != nil || s.ended
		if err == nil {
			if p, ok := s.take(); ok {
				s.mu.Unlock()
				return p, nil
			}
		}
		s.mu.Unlock()
		switch {
		case err != nil:
			err = s.retry(err)
		case !sent:
			s.deadline = s.arrived.Add(s.r.cfg.QueueWait)
			err = s.dispatch(false)
		default:
			<-s.wake
		}
		if err != nil {
			return part{}, err
		}
	}
}

// take returns what has arrived, a head and the body behind it in one part.
func (s *stream) take() (p part, ok bool) {
	if len(s.heads) > 0 {
		s.spares = append(s.spares, s.shown)
		s.shown = s.heads[0]
		s.heads = append(s.heads[:0], s.heads[1:]...)
		p.status, p.fields, p.worker = s.shown.status, s.shown.fields, s.worker
		if p.status < 200 && p.status != 101 {
			return p, true
		}
		ok, s.ledger.answered, p.size = true, true, -1
		if s.ended && s.tail.Len() == 0 {
			p.size = int64(s.got)
		}
	}
	if !s.final || len(s.heads) > 0 {
		return p, ok
	}
	if s.last = s.body.take(); s.last != nil {
		p.body, ok = s.last, true
		if s.credit = int64(len(s.last)); s.body.empty() {
			s.credit = s.cost
		}
		s.cost -= s.credit
		s.account()
	}
	if s.ended && s.body.empty() {
		p.end, p.trailers, ok = true, s.tail, true
	}
	return p, ok
}

// repay gives the last part's block back, and credit for it: it has been
// written by now. Credit goes in quarters of the window: small answers cost no frame.
func (s *stream) repay() {
	freeBlock(s.last)
	s.last = nil
	s.owed += s.credit
	s.credit = 0
	if s.owed < frame.ResponseWindow/4 || s.peer == nil || s.peer.rep == rep {
		return
	}
	var head [32]byte
	_, err := s.peer.conn.Send(s.id, zmtp.Urgent, frame.AppendWindowUpdate(head[:0], s.id, uint64(s.owed)))
	if err == nil {
		s.window += s.owed
		s.owed = 0
	}
}

// dispatch finds a worker and sends the request.
func (s *stream) dispatch(moved bool) error {
	for {
		p, err := s.r.pool.acquire(s, moved, time.Until(s.deadline))
		if errors.Is(err, errOnlyREP) {
			if s.choose(); s.only == nativeOnly {
				return s.noNative()
			}
			moved = true // it keeps its place
			continue
		}
		if err != nil {
			return err
		}
		if p.rep == rep && !s.gathered() {
			s.r.pool.unpick(p, s.at) // a slow upload must not hold a worker up
			if err := s.gather(); err != nil {
				return err
			}
			moved, s.deadline = true, time.Now().Add(s.r.cfg.QueueWait) // its turn had come
			continue
		}
		s.mu.Lock()
		if s.err == nil && s.late() { // its alarm is about to go off
			s.err, s.ledger.phase = errLateWaiting, done
		}
		err = s.err // the client's body may have failed meanwhile
		if err != nil {
			s.mu.Unlock()
			s.r.pool.unpick(p, s.at)
			return err
		}
		plain := s.request.fields
		s.stamp()
		err = p.send(s)
		s.request.fields = plain
		if err == nil {
			s.flush()
		}
		s.mu.Unlock()
		if err == nil {
			return nil
		}
		s.r.pool.unsent(p, err)
		moved = true // its turn had come
	}
}

// retry sends the request to another worker if its ledger lets it: promise 3.
func (s *stream) retry(why error) error {
	refused := errors.Is(why, errRefused)
	if !refused && !errors.Is(why, errLost) && !errors.Is(why, errMoved) {
		return why
	}
	s.mu.Lock()
	if err := s.err; !errors.Is(err, why) { // the client's body has broken off meanwhile
		s.mu.Unlock()
		return err
	}
	known, err := s.ledger.fail(why, &s.request, s.upload.kept())
	worker := s.worker
	switch now := time.Now(); {
	case err != nil:
	case !known && !s.r.retries.spend():
		s.ledger.phase, err = done, errSpent
	case known && now.After(s.deadline) && (refused || s.ledger.moved > maxMoves):
		s.ledger.phase, err = done, errQueueWait
	case !known || !refused && s.ledger.moved <= maxMoves: // workers that refuse, or go, may go on doing so
		s.deadline = now.Add(s.r.cfg.QueueWait)
	}
	end := err
	switch s.err = err; {
	case err == nil:
		s.rewind()
	case s.ended: // the worker said itself that it failed, and says more of it
		s.err, end = nil, nil
		s.upload.stop()
	}
	s.mu.Unlock()
	switch {
	case errors.Is(err, errQuarantined):
		s.r.retries.quarantined.Add(1)
		s.r.log.Warn("request given up: its worker, or the app there, was lost twice with it", "method", s.request.method, "target", s.request.target(), "worker", worker)
		return end
	case err != nil:
		return end
	case !known:
		s.r.retries.again.Add(1)
	}
	s.r.log.Debug("request moves to another worker", "method", s.request.method, "target", s.request.target(), "from", worker, "why", why)
	s.choose()
	return s.dispatch(true)
}

// broken is why the stream is over already, if it is.
func (s *stream) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// end sets the error that the stream ends with, and returns it.
func (s *stream) end(err error) error {
	s.mu.Lock()
	s.err, s.ledger.phase = err, done
	s.mu.Unlock()
	return err
}

// noNative says why a request cannot be served though there are REP workers.
func (s *stream) noNative() error {
	if s.request.length > MaxGather {
		return errTooLarge
	}
	return &failure{503, "only REP workers are there, and this request needs a native one", true}
}

// close ends the stream, whatever state it is in: a worker that still has it
// is told, with this code.
func (s *stream) close(code frame.Code, reason string) {
	s.mu.Lock()
	p, id := s.detach()
	s.ledger.phase = done
	s.relax()
	s.upload.stop()
	s.mu.Unlock()
	if p != nil {
		p.abort(id, code, reason)
	}
}

// release gives s back for other requests. It comes after close, when nobody
// uses s any more.
func (s *stream) release() {
	select {
	case <-s.wake:
	default:
	}
	s.request.fields.Reset()
	s.request = request{fields: s.request.fields}
	s.at, s.only, s.ticket, s.granted = nil, 0, 0, nil
	s.key, s.owner, s.awaits = stickyKey{}, nil, time.Time{}
	s.credit = 0
	s.mu.Lock()
	s.upload.reset()
	s.ledger, s.err, s.worker, s.noted = ledger{}, nil, "", 0
	s.rewind()
	s.spares = s.spares[:min(len(s.spares), 1)]
	freeBlock(s.last)
	s.last = nil
	s.account()
	s.mu.Unlock()
	s.r.spares.Put(s)
}

// rewind forgets what has come of a response. s.mu is held.
func (s *stream) rewind() {
	s.spares, s.heads = append(s.spares, s.heads...), s.heads[:0]
	s.infos, s.final, s.ended = 0, false, false
	s.body.drop()
	s.cost, s.owed, s.got = 0, 0, 0
	s.tail.Reset()
	s.window = frame.ResponseWindow
	s.upload.rewind(s.request.expect)
}

// detach cuts s loose from its peer: frames that still come are dropped.
func (s *stream) detach() (*peer, uint64) {
	p, id := s.peer, s.id
	s.peer, s.id = nil, 0
	return p, id
}

// keep empties b, and lets go of it if it has grown large.
func keep(b []byte) []byte {
	if cap(b) > 64<<10 {
		return nil
	}
	return b[:0]
}

// poke wakes the front's goroutine.
func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
