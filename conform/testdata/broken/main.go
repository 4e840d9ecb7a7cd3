// Command broken is a native worker that serves the paths of CONFORM.md, right
// but for the one defect that its argument names. Without one it is whole.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

type worker struct {
	defect string

	mu         sync.Mutex
	conn       *zmtp.Conn
	connection uint64
	streams    map[uint64]*stream
	last       uint64
	draining   bool
	exit       context.CancelFunc
}

type stream struct {
	id      uint64
	path    string
	query   url.Values
	fields  [][2]string
	head    bool // answered
	out     []byte
	whole   bool // out is all that there will be
	sent    uint64
	window  int64
	got     uint64
	opened  bool // gave credit for an expected body
	chunks  int  // of /stream, not yet written
	next    time.Time
	noBody  bool
	trailer bool
	limit   uint64 // of /upgrade: bytes after which it ends
}

func main() {
	w := &worker{streams: map[uint64]*stream{}}
	if len(os.Args) > 1 {
		w.defect = os.Args[1]
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.exit = cancel
	terminated, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	var group sync.WaitGroup
	group.Go(func() {
		<-terminated.Done()
		w.drain()
	})
	group.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
			w.tick()
		}
	})
	for ctx.Err() == nil {
		w.link(ctx)
		time.Sleep(50 * time.Millisecond)
	}
	group.Wait()
}

// concurrency 1 or 2 is no defect: "takes-one", "takes-two".
func (w *worker) concurrency() int {
	switch {
	case w.is("takes-one"):
		return 1
	case w.is("takes-two"):
		return 2
	}
	return 16
}

func (w *worker) is(defect string) bool { return w.defect == defect }

// isOn is is, but for upgrades: their defects have names of their own.
func (w *worker) isOn(s *stream, defect string) bool {
	if s.path == "/upgrade" {
		defect = "upgrade-" + defect
	}
	return w.is(defect)
}

func (w *worker) link(ctx context.Context) {
	nc, err := zmtp.Dial(ctx, os.Getenv("DIALMUX_ROUTER"))
	if err != nil {
		return
	}
	conn, err := zmtp.Connect(nc, zmtp.Options{})
	if err != nil {
		return
	}
	w.mu.Lock()
	w.conn, w.connection, w.streams, w.last = conn, 0, map[uint64]*stream{}, 0
	w.mu.Unlock()
	_ = conn.Run(w.receive)
}

func (w *worker) send(head []byte, payload ...[]byte) {
	_, _ = w.conn.Send(0, zmtp.Ordinary, append([][]byte{head}, payload...)...)
}

func (w *worker) reset(id uint64, code frame.Code) {
	delete(w.streams, id)
	w.send(frame.AppendRSTStream(nil, id, code, ""))
	w.leaveIfDone()
}

func (w *worker) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	w.goAway()
	for _, s := range w.streams {
		if s.path == "/upgrade" && w.is("drain-cuts-upgrades") {
			w.reset(s.id, http2.ErrCodeCancel)
		}
	}
	w.leaveIfDone()
}

func (w *worker) goAway() {
	last := w.last
	if w.is("goaway-too-high") {
		last += 1000
	}
	w.send(frame.AppendGoAway(nil, last, http2.ErrCodeNo, "draining"))
}

func (w *worker) leaveIfDone() {
	if w.draining && len(w.streams) == 0 {
		w.conn.CloseAfterFlush(time.Second)
		w.exit()
	}
}

func (w *worker) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.streams {
		if s.chunks > 0 {
			w.chunk(s)
		}
	}
}

func (w *worker) receive(parts [][]byte) error {
	var payload []byte
	if len(parts) > 1 {
		payload = parts[1]
	}
	f, err := frame.Parse(parts[0], payload)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.streams[f.Stream]
	switch f.Type {
	case frame.Welcome:
		w.welcome(&f)
	case frame.Headers:
		if s == nil && f.Fields.Len() > 0 {
			w.open(&f)
		} else if s != nil && !w.is("request-trailers-ignored") {
			w.body(s, &f)
		}
	case frame.Data:
		switch {
		case s != nil:
			w.body(s, &f)
		case w.is("answers-dead-streams"):
			w.send(frame.AppendRSTStream(nil, f.Stream, http2.ErrCodeStreamClosed, ""))
		}
	case frame.RSTStream:
		switch {
		case s == nil && w.is("double-end"):
			w.send(frame.AppendRSTStream(nil, f.Stream, http2.ErrCodeCancel, ""))
		case s != nil && w.isOn(s, "cancel-ignored"):
		case s != nil:
			w.reset(s.id, http2.ErrCodeCancel)
		}
	case frame.WindowUpdate:
		if s != nil {
			s.window += int64(f.Credit)
			w.flush(s)
		}
	case frame.GoAway, frame.Join, frame.Own, frame.RSTStream + 100:
	default:
		if w.is("dies-of-unknown-type") {
			return fmt.Errorf("%v?", f.Type)
		}
	}
	return nil
}

