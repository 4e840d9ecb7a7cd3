package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// peer is one connection on the worker port. It is told apart by itself, never
// by what the other end claims.
type peer struct {
	// Constant once it is served.
	r          *Router
	conn       *zmtp.Conn
	rep        int    // rep or native
	addr       string // where it dialled in from
	connection uint64 // WELCOME's
	key        [8]byte
	since      time.Time
	newcomer   *newcomer

	// Owned by the read loop.
	admitted bool // its JOIN was accepted once: frames count
	frame    frame.Frame
	reply    frame.Fields
	aimless  aimless
	broken   error // what it broke the protocol by: the rest is not read

	// Guarded by pool.mu.
	claim     *claim // what it said of itself when it joined
	info      frame.JoinInfo
	arrival   uint64 // as which of all connections it came
	label     string // its name, told apart: what clients see
	number    int    // among those of one name
	seats     []seat
	service   *service
	ringed    bool // all seats are
	listed    bool // in rosters
	joined    bool
	draining  bool
	parked    string // why it gets no requests
	denied    bool   // what it announced last was refused
	passed    bool   // refused a stream just now
	full      bool   // its queue is
	gone      bool
	busy      int
	slots     int
	weight    int
	failures  int // answers, in a row
	aside     bool
	probation *time.Timer
	began     time.Time // when it joined
	fresh     bool      // it does not get its whole share yet
	ended     uint64    // streams
	refusals  uint64
	pause     *time.Timer

	shown atomic.Pointer[string] // label, for readers without pool.mu

	mu sync.Mutex
	// Guarded by mu.
	streams map[uint64]*stream // nil: the client has left, and the worker still owes the end
	closed  bool
	leaving bool // it has said GOAWAY: what it would get now it would not begin
	blocked []numbered
	scratch []byte
}

// numbered is a stream under its number: it may have another by the time that
// somebody looks.
type numbered struct {
	s  *stream
	id uint64
}

// free tells whether p can take a request. pool.mu is held.
func (p *peer) free() bool {
	return p.joined && !p.draining && p.parked == "" && !p.passed && !p.full && !p.gone && !p.aside && p.busy < p.slots
}

// maxParts is one more than a REP worker's reply has, so that one too many is
// still a 502 and not the connection's end.
const maxParts = 5

// serve is the life of one connection on the worker port.
func (r *Router) serve(ctx context.Context, nc net.Conn) {
	p := &peer{r: r, streams: map[uint64]*stream{}, since: time.Now(), connection: randomConnection()}
	p.aimless.looked = p.since
	copy(p.key[:], random(len(p.key)))
	p.newcomer = r.newcomers.add(nc)
	defer r.newcomers.known(p.newcomer)
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	conn, err := zmtp.Accept(nc, zmtp.Options{MaxParts: maxParts, OnDrain: p.drained})
	if !stop() || err != nil {
		if p.newcomer.closed.Load() {
			err = errPushedOut
		}
		if err != nil && ctx.Err() == nil {
			r.handshakes.warn(r.log, "worker port: handshake failed", "peer", nc.RemoteAddr(), "err", err)
		}
		_ = nc.Close()
		return
	}
	p.conn, p.addr = conn, conn.Peer().Addr
	p.show(p.addr)
	if conn.Peer().Socket == "REP" {
		p.rep = rep
	}
	conn.SetMaxPart(frame.MaxHead) // enough for a JOIN; more is for who has joined
	r.pool.add(p)
	if p.rep == rep {
		r.joinREP(p)
	} else {
		p.welcome("")
		defer time.AfterFunc(joinWait, p.late).Stop()
	}
	if r.draining.Load() {
		p.goAway(http2.ErrCodeNo, "the router drains")
		p.letGo()
	}
	p.lost(conn.Run(p.receive))
}

var errPushedOut = errors.New("too many connections came after it, and it had not joined yet")

// joinWait is how long a native worker may take to answer WELCOME.
const joinWait = 5 * time.Second

