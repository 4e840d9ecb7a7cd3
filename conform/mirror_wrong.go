package conform

import (
	"bytes"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// The sentences that most wrong answers are judged by.
const (
	what502    = "gives its client 502"
	whatBreaks = "an end that shows"
	whatHead   = "a field name that is not a token"
	whatLength = "a body longer than its `content-length`"
	whatGoesOn = "other streams and workers go on"
)

// anyCode stands for RST_STREAM with whatever code.
const anyCode = frame.Code(1<<32 - 1)

// wrong makes a case of what one worker does wrong on one stream. Another
// stream of that worker goes on, and the client's connection serves the next
// request if it is still open. code is what the router resets the stream with,
// unless the worker has ended it.
func wrong(name, checks string, code frame.Code, play func(c *client, t *task), outcome func(c *client)) routerCase {
	return routerCase{name: "wrong/" + name, checks: checks, run: func(s *scene) {
		s.worker(4)
		s.goesWrong(code, play, outcome)
	}}
}

func (s *scene) goesWrong(code frame.Code, play func(c *client, t *task), outcome func(c *client)) {
	other := s.get("other")
	untouched := s.arrives(other)
	c := s.get("wrong")
	t := s.arrives(c)
	play(c, t)
	outcome(c)
	if !t.over {
		if code == anyCode {
			t.w.until("RST_STREAM", func() bool { return t.reset != nil })
		} else {
			t.awaitReset(code)
		}
		t.rst(http2.ErrCodeCancel)
	}
	untouched.answer("200", "untouched")
	if a := other.wants(200); string(a.body) != "untouched" {
		failf("expected another stream's answer untouched; %q came", a.body)
	}
	s.serves(c)
}

// The outcomes for a client.

func gets502(c *client) { c.wants(502) }

func breaksOff(c *client) { c.breaks() }

// getsNoAnswer is 502 or an end that shows, whichever of two things the router
// does first.
func getsNoAnswer(c *client) {
	if c.s.until("502 or an end that shows for "+c.target, c.answered); c.parse().whole {
		c.wants(502)
	}
}

func gets200(body string) func(c *client) {
	return func(c *client) {
		if a := c.wants(200); string(a.body) != body {
			failf("expected the body %q for %s; %q came", body, c.target, a.body)
		}
	}
}

// getsAtMost is the body, cut or whole, or no answer.
func getsAtMost(body string) func(c *client) {
	return func(c *client) {
		c.s.until("an answer for "+c.target, c.answered)
		a := c.parse()
		if a.whole && a.head.status == 200 {
			gets200(body)(c)
			return
		}
		if a.begun && a.head.status == 200 && !strings.HasPrefix(body, string(a.body)) {
			failf("expected at most the body %q for %s; %q came", body, c.target, a.body)
		}
		getsNoAnswer(c)
	}
}

// begins has the client see the head and the first byte of an answer.
func begins(c *client, t *task) {
	t.head("200")
	t.write([]byte("x"))
	c.awaitBody(1)
}

// wrongFrames are frames out of place.
func wrongFrames() []routerCase {
	const protocol = http2.ErrCodeProtocol
	return append([]routerCase{
		wrong("total/too-large", what502, protocol, func(_ *client, t *task) { t.sent = 4; t.answerWithTotal("abc") }, gets502),
		wrong("total/too-small", what502, protocol, func(_ *client, t *task) { t.sent = 2; t.answerWithTotal("abc") }, gets502),
		wrong("total/at-the-end", whatBreaks, protocol, func(c *client, t *task) { begins(c, t); t.sent += 5; t.end() }, breaksOff),
		wrong("data-first", what502, protocol, func(_ *client, t *task) { t.data([]byte("injected")) }, gets502),
		wrong("end-first", what502, protocol, func(_ *client, t *task) { t.end() }, gets502),
		wrong("trailers-first", what502, protocol, func(_ *client, t *task) { t.ends("x-sum", "1") }, gets502),
		wrong("no-fields", what502, protocol, func(_ *client, t *task) { t.headers() }, gets502),
		wrong("no-status", what502, protocol, func(_ *client, t *task) { t.headers("x-a", "1") }, gets502),
		wrong("a-request", what502, protocol, func(_ *client, t *task) { t.headers(":method", "GET", ":path", "/injected") }, gets502),
		wrong("status-twice", whatBreaks, protocol, func(c *client, t *task) { begins(c, t); t.head("404", "x", "injected") }, breaksOff),
		wrong("status-at-the-end", whatBreaks, protocol, func(c *client, t *task) { begins(c, t); t.ends(":status", "200") }, breaksOff),
		wrong("trailers-without-end", whatBreaks, protocol, func(c *client, t *task) { begins(c, t); t.headers("x-sum", "1") }, breaksOff),
		wrong("informational/after-the-head", whatBreaks, protocol, func(c *client, t *task) { begins(c, t); t.head("103", "x", "injected") }, breaksOff),
		wrong("informational/at-the-end", what502, protocol, func(_ *client, t *task) { t.ends(":status", "103") }, gets502),
		wrong("informational/payload", what502, protocol, func(_ *client, t *task) {
			t.w.send(frame.AppendHeaders(nil, t.id, fieldsOf([]string{":status", "103"}), false, 0), []byte("injected"))
		}, gets502),
		wrong("informational/flood", what502, anyCode, func(c *client, t *task) {
			for range 200 {
				t.head("103")
			}
			if t.w.s.until("an end to the informational heads", c.answered); len(c.parse().infos) > 100 {
				failf("200 informational heads of one stream came through")
			}
		}, gets502),
		wrong("payload-over-64-KiB", what502, anyCode, func(_ *client, t *task) {
			t.head("200")
			t.w.send(frame.AppendData(nil, t.id, false, 0), bytes.Repeat([]byte("injected"), frame.MaxPayload/8+1))
		}, getsNoAnswer),
		{name: "wrong/after-the-end", checks: "A frame for a stream that is not open is dropped", run: wrongAfterEnd},
		{name: "wrong/another-worker's-stream", checks: "A frame for a stream that is not open is dropped", run: wrongWorker},
		{name: "wrong/upgrade/second-head", checks: whatBreaks, run: wrongUpgrade},
		{name: "wrong/late-answers", checks: "A frame for a stream that is not open is dropped", run: wrongLate},
		{name: "wrong/response-window", checks: "FLOW_CONTROL_ERROR (3)", run: wrongResponseWindow},
		{name: "wrong/credit-overflow", checks: "FLOW_CONTROL_ERROR (3)", run: wrongCredit},
	}, wrongMessages()...)
}

// answerWithTotal is a whole answer in one message, with t.sent for a total.
func (t *task) answerWithTotal(body string) {
	t.over = true
	t.w.send(frame.AppendHeaders(nil, t.id, fieldsOf([]string{":status", "200"}), true, t.sent), []byte(body))
}

func wrongAfterEnd(s *scene) {
	s.worker(4)
	c := s.get("once")
	t := s.arrives(c)
	t.answer("200", "once")
	t.answer("200", "injected")
	t.w.send(frame.AppendData(nil, t.id, false, 0), []byte("injected"))
	t.rst(http2.ErrCodeInternal)
	t.w.send(frame.AppendWindowUpdate(nil, t.id, frame.MaxNumber))
	gets200("once")(c)
	for range 3 {
		s.serves(c)
	}
	s.stays(t.w)
}

func wrongWorker(s *scene) {
	a, b := s.worker(4), s.worker(4)
	c := s.get("mine")
	t := s.arrives(c)
	forger := a
	if t.w == a {
		forger = b
	}
	for i := range uint64(500) {
		for _, id := range []uint64{t.id - 250 + i, i + 1} {
			forger.send(frame.AppendHeaders(nil, id, fieldsOf([]string{":status", "200"}), true, 8), []byte("injected"))
			forger.send(frame.AppendRSTStream(nil, id, http2.ErrCodeInternal, ""))
		}
	}
	s.settle(200 * time.Millisecond)
	if c.answered() {
		failf("expected nothing for the client from another worker; it got %s", c.peek())
	}
	t.answer("200", "mine")
	gets200("mine")(c)
	s.serves(c)
	s.stays(forger)
}

// wrongLate has clients leave and their answers come late, while the next
// requests are there.
func wrongLate(s *scene) {
	w := s.worker(8)
	for range 50 {
		gone := s.get("late")
		late := s.arrives(gone)
		stays := s.get("stays")
		t := s.arrives(stays)
		gone.leave()
		late.awaitReset(http2.ErrCodeCancel)
		next := s.get("next")
		late.answer("200", "injected")
		late.answer("200", "injected")
		s.arrives(next).answer("200", next.target)
		t.answer("200", stays.target)
		gets200(next.target)(next)
		gets200(stays.target)(stays)
		stays.leave()
		next.leave()
	}
	s.stays(w)
}

func wrongResponseWindow(s *scene) {
	s.worker(4)
	c := s.deafClient()
	c.ask("GET", "flood", "")
	t := s.arrives(c)
	t.head("200")
	chunk := pattern(frame.MaxPayload, 8)
	for t.reset == nil && t.w.why == nil {
		if t.sent > 64<<20 {
			failf("expected RST_STREAM FLOW_CONTROL_ERROR; the router took in %d bytes for a client that reads none", t.sent)
		}
		t.data(chunk)
		s.settle(time.Millisecond)
	}
	t.awaitReset(http2.ErrCodeFlowControl)
	t.rst(http2.ErrCodeCancel)
	c.listen()
	c.breaks()
	s.serves(nil)
}

func wrongCredit(s *scene) {
	s.worker(4)
	c := s.client()
	c.ask("POST", "credit", "a part", "Content-Length: 1000")
	t := s.arrives(c)
	t.frozen = true
	t.w.send(frame.AppendWindowUpdate(nil, t.id, frame.MaxNumber))
	t.w.send(frame.AppendWindowUpdate(nil, t.id, frame.MaxNumber))
	t.awaitReset(http2.ErrCodeFlowControl)
	t.rst(http2.ErrCodeCancel)
	c.wants(502)
	s.serves(nil)
}

// wrongMessages are no frames at all, or break a limit: they cost the worker
// its stream or its connection.
func wrongMessages() (cases []routerCase) {
	for _, m := range []struct{ name, head string }{
		{"empty", ""},
		{"never-used", "\xc1"},
		{"nil", "\xc0"},
		{"http", "HTTP/1.1 200 OK\r\n\r\n"},
		{"a-map", "\x80"},
		{"nested-arrays", strings.Repeat("\x91", 60000)},
		{"huge-array", "\xdd\xff\xff\xff\xff"},
		{"huge-map", "\xdf\xff\xff\xff\xff"},
		{"huge-bin", "\xc6\xff\xff\xff\xff"},
		{"two-elements", "\x92\x00\x01"},
		{"negative-stream", "\x93\x00\xff\x00"},
		{"stream-2^53", "\x93\x00\xcf\x00\x20\x00\x00\x00\x00\x00\x00\x00"},
		{"stream-a-float", "\x93\x00\xcb\x40\x08\x00\x00\x00\x00\x00\x00\x00"},
		{"data-on-stream-0", "\x93\x00\x00\x00"},
		{"byte-too-many", "\x96\x07\x00\x00\x00\x00\xa0\x00"}, // of a GOAWAY,
	} {
		cases = append(cases, wrongMessage(m.name, func(*task) [][]byte { return [][]byte{[]byte(m.head)} }))
	}
	for _, m := range []struct{ name, rest string }{ // what follows the stream's number in HEADERS
		{"odd-fields", "\x00\x91\xa7:status"},
		{"missing-value", "\x00\x92\xa7:status"},
		{"status-a-number", "\x00\x92\xa7:status\xcc\xc8"},
		{"status-a-float", "\x00\x92\xa7:status\xcb\x40\x69\x00\x00\x00\x00\x00\x00"},
		{"status-nil", "\x00\x92\xa7:status\xc0"},
		{"fields-a-map", "\x00\x81\xa7:status\xa3200"},
		{"huge-fields", "\x00\xdd\xff\xff\xff\xff\xa7:status\xa3200"},
		{"end-without-total", "\x01\x92\xa7:status\xa3200"},
	} {
		cases = append(cases, wrongMessage(m.name, func(t *task) [][]byte {
			head := frame.AppendHeaders(nil, t.id, frame.Fields{}, false, 0)
			return [][]byte{append(head[:len(head)-2], m.rest...)} // without flags and fields
		}))
	}
	return append(cases,
		wrongMessage("head-over-64-KiB", func(t *task) [][]byte {
			f := fieldsOf([]string{":status", "200", "x-large", strings.Repeat("injected", frame.MaxHead/8)})
			return [][]byte{frame.AppendHeaders(nil, t.id, f, true, 0)}
		}),
		wrongMessage("three-parts", func(t *task) [][]byte {
			return [][]byte{frame.AppendHeaders(nil, t.id, fieldsOf([]string{":status", "200"}), true, 8), []byte("injected"), []byte("injected")}
		}),
		wrongMessage("part-over-1-MiB", func(t *task) [][]byte {
			return [][]byte{frame.AppendData(nil, t.id, false, 0), make([]byte, 2<<20)}
		}),
	)
}

// wrongMessage makes a case of a message that a worker sends while it has a
// stream. The client's request goes to the other worker, as that of a worker
// that vanishes, or gets 502; the other worker's stream goes on.
func wrongMessage(name string, message func(t *task) [][]byte) routerCase {
	return routerCase{name: "wrong/message/" + name, checks: whatGoesOn, run: func(s *scene) {
		s.worker(4)
		s.worker(4)
		c := s.get("wrong")
		t := s.arrives(c)
		other := s.get("other")
		untouched := s.arrives(other)
		for untouched.w == t.w { // a router of another policy
			other = s.get("other")
			untouched = s.arrives(other)
		}
		t.w.send(message(t)...)
		t.over = true
		s.until("the request at another worker, 502 or an end that shows for "+c.target, func() bool { return c.answered() || s.find(c.target) != nil })
		if s.find(c.target) != nil {
			s.arrives(c).answer("200", "from the other")
			gets200("from the other")(c)
		} else {
			getsNoAnswer(c)
		}
		untouched.answer("200", "untouched")
		gets200("untouched")(other)
		t.w.serving = false
		s.serves(nil)
	}}
}