func (w *worker) welcome(f *frame.Frame) {
	info, err := frame.ParseWelcome(f)
	if err != nil {
		return
	}
	old, first := w.connection, w.connection == 0
	if info.Connection == old && !w.is("same-welcome-voids") {
		return
	}
	w.connection = info.Connection
	echo := info.Connection
	if !first && w.is("join-echoes-the-first") {
		echo = old
	}
	voided := w.streams
	w.streams, w.last = map[uint64]*stream{}, 0
	w.send(frame.AppendJoin(nil, frame.JoinInfo{
		Protocol: frame.Protocol, Connection: echo, Instance: "1", Name: "broken", Concurrency: uint64(w.concurrency()), Token: os.Getenv("DIALMUX_TOKEN"),
	}))
	if w.is("old-streams-go-on") {
		for id := range voided {
			w.send(frame.AppendData(nil, id, false, 0), []byte("more"))
		}
	}
	if w.draining {
		if !w.is("drain-forgotten") {
			w.goAway()
		}
		w.leaveIfDone()
	}
}

func (w *worker) open(f *frame.Frame) {
	if w.draining || len(w.streams) >= w.concurrency() && !w.is("refuses-nothing") {
		w.send(frame.AppendRSTStream(nil, f.Stream, http2.ErrCodeRefusedStream, ""))
		return
	}
	s := &stream{id: f.Stream, window: frame.ResponseWindow}
	w.streams[s.id] = s
	w.last = s.id
	protocol, expect, method := "", false, ""
	for name, value := range f.Fields.All() {
		n, v := string(name), string(value)
		switch {
		case n == ":path":
			s.path, v, _ = strings.Cut(v, "?")
			s.query, _ = url.ParseQuery(v)
		case n == ":protocol":
			protocol = v
		case n == ":method":
			method = v
		case n == "expect":
			expect = true
		case strings.HasPrefix(n, "x-"):
			s.fields = append(s.fields, [2]string{n, v})
		}
	}
	s.noBody = method == "HEAD" && !w.is("body-for-head")
	switch {
	case s.path == "/echo":
		if expect && !w.is("expect-forgotten") {
			w.send(frame.AppendWindowUpdate(nil, s.id, frame.RequestWindow))
		}
	case s.path == "/bytes":
		n, _ := strconv.Atoi(s.query.Get("n"))
		s.out, s.whole = make([]byte, n), true
	case s.path == "/stream":
		s.chunks, _ = strconv.Atoi(s.query.Get("n"))
		w.answer(s, "200")
		w.chunk(s)
	case s.path == "/slow":
		s.out = []byte(".")
	case s.path == "/early" && w.is("early-waits"):
	case s.path == "/early":
		s.out, s.whole = []byte("early"), true
	case s.path == "/hints":
		w.head(s, "103")
		s.whole = true
	case s.path == "/trailers":
		s.out, s.whole, s.trailer = []byte("body"), true, true
	case s.path == "/reset":
		w.reset(s.id, http2.ErrCodeInternal)
		return
	case s.path == "/upgrade" && w.accepts(protocol):
		s.limit, _ = strconv.ParseUint(s.query.Get("n"), 10, 64)
		w.answer(s, "101")
	case s.path == "/upgrade" && protocol != "" && w.is("upgrade-refused-waits"):
		w.answer(s, "404")
	case s.path == "/fields":
		s.whole = true
	case strings.HasPrefix(s.path, "/status/"):
		s.whole = true
		w.answer(s, strings.TrimPrefix(s.path, "/status/"))
	default:
		s.whole = true
		w.answer(s, "404")
	}
	w.body(s, f)
}

// accepts tells whether /upgrade does. "upgrade-none" is no defect.
func (w *worker) accepts(protocol string) bool {
	switch {
	case w.is("upgrade-none"):
		return false
	case w.is("upgrade-unasked"):
		return protocol == "" || protocol == "echo"
	case w.is("upgrade-any"):
		return protocol != ""
	}
	return protocol == "echo"
}

func (w *worker) head(s *stream, status string) {
	var f frame.Fields
	f.Add(":status", status)
	w.send(frame.AppendHeaders(nil, s.id, f, false, 0))
}

