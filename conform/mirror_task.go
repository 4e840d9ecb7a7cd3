package conform

import (
	"fmt"
	"strings"

	"github.com/dialmux/dialmux/frame"
)

// task is a request at a worker.
type task struct {
	w      *actor
	id     uint64
	fields []string

	// Towards the worker.
	body     []byte
	trailers []string
	ended    bool  // END_STREAM came
	room     int64 // what the router may still send, in cost
	expects  bool  // and room is 0 for that
	frozen   bool  // the worker gives no credit back
	reset    *frame.Frame

	// From the worker.
	window int64 // what it may still send
	sent   uint64
	over   bool // it has sent its last frame
}

func (t *task) path() string { return t.get(":path") }

func (t *task) get(name string) string {
	if v := valuesOf(t.fields, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (t *task) takeTrailers(f frame.Frame) {
	if !f.End() {
		failf("HEADERS on stream %d, which is open, without END_STREAM: trailers carry it", f.Stream)
	}
	for name, value := range f.Fields.All() {
		if strings.HasPrefix(string(name), ":") {
			failf("the trailer %q on stream %d", name, f.Stream)
		}
		t.trailers = append(t.trailers, string(name), string(value))
	}
	t.takePayload(f)
}

func (t *task) take(f frame.Frame) {
	switch f.Type {
	case frame.RSTStream:
		t.reset = &f
	case frame.WindowUpdate:
		if t.window += int64(f.Credit); t.window > frame.ResponseWindow {
			failf("a WINDOW_UPDATE on stream %d opens the window to %d: more than it was at first", t.id, t.window)
		}
	case frame.Data:
		t.takePayload(f)
	}
}

func (t *task) takePayload(f frame.Frame) {
	if t.ended {
		failf("a %v on stream %d after END_STREAM", f.Type, t.id)
	}
	cost := frame.Cost(len(f.Payload))
	if cost > t.room {
		failf("a payload of %d bytes on stream %d costs %d, and %d of the window are left", len(f.Payload), t.id, cost, t.room)
	}
	t.room -= cost
	t.body = append(t.body, f.Payload...)
	if f.End() {
		t.ended = true
		if f.Total != uint64(len(t.body)) {
			failf("END_STREAM on stream %d says that the body has %d bytes; %d came", t.id, f.Total, len(t.body))
		}
		return
	}
	if !t.frozen && cost > 0 && !t.over {
		t.credit(uint64(cost))
	}
}

// credit opens the request's window.
func (t *task) credit(n uint64) {
	t.room, t.expects = t.room+int64(n), false
	t.w.send(frame.AppendWindowUpdate(nil, t.id, n))
}

// awaitBody reads the request's body to its end.
func (t *task) awaitBody() []byte {
	t.w.until(fmt.Sprintf("END_STREAM on stream %d (%s)", t.id, t.path()), func() bool { return t.ended })
	return t.body
}

// awaitReset waits for RST_STREAM.
func (t *task) awaitReset(code frame.Code) {
	t.w.until(fmt.Sprintf("RST_STREAM %v on stream %d (%s)", code, t.id, t.path()), func() bool { return t.reset != nil })
	if t.reset.Code != code {
		failf("expected RST_STREAM %v on stream %d (%s); %v %q came", code, t.id, t.path(), t.reset.Code, t.reset.Reason)
	}
}

// headers sends HEADERS with these fields and nothing else.
func (t *task) headers(pairs ...string) {
	if len(pairs) > 1 && pairs[0] == ":status" && pairs[1] == "100" && t.expects {
		t.room, t.expects = frame.RequestWindow, false
	}
	t.w.send(frame.AppendHeaders(nil, t.id, fieldsOf(pairs), false, 0))
}

func (t *task) head(status string, pairs ...string) {
	t.headers(append([]string{":status", status}, pairs...)...)
}

// data sends one DATA frame, whatever the window says.
func (t *task) data(p []byte) {
	t.sent += uint64(len(p))
	t.window -= frame.Cost(len(p))
	t.w.send(frame.AppendData(nil, t.id, false, 0), p)
}

// write sends body bytes within the window, and waits for credit.
func (t *task) write(p []byte) {
	for len(p) > 0 {
		n := frame.Fit(t.window, len(p))
		t.w.until(fmt.Sprintf("WINDOW_UPDATE for stream %d (%s), of which %d bytes have been sent", t.id, t.path(), t.sent), func() bool {
			n = frame.Fit(t.window, len(p))
			return n > 0
		})
		t.data(p[:n])
		p = p[n:]
	}
}

func (t *task) end() {
	t.over = true
	t.w.send(frame.AppendData(nil, t.id, true, t.sent))
}

// ends sends HEADERS with END_STREAM: trailers.
func (t *task) ends(pairs ...string) {
	t.over = true
	t.w.send(frame.AppendHeaders(nil, t.id, fieldsOf(pairs), true, t.sent))
}

// answer is a whole answer in one message.
func (t *task) answer(status, body string, pairs ...string) {
	t.over = true
	f := fieldsOf(append([]string{":status", status}, pairs...))
	head := frame.AppendHeaders(nil, t.id, f, true, uint64(len(body)))
	if body == "" {
		t.w.send(head)
		return
	}
	t.w.send(head, []byte(body))
}

func (t *task) rst(code frame.Code) {
	t.over = true
	t.w.send(frame.AppendRSTStream(nil, t.id, code, ""))
}
