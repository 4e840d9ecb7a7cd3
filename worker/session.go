package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

const (
	welcomeTimeout = 5 * time.Second // after the handshake
	flushTimeout   = 5 * time.Second // for what is queued when the worker leaves
	// maxFirstWindow bounds what a router may ask a worker to hold of a body that nobody reads.
	maxFirstWindow = 16 << 20
)

// session is one connection to a router, and the streams on it.
type session struct {
	link *link
	pool *pool
	nc   net.Conn
	conn *zmtp.Conn // static once run has begun

	// Owned by run's goroutine.
	frame    frame.Frame // the one at hand, kept here so that frames cost no allocation
	parked   bool
	refused  bool  // the router has refused the first of asked
	leaving  bool  // the router drains
	failed   error // the router broke the protocol: what still comes is dropped
	scratch  []byte
	noticing *time.Timer // ends the wait for WELCOME

	mu       sync.Mutex
	running  bool // conn is there
	draining bool
	said     *frame.JoinInfo   // link.join as the router was told it
	asked    []*frame.JoinInfo // JOINs that the router may refuse yet
	streams  map[uint64]*exchange

	// Written by run's goroutine with mu held: it may read them without, others with mu held.
	welcome frame.WelcomeInfo
	joined  bool
	last    uint64 // the highest stream taken

	waitMu  sync.Mutex
	waiting []*stream // for the queue to drain
	woken   []*stream // waiting's next memory, owned by the writer
}

func newSession(l *link, nc net.Conn) *session {
	return &session{link: l, pool: l.pool, nc: nc, streams: map[uint64]*exchange{}}
}

// run serves what comes over conn until it ends, and reports whether the worker had joined and was not turned away.
func (s *session) run(conn *zmtp.Conn) (served bool, err error) {
	s.mu.Lock()
	s.conn, s.running = conn, true
	if s.draining {
		_ = conn.Close()
	}
	s.mu.Unlock()
	var silent atomic.Bool
	s.noticing = time.AfterFunc(welcomeTimeout, func() {
		silent.Store(true)
		_ = conn.Close()
	})
	err = conn.Run(s.receive)
	s.noticing.Stop()
	switch {
	case s.failed != nil:
		err = fmt.Errorf("worker: the router broke the protocol: %w", s.failed)
	case silent.Load():
		err = errNoWelcome
	}
	s.void(errGone)
	return s.joined && !s.parked, err
}

// receive takes one message from the router.
func (s *session) receive(parts [][]byte) error {
	if s.failed != nil {
		return nil
	}
	f := &s.frame
	var payload []byte
	switch len(parts) {
	case 1:
	case 2:
		payload = parts[1]
	default:
		s.fail(frame.ConnError{Code: http2.ErrCodeProtocol, Reason: fmt.Sprintf("message of %d parts, one or two are allowed", len(parts))})
		return nil
	}
	var err error
	if *f, err = frame.Parse(parts[0], payload); err != nil {
		s.malformed(f, err)
		return nil
	}
	switch f.Type {
	case frame.Welcome:
		if err := s.welcomed(f); err != nil {
			s.fail(err)
		}
	case frame.GoAway:
		s.turnedAway(f)
	case frame.Headers, frame.Data, frame.RSTStream, frame.WindowUpdate:
		x := s.find(f.Stream)
		switch {
		case x != nil:
			x.receive(f)
		case s.joined && f.Type == frame.Headers && opens(f.Fields):
			s.take(f)
		}
	}
	return nil
}

// malformed ends what a frame that cannot be read is about: its stream, or the connection.
func (s *session) malformed(f *frame.Frame, err error) {
	var streamErr frame.StreamError
	if errors.As(err, &streamErr) {
		s.reject(f, streamErr)
		return
	}
	s.fail(err)
}

// fail tells the router why, and ends the connection.
func (s *session) fail(err error) {
	s.failed = err
	code, reason := http2.ErrCodeProtocol, err.Error()
	var connErr frame.ConnError
	if errors.As(err, &connErr) {
		code, reason = connErr.Code, connErr.Reason
	}
	s.urgent(0, frame.AppendGoAway(nil, s.last, code, reason))
	s.conn.CloseAfterFlush(time.Second)
	s.void(errGone)
}

// reject ends the stream that a malformed frame is about.
func (s *session) reject(f *frame.Frame, err frame.StreamError) {
	x := s.find(f.Stream)
	switch {
	case x != nil:
		x.abort(err, err.Code, err.Reason)
	case s.joined && f.Type == frame.Headers:
		s.reset(f.Stream, err.Code, err.Reason)
	}
}