// answer sends the final head.
func (w *worker) answer(s *stream, status string) {
	s.head = true
	var f frame.Fields
	f.Add(":status", status)
	if s.path == "/fields" {
		for i, kv := range s.fields {
			if w.is("one-of-each-field") && slices.ContainsFunc(s.fields[:i], func(o [2]string) bool { return o[0] == kv[0] }) {
				continue
			}
			if w.is("fields-made-utf8") {
				kv[1] = strings.ToValidUTF8(kv[1], "?")
			}
			f.Add(kv[0], kv[1])
		}
	}
	w.send(frame.AppendHeaders(nil, s.id, f, false, 0))
}

func (w *worker) chunk(s *stream) {
	ms, _ := strconv.Atoi(s.query.Get("ms"))
	n, _ := strconv.Atoi(s.query.Get("n"))
	for s.chunks > 0 && !time.Now().Before(s.next) {
		if len(s.out) > 0 && ms == 0 {
			break // flush sends one chunk a frame
		}
		s.out = fmt.Appendf(s.out, "chunk %d\n", n-s.chunks)
		s.chunks--
		s.next = time.Now().Add(time.Duration(ms) * time.Millisecond)
		s.whole = s.chunks == 0
		w.flush(s)
	}
}

// body takes what came of the request's.
func (w *worker) body(s *stream, f *frame.Frame) {
	n := len(f.Payload)
	s.got += uint64(n)
	if f.End() && f.Total != s.got && !w.is("total-not-checked") {
		w.reset(s.id, http2.ErrCodeProtocol)
		return
	}
	switch s.path {
	case "/slow":
		if s.got > 2*frame.RequestWindow {
			w.reset(s.id, http2.ErrCodeFlowControl)
			return
		}
	case "/echo", "/upgrade":
		s.out = append(s.out, f.Payload...)
		if s.limit > 0 && s.got >= s.limit && !w.is("upgrade-never-ends") {
			s.whole = true
		}
		if n > 0 && !f.End() && !w.isOn(s, "no-credit") {
			credit := uint64(frame.Cost(n))
			if w.is("credit-in-bytes") {
				credit = uint64(n)
			}
			w.send(frame.AppendWindowUpdate(nil, s.id, credit))
		}
	}
	if f.End() && (s.path == "/echo" || s.path == "/upgrade" || s.path == "/early") {
		s.whole = true
		if w.isOn(s, "cuts") {
			s.whole = false
			w.flush(s)
			s.out, s.whole = nil, true
		}
	}
	if w.isOn(s, "holds-back") && !s.whole && s.got < 4096 && s.limit == 0 && !w.draining {
		return
	}
	w.flush(s)
}

// flush sends what the window allows.
func (w *worker) flush(s *stream) {
	if !s.head && (len(s.out) > 0 || s.whole) {
		w.answer(s, "200")
	}
	if s.noBody {
		s.out = nil
	}
	for len(s.out) > 0 {
		n := frame.Fit(s.window, len(s.out))
		if i := bytes.IndexByte(s.out, '\n'); s.path == "/stream" && i >= 0 {
			n = min(n, i+1)
		}
		cost := frame.Cost(n)
		switch {
		case w.isOn(s, "window-ignored") && s.path != "/stream":
			n = min(len(s.out), frame.MaxPayload)
		case w.is("window-in-bytes") && s.path == "/stream":
			n = bytes.IndexByte(s.out, '\n') + 1
			cost = int64(n)
		}
		if n == 0 {
			return
		}
		s.window -= cost
		s.sent += uint64(n)
		end := s.whole && n == len(s.out) && !s.trailer
		total := s.sent
		if w.is("total-wrong") && total > 4_000_000 {
			total++
		}
		w.send(frame.AppendData(nil, s.id, end, total), s.out[:n])
		s.out = s.out[n:]
		if end {
			w.finish(s)
			return
		}
		if len(s.out) == 0 && s.chunks > 0 && s.query.Get("ms") == "" {
			w.chunk(s)
			return
		}
	}
	switch {
	case !s.whole:
	case s.trailer:
		var f frame.Fields
		f.Add("x-trailer", "yes")
		w.send(frame.AppendHeaders(nil, s.id, f, true, s.sent))
		w.finish(s)
	case w.isOn(s, "end-uncounted"):
		w.send(frame.AppendData(nil, s.id, true, 0))
		w.finish(s)
	default:
		w.send(frame.AppendData(nil, s.id, true, s.sent))
		w.finish(s)
	}
}

func (w *worker) finish(s *stream) {
	if w.streams[s.id] == s {
		delete(w.streams, s.id)
		w.leaveIfDone()
	}
}