// late parks a worker that has not joined: those are bounded in number.
func (p *peer) late() {
	p.park(http2.ErrCodeProtocol, fmt.Sprintf("no JOIN came within %v of WELCOME: is this a Dialmux worker?", joinWait), true)
}

func (p *peer) show(label string) { p.shown.Store(&label) }

func (p *peer) name() string { return *p.shown.Load() }

// welcome says who this is, and later why a JOIN was refused.
func (p *peer) welcome(refused string) {
	b := frame.AppendWelcome(nil, frame.WelcomeInfo{
		Protocol:   frame.Protocol,
		Router:     p.r.id,
		Connection: p.connection,
		Limits:     frame.Limits{Head: frame.MaxHead, Payload: frame.MaxPayload, Concurrency: MaxConcurrency},
		Windows:    frame.Windows{Request: frame.RequestWindow, Response: frame.ResponseWindow},
		Refused:    refused,
	})
	_, _ = p.conn.Send(0, zmtp.Urgent, b) // a connection that is closed already says so in Run
}

// goAway tells a native worker why there is, or will be, nothing for it.
func (p *peer) goAway(code frame.Code, reason string) {
	if p.rep == native {
		_, _ = p.conn.Send(0, zmtp.Urgent, frame.AppendGoAway(nil, 0, code, reason)) // see welcome
	}
}

// send opens s on p. s.mu is held, and the slot taken.
func (p *peer) send(s *stream) error {
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return zmtp.ErrClosed
	case p.leaving: // since it was picked
		p.mu.Unlock()
		return errMoved
	}
	id := p.r.nextStream()
	wake, err := p.queueHead(s, id)
	if err == nil {
		p.streams[id] = s
		s.peer, s.id, s.worker = p, id, p.name()
		s.ledger.phase = sent
		s.touch()
	}
	p.mu.Unlock()
	if wake {
		p.conn.Wake()
	}
	return err
}

// queueHead queues what opens the stream. p.mu is held: numbers ascend.
func (p *peer) queueHead(s *stream, id uint64) (wake bool, err error) {
	if p.rep == rep {
		return p.queueREP(s, id)
	}
	u := &s.upload
	n := frame.Fit(u.window, len(u.buf))
	end := u.eof && n == len(u.buf) && u.trailers.Len() == 0
	p.scratch = frame.AppendHeaders(p.scratch[:0], id, s.request.fields, end, u.total())
	gen, wake, err := p.conn.Queue(id, zmtp.Opener, p.scratch, u.buf[:n])
	if err != nil {
		return false, err
	}
	u.gen, u.queued, u.sent, u.ended = gen, n, n, end
	u.window -= frame.Cost(n)
	return wake, nil
}

// abort resets a stream that its client has left, or that broke the protocol. A
// request that has not left the queue never leaves it; else the worker owes an
// end, and its slot stays taken.
func (p *peer) abort(id uint64, code frame.Code, reason string) {
	p.mu.Lock()
	if _, open := p.streams[id]; !open {
		p.mu.Unlock()
		return
	}
	if _, unsent := p.conn.Purge(id); unsent {
		delete(p.streams, id)
		p.mu.Unlock()
		p.r.pool.release(p, false)
		return
	}
	p.streams[id] = nil
	if p.rep == native {
		_, _ = p.conn.Send(id, zmtp.Urgent, frame.AppendRSTStream(nil, id, code, reason)) // see welcome
	}
	p.mu.Unlock()
}

// block makes drained flush s. s.mu is held.
func (p *peer) block(s *stream) {
	if s.upload.blocked {
		return
	}
	s.upload.blocked = true
	p.mu.Lock()
	p.blocked = append(p.blocked, numbered{s, s.id})
	p.mu.Unlock()
}

