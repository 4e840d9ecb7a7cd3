package router

import (
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// upload is a request's body on its way to the worker. It keeps what was read
// for a second try as long as that is within the first window (or gathered
// for a REP worker); a body that goes beyond is let go of as it is sent.
//
// Guarded by stream.mu, but for space.
type upload struct {
	buf      []byte
	base     uint64 // bytes sent and let go of, before buf; 0: all is kept
	sent     int    // of buf, on this attempt
	limit    int    // how much buf may hold
	window   int64  // what the worker takes, in cost
	waits    bool   // the client holds its body back: Expect
	shut     bool   // this worker has not asked for the body yet: Expect
	eof      bool   // buf ends the body
	trailers frame.Fields
	ended    bool          // END_STREAM went out
	stopped  bool          // nobody wants more
	space    chan struct{} // of one: something changed for wantBody

	queued  int    // bytes in the peer's queue
	gen     uint64 // of that queue
	blocked bool   // the peer will call flush when its queue has room
}

// keptLimit is how much of a body is read ahead and kept for a second try: the
// first window, and the byte that shows whether there is more.
const keptLimit = frame.RequestWindow + 1

// queueShare is how much of one body may wait in a worker's queue: what comes
// behind it, from other streams, does not wait for more.
const queueShare = 128 << 10

func (u *upload) start(q *request) {
	if u.space == nil {
		u.space = make(chan struct{}, 1)
	}
	u.limit, u.eof = keptLimit, q.length == 0 && q.protocol == ""
	u.waits = q.expect && !u.eof
}

// rewind makes ready for another attempt.
func (u *upload) rewind(expect bool) {
	u.sent, u.ended, u.blocked = 0, false, false
	u.window, u.shut = frame.RequestWindow, expect
	if expect {
		u.window = 0
	}
}

// kept tells whether a second try is possible.
func (u *upload) kept() bool { return u.base == 0 }

func (u *upload) total() uint64 { return u.base + uint64(len(u.buf)) }

func (u *upload) stop() {
	u.stopped = true
	u.poke()
}

func (u *upload) poke() {
	select {
	case u.space <- struct{}{}:
	default:
	}
}

func (u *upload) reset() {
	trailers := u.trailers
	trailers.Reset()
	select {
	case <-u.space:
	default:
	}
	*u = upload{buf: keep(u.buf), trailers: trailers, space: u.space}
}

// lookEvery is how often wantBody asks whether the client is still there while
// nothing is read, if that must be asked: net/http notices by reading.
const lookEvery = 250 * time.Millisecond

// wantBody waits until more of the body may be read, and returns how many
// bytes feed will take; 0 means that nobody wants more. If the client is gone
// meanwhile, the stream ends; gone may be nil.
func (s *stream) wantBody(gone func() bool) int {
	for {
		n, stopped := s.bodyRoom()
		switch {
		case stopped:
			return 0
		case n > 0:
			return n
		}
		if gone == nil {
			<-s.upload.space
			continue
		}
		select {
		case <-s.upload.space:
		case <-time.After(lookEvery):
			if gone() {
				s.leave()
			}
		}
	}
}

func (s *stream) bodyRoom() (n int, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &s.upload
	if u.waits {
		return 0, u.stopped || u.eof
	}
	return u.limit - len(u.buf), u.stopped || u.eof
}

// feed takes body bytes that were read, at most as many as wantBody said.
func (s *stream) feed(p []byte, end bool, trailers frame.Fields) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &s.upload
	if u.stopped {
		return
	}
	u.buf = append(u.buf, p...)
	if end {
		u.eof = true
		u.trailers.CopyFrom(trailers)
	}
	if !s.account() {
		s.drop()
	}
	s.flush()
	s.poke() // gather may wait for it
}

// leave says that the client has gone: whatever the stream is doing, it ends.
func (s *stream) leave() { s.breakOff(errLeft, "the client left") }

// spoil says that the client's body broke off.
func (s *stream) spoil(why error) { s.breakOff(why, "the client's body broke off") }

func (s *stream) breakOff(why error, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, id := s.giveUp(why); p != nil {
		p.abort(id, http2.ErrCodeCancel, reason)
	}
}

// giveUpAndTell is giveUp, and tells the worker. s.mu is held.
func (s *stream) giveUpAndTell(why *failure, code frame.Code) {
	if p, id := s.giveUp(why); p != nil {
		p.abort(id, code, why.reason)
	}
}