// welcomed answers WELCOME. One for another connection than the last voids the streams and wants a JOIN.
func (s *session) welcomed(f *frame.Frame) error {
	w, err := frame.ParseWelcome(f)
	if err != nil {
		return err
	}
	if w.Protocol != frame.Protocol {
		return frame.ConnError{Code: http2.ErrCodeProtocol, Reason: fmt.Sprintf(
			"WELCOME speaks protocol %d, this worker speaks %d: upgrade the older of the two", w.Protocol, frame.Protocol)}
	}
	if w.Refused != "" && s.joined && w.Connection == s.welcome.Connection {
		s.refuse(w.Refused)
		s.link.tell(state{joined, w.Refused}, slog.LevelError, "the router refuses what this worker announces now, and goes on with what it announced before", "reason", w.Refused)
	}
	bound(&w.Limits.Head, frame.MaxHead, frame.MaxHead)
	bound(&w.Limits.Payload, frame.MaxPayload, frame.MaxPayload)
	bound(&w.Windows.Request, frame.RequestWindow, maxFirstWindow)
	bound(&w.Windows.Response, frame.ResponseWindow, frame.MaxNumber)

	anew := !s.joined || w.Connection != s.welcome.Connection
	again := s.joined
	s.mu.Lock()
	s.welcome = w
	s.mu.Unlock()
	if !anew {
		if w.Refused == "" {
			s.askAgain()
		}
		return nil
	}
	s.noticing.Stop()
	if again {
		s.void(errVoid)
	}
	s.mu.Lock()
	s.joined, s.said, s.asked = true, nil, nil
	s.join()
	if s.draining {
		s.leave()
	}
	s.mu.Unlock()
	s.parked, s.refused, s.leaving = false, false, false
	return nil
}

// announce tells the router what the worker says of itself now. One that drains has done so.
func (s *session) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined && !s.draining {
		s.join()
	}
}

// join sends JOIN, unless the router has it. Over a new connection what the router took comes before what it refused over the last. s.mu is held.
func (s *session) join() {
	now, taken := s.link.says()
	if s.said == nil && taken != nil {
		s.ask(taken)
	}
	if now != s.said {
		s.said = now
		s.ask(now)
	}
}

// ask sends a JOIN. It has no answer but for a refusal, which comes ahead of the answer to a PING. s.mu is held.
func (s *session) ask(join *frame.JoinInfo) {
	s.asked = append(s.asked, join)
	numbered := *join
	numbered.Connection = s.welcome.Connection
	s.urgent(0, frame.AppendJoin(nil, numbered))
	s.conn.Ping(binary.BigEndian.AppendUint64(nil, numbered.Connection))
}

// askAgain says once more what the router has refused: it may take it now.
func (s *session) askAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, taken := s.link.says(); taken != nil && len(s.asked) == 0 && !s.draining {
		s.ask(now)
	}
}

// answered is called when the router has judged the first JOIN of those that it may refuse.
func (s *session) answered(context []byte) {
	s.mu.Lock()
	if len(s.asked) == 0 || len(context) != 8 || binary.BigEndian.Uint64(context) != s.welcome.Connection {
		s.mu.Unlock()
		return
	}
	join, refused, draining := s.asked[0], s.refused, s.draining
	s.asked = s.asked[1:]
	s.mu.Unlock()
	s.refused = false
	s.link.judged(join, refused)
	if refused || draining {
		return
	}
	s.parked = false
	if !s.leaving {
		s.tellJoined()
	}
	if s.pool.OnJoin != nil {
		s.pool.OnJoin(s.link.endpoint)
	}
}

// refuse notes that the router does not take what this worker announces.
func (s *session) refuse(why string) {
	s.mu.Lock()
	s.refused = len(s.asked) > 0
	s.mu.Unlock()
	if s.pool.OnRefuse != nil {
		s.pool.OnRefuse(s.link.endpoint, why)
	}
}

func (s *session) tellJoined() {
	s.link.tell(state{name: joined}, slog.LevelInfo, "joined", "id", s.welcome.Router)
}

// bound gives a number that was left out its default, and one that is too large its bound.
func bound(n *uint64, def, most uint64) {
	if *n == 0 {
		*n = def
	}
	*n = min(*n, most)
}

// turnedAway notes a GOAWAY: the router drains, or wants no work of this worker. Either way the connection is the router's to
// close; until then running streams go on.
func (s *session) turnedAway(f *frame.Frame) {
	served := s.last > 0
	reason := string(f.Reason)
	if f.Code != http2.ErrCodeNo {
		s.refuse(reason)
	}
	switch {
	case f.Code == http2.ErrCodeNo:
		s.leaving = true
		s.link.tell(state{leaving, reason}, slog.LevelInfo, "the router sends no more requests", "reason", reason)
	case served:
		s.link.tell(state{leaving, reason}, slog.LevelError, "the router gives this link up", "code", f.Code.String(), "reason", reason)
	default:
		s.parked = true
		s.noticing.Stop()
		s.link.tell(state{parked, reason}, slog.LevelError, "the router refuses this worker", "code", f.Code.String(), "reason", reason)
	}
}