// drained is called by the writer when it has taken a queue that was full.
func (p *peer) drained() {
	p.r.pool.drained(p)
	p.mu.Lock()
	waiting := p.blocked
	p.blocked = nil
	p.mu.Unlock()
	for _, b := range waiting {
		b.s.mu.Lock()
		if b.s.peer == p && b.s.id == b.id {
			b.s.upload.blocked = false
			b.s.flush()
		}
		b.s.mu.Unlock()
	}
}

// lost ends what the connection carried, for the reason that it ended with.
func (p *peer) lost(why error) {
	p.r.pool.remove(p)
	p.mu.Lock()
	p.closed = true
	streams := p.streams
	p.streams = nil
	p.mu.Unlock()
	switch {
	case p.broken != nil:
		why = p.broken
	case p.newcomer.closed.Load():
		why = errPushedOut
	}
	unsent := p.conn.Unsent()
	fate := errLost
	if p.rep == rep && !isLoss(why) {
		fate = errBroken // an answer that is too large would be so on any worker
	}
	for id, s := range streams {
		if s == nil {
			continue
		}
		if unsent[id] {
			s.fail(id, errMoved)
			continue
		}
		s.fail(id, fate)
	}
	level := p.r.log.Info
	switch {
	case !p.admitted:
		level = func(msg string, args ...any) { p.r.handshakes.warn(p.r.log, msg, args...) }
	case !isLoss(why):
		level = p.r.log.Warn
	}
	level("worker left", "worker", p.name(), "addr", p.addr, "why", why, "unfinished", len(streams))
}

// isLoss tells a connection that ended from one that was ended for what the
// peer sent.
func isLoss(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, zmtp.ErrClosed) || errors.Is(err, zmtp.ErrDead) || isEOF(err)
}

// receive takes one message.
func (p *peer) receive(parts [][]byte) error {
	if p.broken != nil {
		return nil
	}
	err := p.take(parts)
	if err == nil && p.aimless.exhausted(p.conn) {
		p.r.floods.warn(p.r.log, "worker closed: it floods its connection with frames that lead nowhere", "worker", p.name(), "addr", p.addr)
		err = frame.ConnError{Code: http2.ErrCodeEnhanceYourCalm, Reason: "too many frames that lead nowhere"}
	}
	if err != nil {
		p.breach(err)
	}
	p.letGo()
	return nil
}

func (p *peer) take(parts [][]byte) error {
	if p.rep == rep {
		p.receiveReply(parts)
		return nil
	}
	var payload []byte
	switch len(parts) {
	case 1:
	case 2:
		payload = parts[1]
	default:
		return frame.ConnError{Code: http2.ErrCodeProtocol, Reason: fmt.Sprintf("a message of %d parts; head and payload make two", len(parts))}
	}
	f := &p.frame
	var err error
	*f, err = frame.Parse(parts[0], payload)
	fault, faulty := errors.AsType[frame.StreamError](err)
	switch {
	case err != nil && !faulty:
		return err
	case f.Type == frame.Join:
		p.aimless.spend(1)
		return p.join(f)
	case !p.admitted:
		p.drop()
		return nil
	case faulty:
		p.receiveFaulty(f, fault)
		return nil
	}
	switch f.Type {
	case frame.Headers, frame.Data:
		p.receiveStream(f)
	case frame.RSTStream:
		p.receiveReset(f)
	case frame.WindowUpdate:
		p.aimless.spend(1)
		p.receiveCredit(f)
	case frame.GoAway:
		p.aimless.spend(1)
		p.receiveGoAway(f)
	default: // types of the future are passed over
		p.aimless.spend(1)
	}
	return nil
}

// drop counts a frame that means nothing here.
func (p *peer) drop() {
	p.r.dropped.Add(1)
	p.aimless.spend(1)
}

// breach ends the connection for what came over it, once the worker has been
// told why.
func (p *peer) breach(err error) {
	p.broken = fmt.Errorf("worker broke the protocol: %w", err)
	if ce, ok := errors.AsType[frame.ConnError](err); ok {
		p.goAway(ce.Code, ce.Reason)
	}
	p.conn.CloseAfterFlush(farewell)
}

