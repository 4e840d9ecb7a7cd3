package conform

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// actor is a worker that the kit plays.
type actor struct {
	s           *scene
	name        string
	nc          *mask
	conn        *zmtp.Conn
	welcome     frame.WelcomeInfo
	greeted     bool  // WELCOME came
	joined      bool  // it has sent a JOIN that is right: requests may come
	serving     bool  // and more will
	concurrency int   // that it announced
	why         error // its connection has ended, for this reason
	last        uint64
	tasks       map[uint64]*task
	fresh       []*task // that no case has looked at
	away        *frame.Frame
	replies     []received // a REP's requests
}

// dial connects a native worker, which says nothing yet.
func (s *scene) dial() *actor { return s.connect("DEALER", zmtp.Options{}) }

func (s *scene) connect(socket string, o zmtp.Options) *actor {
	nc, err := zmtp.Dial(s.ctx, s.kit.Workers)
	if err != nil {
		failf("expected the router's worker port to accept a connection; %v", err)
	}
	o.MaxPart = 16 << 20
	m := &mask{Conn: nc, socket: socket}
	conn, err := zmtp.Connect(m, o)
	if err != nil {
		failf("expected a ZMTP handshake with a %s; %v", socket, err)
	}
	w := &actor{s: s, name: fmt.Sprintf("w%d", len(s.actors)+1), nc: m, conn: conn, tasks: map[uint64]*task{}}
	s.actors = append(s.actors, w)
	s.readers.Go(func() {
		err := conn.Run(func(parts [][]byte) error {
			msg := make(received, len(parts))
			for i, p := range parts {
				msg[i] = bytes.Clone(p)
			}
			s.kit.transcript.note(w.name+" ->", msg)
			s.post(event{w: w, m: msg})
			return nil
		})
		s.post(event{w: w, ended: err})
	})
	return w
}

// send sends one message, as it is.
func (w *actor) send(parts ...[]byte) {
	w.s.kit.transcript.note(w.name+" <-", parts)
	if _, err := w.conn.Send(0, zmtp.Ordinary, parts...); errors.Is(err, zmtp.ErrFull) {
		failf("expected the router to read what %s sends; 4 MiB wait", w.name)
	} // a connection that has ended shows when the case waits
}

// until waits for something of this worker.
func (w *actor) until(waitingFor string, holds func() bool) {
	w.s.until(waitingFor+" at "+w.name, func() bool {
		if holds() {
			return true
		}
		if w.why != nil {
			failf("expected %s at %s; its connection ended: %v", waitingFor, w.name, w.why)
		}
		return false
	})
}

func (w *actor) awaitWelcome() { w.until("WELCOME", func() bool { return w.greeted }) }

// join sends JOIN.
func (w *actor) join(concurrency uint64, edit ...func(*frame.JoinInfo)) {
	w.joined, w.serving, w.concurrency = true, true, int(max(concurrency, 1))
	w.sendJoin(concurrency, edit...)
}

// sendJoin sends a JOIN that the router may not honour.
func (w *actor) sendJoin(concurrency uint64, edit ...func(*frame.JoinInfo)) {
	j := frame.JoinInfo{
		Protocol: frame.Protocol, Connection: w.welcome.Connection, Instance: fmt.Sprintf("%x", newConnection()),
		Name: "conform-" + w.name, Concurrency: concurrency, Token: w.s.kit.Token,
	}
	for _, e := range edit {
		e(&j)
	}
	w.send(frame.AppendJoin(nil, j))
}

// goAway sends GOAWAY.
func (w *actor) goAway(last uint64) {
	w.serving = false
	w.send(frame.AppendGoAway(nil, last, 0, "the worker stops"))
}

// vanish ends the connection without a word.
func (w *actor) vanish() {
	w.serving = false
	_ = w.conn.Close()
	w.s.until("the end of the connection", func() bool { return w.why != nil })
}

func (w *actor) forget(t *task) {
	for i := range w.fresh {
		if w.fresh[i] == t {
			w.fresh = append(w.fresh[:i], w.fresh[i+1:]...)
			return
		}
	}
}

// busy counts the streams for which the worker owes an end.
func (w *actor) busy() (n int) {
	for _, t := range w.tasks {
		if !t.over {
			n++
		}
	}
	return n
}

// take is what the router sent. What breaks the protocol fails the case,
// whatever it is about.
func (w *actor) take(m received) {
	if w.nc.socket == "REP" {
		w.replies = append(w.replies, m)
		return
	}
	f, err := m.parse()
	if err != nil {
		failf("a malformed frame: %v", err)
	}
	if !w.greeted && f.Type != frame.Welcome {
		failf("a %v before WELCOME: the router speaks first, and says that", f.Type)
	}
	switch f.Type {
	case frame.Welcome:
		if w.welcome, err = frame.ParseWelcome(&f); err != nil {
			failf("a malformed WELCOME: %v", err)
		}
		w.greeted = true
	case frame.GoAway:
		w.away = &f
	case frame.Headers:
		if t := w.tasks[f.Stream]; t != nil {
			t.takeTrailers(f)
		} else {
			w.takeRequest(f)
		}
	case frame.Data, frame.RSTStream, frame.WindowUpdate:
		t := w.tasks[f.Stream]
		if t == nil {
			failf("a %v for stream %d, which was not opened on this connection", f.Type, f.Stream)
		}
		t.take(f)
	default:
		failf("a %v from a router", f.Type)
	}
}

// hops are fields that concern one connection (RFC 9110 section 7.6.1). TE may
// stand with "trailers".
var hops = []string{"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-authorization"}

func (w *actor) takeRequest(f frame.Frame) {
	if !w.joined {
		failf("a request for a worker that has not joined, on stream %d", f.Stream)
	}
	if f.Stream <= w.last {
		failf("stream %d was opened after stream %d: numbers ascend", f.Stream, w.last)
	}
	w.last = f.Stream
	t := &task{w: w, id: f.Stream, room: frame.RequestWindow, window: frame.ResponseWindow}
	plain := false
	for name, value := range f.Fields.All() {
		n := string(name)
		if strings.HasPrefix(n, ":") == plain && plain {
			failf("the field %q on stream %d after others: those with a colon come first", n, f.Stream)
		}
		plain = !strings.HasPrefix(n, ":")
		if n != strings.ToLower(n) {
			failf("the field %q on stream %d: names are in lower case", n, f.Stream)
		}
		t.fields = append(t.fields, n, string(value))
	}
	want := []string{":method", ":scheme", ":authority", ":path"}
	for i, name := range want {
		if len(t.fields) < 2*len(want) || t.fields[2*i] != name {
			failf("a request on stream %d that begins with %.300s: %v come first", f.Stream, describeFields(t.fields), want)
		}
	}
	for _, name := range hops {
		if v := valuesOf(t.fields, name); v != nil {
			failf("the field %s: %q on stream %d concerns one hop", name, v, f.Stream)
		}
	}
	w.tasks[t.id] = t
	if !strings.HasPrefix(t.path(), w.s.path) { // of an earlier case
		t.rst(cancelCode)
		return
	}
	if n := w.busy(); n > w.concurrency {
		failf("stream %d makes %d at once; the worker announced a concurrency of %d", f.Stream, n, w.concurrency)
	}
	if len(valuesOf(t.fields, "expect")) > 0 {
		t.room, t.expects = 0, true
	}
	w.fresh = append(w.fresh, t)
	t.takePayload(f)
}
