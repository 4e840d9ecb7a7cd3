package conform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dialmux/dialmux/frame"
)

// call is one stream that the kit opened.
type call struct {
	l    *link
	id   uint64
	path string
	asks bool // for an upgrade

	// Towards the worker.
	window int64  // what may still be sent, in cost
	sent   uint64 // bytes
	credit uint64 // that has come
	frozen bool   // the kit gives no credit back

	// From the worker.
	infos    []head
	answer   *head
	body     []byte
	room     int64 // what the worker may still send
	trailers []string
	ended    bool // END_STREAM came
	reset    *frame.Frame
}

// maxBody is more than any path of CONFORM.md answers with.
const maxBody = 16 << 20

// head is HEADERS with a :status.
type head struct {
	status string
	fields []string // name, value, name, value
}

func (h head) get(name string) (values []string) {
	for i := 0; i < len(h.fields); i += 2 {
		if h.fields[i] == name {
			values = append(values, h.fields[i+1])
		}
	}
	return values
}

// open opens a stream. fields are name, value, name, value. Without a body
// END_STREAM goes with it.
func (l *link) open(method, path string, body bool, fields ...string) *call {
	l.kit.stream++
	c := &call{l: l, id: l.kit.stream, path: path, window: frame.RequestWindow, room: frame.ResponseWindow}
	l.calls[c.id] = c
	var f frame.Fields
	f.Add(":method", method)
	f.Add(":scheme", "http")
	f.Add(":authority", "conform.test")
	f.Add(":path", path)
	for kv := range slices.Chunk(fields, 2) {
		f.Add(kv[0], kv[1])
		switch kv[0] {
		case "expect":
			c.window = 0
		case ":protocol":
			c.asks = true
		}
	}
	l.send(frame.AppendHeaders(nil, c.id, f, !body, 0), nil)
	return c
}

func (l *link) get(path string, fields ...string) *call { return l.open("GET", path, false, fields...) }

// post sends a whole body, as the window allows.
func (l *link) post(path string, body []byte, fields ...string) *call {
	c := l.open("POST", path, true, append(fields, "content-length", fmt.Sprint(len(body)))...)
	c.write(body, true)
	return c
}

// write sends body bytes within the window, and waits for credit.
func (c *call) write(p []byte, end bool) {
	for {
		n := frame.Fit(c.window, len(p))
		last := end && n == len(p)
		if n > 0 || last {
			c.data(p[:n], last)
			p = p[n:]
		}
		if c.done() || len(p) == 0 {
			return // an answer may end the stream early
		}
		if n == 0 {
			c.l.step(fmt.Sprintf("WINDOW_UPDATE for stream %d (%s): %d bytes are still to be sent", c.id, c.path, len(p)))
		}
	}
}

// data sends one DATA frame, whatever the window says.
func (c *call) data(p []byte, end bool) {
	c.sent += uint64(len(p))
	c.window -= frame.Cost(len(p))
	c.l.send(frame.AppendData(nil, c.id, end, c.sent), p)
}

// cancel sends RST_STREAM CANCEL.
func (c *call) cancel() {
	c.l.send(frame.AppendRSTStream(nil, c.id, cancelCode, "the client left"), nil)
}

// take is what the worker sent on this stream.
func (c *call) take(f frame.Frame) {
	if c.done() {
		switch f.Type {
		case frame.WindowUpdate:
			return // for a stream just ended: credit is normal
		default:
			failf("a %v on stream %d (%s) after its last frame: a worker owes exactly one END_STREAM or RST_STREAM", f.Type, c.id, c.path)
		}
	}
	switch f.Type {
	case frame.WindowUpdate:
		c.credit += f.Credit
		c.window += int64(f.Credit)
	case frame.RSTStream:
		c.reset = &f
	case frame.Headers:
		c.takeHeaders(f)
		c.takePayload(f)
	case frame.Data:
		if c.answer == nil {
			failf("DATA on stream %d (%s) before HEADERS with a final :status", c.id, c.path)
		}
		c.takePayload(f)
	}
}