// find looks a stream up, and forgets it if this frame is its last.
func (p *peer) find(id uint64, last bool) (s *stream, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, open = p.streams[id]
	if !open {
		p.drop()
	} else if last {
		delete(p.streams, id)
	}
	return s, open
}

func (p *peer) receiveStream(f *frame.Frame) {
	s, open := p.find(f.Stream, f.End())
	switch {
	case !open:
		return
	case !f.End() && (s == nil || f.Type == frame.Data && len(f.Payload) == 0):
		p.aimless.spend(1)
	}
	good, sorry := s != nil, s != nil && isSorry(f)
	if sorry {
		p.r.pool.refused(p, true) // before the request moves, or it might come back
		p.r.pool.failed(p)
	}
	if s != nil {
		p.r.memory.relieve()
		if err := s.arrive(f.Stream, f, sorry); err != nil {
			good = false
			se, _ := errors.AsType[frame.StreamError](err)
			p.blame(s, se)
		}
	}
	if f.End() && !sorry {
		p.r.pool.release(p, good)
	}
}

// receiveFaulty takes a frame that Parse found wrong: its stream ends, and the
// slot is free if it was the worker's last.
func (p *peer) receiveFaulty(f *frame.Frame, fault frame.StreamError) {
	last := f.Type == frame.RSTStream || f.End() && (f.Type == frame.Headers || f.Type == frame.Data)
	s, open := p.find(f.Stream, last)
	if s != nil {
		p.blame(s, fault)
	}
	if open && last {
		p.r.pool.release(p, false)
	}
}

// blame logs what a worker did wrong on one stream, and resets the stream
// unless the worker has ended it.
func (p *peer) blame(s *stream, e frame.StreamError) {
	p.r.log.Warn("worker broke the protocol on a stream", "worker", p.name(), "stream", e.Stream, "code", e.Code, "what", e.Reason)
	s.fail(e.Stream, errBroken)
	p.r.pool.failed(p)
	p.abort(e.Stream, e.Code, e.Reason)
}

func (p *peer) receiveReset(f *frame.Frame) {
	s, open := p.find(f.Stream, true)
	if !open {
		return
	}
	refused, lost := f.Code == http2.ErrCodeRefusedStream, f.Code == http2.ErrCodeConnect // a sidecar's app died
	if refused || lost {
		p.r.pool.refused(p, lost) // before the request moves, or it might come back
	}
	if s != nil {
		err := error(&failure{502, fmt.Sprintf("the worker gave the request up: %v", f.Code), false})
		switch {
		case refused:
			err = errRefused
		case lost:
			err = errLost
			p.r.pool.failed(p)
		default:
			p.r.pool.failed(p)
		}
		s.fail(f.Stream, err)
	}
	if !refused && !lost {
		p.r.pool.release(p, false)
	}
}

func (p *peer) receiveCredit(f *frame.Frame) {
	s, open := p.find(f.Stream, false)
	if s == nil || !open {
		return
	}
	if err := s.credited(f.Stream, f.Credit); err != nil {
		se, _ := errors.AsType[frame.StreamError](err)
		p.blame(s, se)
	}
}

// receiveGoAway takes the worker out, and moves what it will not begin.
func (p *peer) receiveGoAway(f *frame.Frame) {
	first := p.r.pool.drain(p)
	p.mu.Lock()
	p.leaving = true
	moved := map[uint64]*stream{}
	for id, s := range p.streams {
		if id > f.Last {
			moved[id] = s
			delete(p.streams, id)
			p.conn.Purge(id)
		}
	}
	p.mu.Unlock()
	for id, s := range moved {
		if s != nil {
			s.fail(id, errMoved)
		}
		p.r.pool.release(p, false)
	}
	if !first && len(moved) == 0 {
		return
	}
	p.r.log.Info("worker drains", "worker", p.name(), "code", f.Code, "reason", string(f.Reason), "moved", len(moved))
}