// giveUp ends the stream, unless its answer has come whole, and returns whom to
// tell. s.mu is held.
func (s *stream) giveUp(why error) (*peer, uint64) {
	p, id := s.detach()
	if !s.ended {
		s.err, s.ledger.phase = why, done
	}
	s.upload.stop()
	s.poke()
	return p, id
}

// grant adds credit: the first opens what Expect held back.
func (u *upload) grant(s *stream, credit uint64) bool {
	if u.shut && credit == 0 { // by :status 100
		credit = frame.RequestWindow
	}
	if credit > frame.MaxNumber-uint64(max(u.window, 0)) {
		return false
	}
	u.window += int64(credit)
	u.waits, u.shut = false, false
	s.flush()
	u.poke()
	return true
}

// flush sends what the window, and this stream's share of the peer's queue,
// allow. s.mu is held.
func (s *stream) flush() {
	u, p := &s.upload, s.peer
	if p == nil || p.rep == rep {
		return
	}
	var head [32]byte
	for !u.ended && !u.stopped {
		rest := u.buf[u.sent:]
		n := frame.Fit(u.window, len(rest))
		if n == 0 && (len(rest) > 0 || !u.eof) {
			break // no window, or nothing to send
		}
		if g := p.conn.Gen(); g != u.gen {
			u.gen, u.queued = g, 0
		}
		if u.queued >= queueShare {
			if s.awaitDrain() {
				break
			}
			continue
		}
		last := u.eof && n == len(rest)
		var b []byte
		payload := rest[:n]
		if last && n == 0 && u.trailers.Len() > 0 {
			b = frame.AppendHeaders(nil, s.id, u.trailers, true, u.total())
		} else {
			last = last && u.trailers.Len() == 0
			b = frame.AppendData(head[:0], s.id, last, u.total())
		}
		gen, err := p.conn.Send(s.id, zmtp.Ordinary, b, payload)
		if err != nil {
			if s.awaitDrain() {
				break
			}
			continue
		}
		if gen != u.gen {
			u.gen, u.queued = gen, 0
		}
		u.queued += n
		u.sent += n
		u.window -= frame.Cost(n)
		u.ended = last
		s.touch()
	}
	u.letGo(s.final && s.request.protocol != "")
}

// awaitDrain has flush called when the writer has taken the generation that
// was seen last. False: it has done so already. A closed connection takes
// nothing any more, and the stream will be told. s.mu is held.
func (s *stream) awaitDrain() bool {
	u, conn := &s.upload, s.peer.conn
	s.peer.block(s)
	return conn.AwaitDrain(u.gen) || conn.Gen() == u.gen
}

// letGo makes room: once the body is larger than what is kept, and the worker
// wants more of it, what has been sent is forgotten. upgraded: there is no
// second try any more.
func (u *upload) letGo(upgraded bool) {
	if !upgraded && u.base == 0 && (len(u.buf) < u.limit || u.eof || frame.Fit(u.window, 1) == 0) || u.sent == 0 {
		return
	}
	u.base += uint64(u.sent)
	u.buf = append(u.buf[:0], u.buf[u.sent:]...)
	u.sent = 0
	if upgraded && len(u.buf) == 0 {
		u.buf = nil // more may not come for long
	}
	u.poke()
}

// gathered tells whether the whole body is at hand.
func (s *stream) gathered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upload.eof
}

// gatherIdle is how long a body that is gathered may stop coming.
const gatherIdle = 30 * time.Second

// gather waits until the whole body is in memory, for a REP worker. It is
// bounded by MaxGather, and by the router's memory for all of them.
func (s *stream) gather() error {
	if err := s.r.pool.gather(s); err != nil {
		return err
	}
	defer s.r.pool.gathered(s)
	s.widen()
	idle := time.NewTimer(gatherIdle)
	defer idle.Stop()
	for before := 0; ; {
		s.mu.Lock()
		eof, size, err := s.upload.eof, len(s.upload.buf), s.err
		s.mu.Unlock()
		switch full := size > MaxGather; {
		case err != nil:
			return err
		case full && s.r.pool.hasNative(s):
			s.only = nativeOnly
			return nil
		case full:
			return s.end(errTooLarge)
		case eof:
			return nil
		case size != before:
			before = size
			idle.Reset(gatherIdle)
		}
		select {
		case <-s.wake:
		case <-idle.C:
			return s.end(errStalled)
		}
	}
}

// widen makes room for the whole body, and lets it come.
func (s *stream) widen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &s.upload
	want := s.request.length
	if want < 0 {
		want = MaxGather
	}
	u.limit = max(u.limit, int(want)+1) // one more: HTTP/2 tells the end behind the last byte, and too much shows
	u.waits = false
	u.poke()
}