func (c *call) takeHeaders(f frame.Frame) {
	var h head
	pseudo := 0
	for name, value := range f.Fields.All() {
		n := string(name)
		switch {
		case n == ":status" && pseudo == 0 && len(h.fields) == 0:
			h.status = string(value)
			pseudo++
		case strings.HasPrefix(n, ":"):
			failf("HEADERS on stream %d (%s) with %q: an answer has :status first and no other field with a colon", c.id, c.path, n)
		case n != strings.ToLower(n):
			failf("the field %q on stream %d (%s): names are in lower case", n, c.id, c.path)
		default:
			h.fields = append(h.fields, n, string(value))
		}
	}
	switch {
	case pseudo == 0 && !f.End():
		failf("HEADERS without :status on stream %d (%s): trailers carry END_STREAM", c.id, c.path)
	case pseudo == 0 && c.answer == nil:
		failf("trailers on stream %d (%s) before HEADERS with a final :status", c.id, c.path)
	case pseudo == 0:
		c.trailers = h.fields
	case c.answer != nil:
		failf("a second final :status on stream %d (%s)", c.id, c.path)
	case len(h.status) != 3 || h.status < "100" || h.status > "599":
		failf(":status %q on stream %d (%s): three digits from 100 to 599 are right", h.status, c.id, c.path)
	case h.status == "101" && !c.asks:
		failf(":status 101 on stream %d (%s): no upgrade was asked for", c.id, c.path)
	case h.status < "200" && h.status != "101": // which is the final head of an upgrade
		if f.End() || len(f.Payload) > 0 {
			failf("the informational :status %s on stream %d (%s) has a payload or END_STREAM", h.status, c.id, c.path)
		}
		if h.status == "100" && c.credit == 0 && c.window == 0 {
			c.window = frame.RequestWindow
		}
		c.infos = append(c.infos, h)
	default:
		c.answer = &h
	}
}

func (c *call) takePayload(f frame.Frame) {
	cost := frame.Cost(len(f.Payload))
	if cost > c.room {
		failf("a payload of %d bytes on stream %d (%s) costs %d, and %d of the window are left", len(f.Payload), c.id, c.path, cost, c.room)
	}
	c.room -= cost
	c.body = append(c.body, f.Payload...)
	if len(c.body) > maxBody {
		failf("a body of more than %d bytes on stream %d (%s): no path has one", maxBody, c.id, c.path)
	}
	if f.End() {
		c.ended = true
		if f.Total != uint64(len(c.body)) {
			failf("END_STREAM on stream %d (%s) says that the body has %d bytes; %d came", c.id, c.path, f.Total, len(c.body))
		}
		return
	}
	if !c.frozen && cost > 0 {
		c.room += cost
		c.l.send(frame.AppendWindowUpdate(nil, c.id, uint64(cost)), nil)
	}
}

func (c *call) done() bool { return c.ended || c.reset != nil }

// awaitHead waits for the final head.
func (c *call) awaitHead() head {
	for c.answer == nil {
		if c.reset != nil {
			failf("expected an answer to %s on stream %d; RST_STREAM %v %q came", c.path, c.id, c.reset.Code, c.reset.Reason)
		}
		c.l.step(fmt.Sprintf("HEADERS with a final :status on stream %d (%s)", c.id, c.path))
	}
	return *c.answer
}

// awaitBody waits until at least n bytes of the body are there.
func (c *call) awaitBody(n int) {
	for len(c.body) < n {
		if c.done() {
			failf("expected %d bytes on stream %d (%s); it ended after %d", n, c.id, c.path, len(c.body))
		}
		c.l.step(fmt.Sprintf("%d bytes of body on stream %d (%s), of which %d have come", n, c.id, c.path, len(c.body)))
	}
}

// awaitEnd waits for the worker's last frame.
func (c *call) awaitEnd() {
	for !c.done() {
		c.l.step(fmt.Sprintf("END_STREAM or RST_STREAM on stream %d (%s)", c.id, c.path))
	}
}

// awaitAnswer waits for a whole answer with this status.
func (c *call) awaitAnswer(status string) {
	c.awaitEnd()
	if c.reset != nil {
		failf("expected an answer to %s on stream %d; RST_STREAM %v %q came", c.path, c.id, c.reset.Code, c.reset.Reason)
	}
	if c.answer.status != status {
		failf("expected :status %s on stream %d (%s); %s came", status, c.id, c.path, c.answer.status)
	}
}