// find returns the stream's exchange, nil if it is not open.
func (s *session) find(id uint64) *exchange {
	if id > s.last { // as those of most frames that open one
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}

// opens tells a HEADERS that opens a stream from trailers that come late.
func opens(fields frame.Fields) bool {
	if fields.Len() == 0 {
		return false
	}
	name, _, _ := fields.Next()
	return len(name) > 0 && name[0] == ':'
}

// take starts what answers a request, or refuses it.
func (s *session) take(f *frame.Frame) {
	switch {
	case f.Stream <= s.last: // numbers ascend: this one has had its answer
		return
	case !s.pool.acquire():
		s.reset(f.Stream, http2.ErrCodeRefusedStream, "all slots are taken")
		return
	}
	x, err := newExchange(s, f)
	if err != nil {
		s.pool.release()
		var streamErr frame.StreamError
		if !errors.As(err, &streamErr) {
			streamErr = frame.StreamError{Code: http2.ErrCodeProtocol, Reason: err.Error()}
		}
		s.reset(f.Stream, streamErr.Code, streamErr.Reason)
		return
	}
	s.mu.Lock()
	refuse := s.draining
	if !refuse { // under the same lock: drain waits for no handler that it does not know
		s.last = f.Stream
		s.streams[f.Stream] = x
		s.pool.handlers.Add(1)
	}
	s.mu.Unlock()
	if !refuse {
		s.pool.runners.serve(x)
	} else {
		s.pool.release()
		s.reset(f.Stream, http2.ErrCodeRefusedStream, "worker drains")
	}
	if s.link.told.name == parked {
		s.tellJoined()
	}
}

// reset answers a HEADERS that opened nothing.
func (s *session) reset(id uint64, code frame.Code, reason string) {
	s.scratch = frame.AppendRSTStream(s.scratch[:0], id, code, reason)
	s.urgent(id, s.scratch)
}

// urgent queues a frame that goes before all DATA. If it cannot, the connection has ended, which run notices.
func (s *session) urgent(id uint64, head []byte) {
	_, _ = s.conn.Send(id, zmtp.Urgent, head)
}

// done forgets an exchange whose last frame is queued, or void.
func (s *session) done(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[x.stream.id] != x {
		s.pool.forget(x)
		return
	}
	delete(s.streams, x.stream.id)
	s.leaveIfIdle()
}

// void ends all streams without a last frame: the router does not know them any more.
func (s *session) void(cause error) {
	s.mu.Lock()
	streams := s.streams
	s.streams = map[uint64]*exchange{}
	s.last = 0
	for _, x := range streams {
		s.pool.orphan(x)
	}
	s.mu.Unlock()
	for _, x := range streams {
		x.void(cause)
	}
}

// abort ends the contexts of all requests.
func (s *session) abort(cause error) {
	for _, x := range s.open() {
		x.abort(cause, http2.ErrCodeCancel, cause.Error())
	}
}

func (s *session) open() []*exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*exchange, 0, len(s.streams))
	for _, x := range s.streams {
		all = append(all, x)
	}
	return all
}

// drain refuses new streams from now on, tells the router, and closes the connection once the running ones have ended.
func (s *session) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	switch {
	case !s.running:
		_ = s.nc.Close() // ends the handshake
	case s.joined:
		s.leave()
	default:
		s.leaveIfIdle()
	}
}

// leave sends GOAWAY, and before it what the worker says of itself, if that is news: this session takes no more requests for it, but the router
// forgets what was said before. s.mu is held.
func (s *session) leave() {
	s.join()
	s.urgent(0, frame.AppendGoAway(nil, s.last, http2.ErrCodeNo, "worker drains"))
	s.leaveIfIdle()
}

// leaveIfIdle is called with s.mu held, when a stream has ended.
func (s *session) leaveIfIdle() {
	if s.draining && s.running && len(s.streams) == 0 {
		s.conn.CloseAfterFlush(flushTimeout)
	}
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		_ = s.conn.Close()
	}
}

// awaitDrain has st woken when the writer next takes the queue. It reports false if generation gen is taken already. st.mu is held.
func (s *session) awaitDrain(st *stream, gen uint64) bool {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	if !s.conn.AwaitDrain(gen) {
		return false
	}
	s.waiting = append(s.waiting, st)
	return true
}

// drained wakes the streams that wait for the queue.
func (s *session) drained() {
	s.waitMu.Lock()
	s.waiting, s.woken = s.woken[:0], s.waiting
	s.waitMu.Unlock()
	for _, st := range s.woken {
		st.wake()
	}
	clear(s.woken)
}
