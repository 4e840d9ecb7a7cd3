package conform

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// mirrorCases have workers that do as they should. They are in the order of
// SPEC.md.
var mirrorCases = []routerCase{
	{name: "welcome", checks: "The router speaks first", run: mirrorWelcome},
	{name: "join", checks: "The worker answers JOIN", run: mirrorJoin},
	{name: "join/minimal", checks: "Only `protocol`, `connection` and `instance` are needed", run: mirrorJoinMinimal},
	{name: "join/again", checks: "its whole state, each time", run: mirrorJoinAgain},
	{name: "join/nothing-before", checks: "The router drops all that comes before that", run: mirrorNothingBefore},
	{name: "join/other-connection", checks: "wants a JOIN that echoes it", run: mirrorOtherConnection},
	{name: "join/bad-name", checks: "A worker that is refused (wrong token, bad name) gets GOAWAY with the reason and no requests", run: mirrorBadName},
	{name: "join/wrong-token", checks: "A worker that is refused (wrong token, bad name) gets GOAWAY with the reason and no requests", run: mirrorWrongToken},
	{name: "join/plain", checks: "Names and tokens may come by PLAIN instead of JOIN", run: mirrorPlain},
	{name: "unknown/types-and-keys", checks: "**Ignore** types", run: mirrorUnknown},
	{name: "request/fields", checks: "then fields, names in lower case", run: mirrorFields},
	{name: "request/hop-by-hop", checks: "Fields that concern one hop", run: mirrorHops},
	{name: "request/not-utf8", checks: "what is not UTF-8 travels as bin, and bin is accepted for any text", run: mirrorNotUTF8},
	{name: "request/numbers", checks: "Stream numbers ascend on a connection and are never used twice", run: mirrorNumbers},
	{name: "request/trailers", checks: "HEADERS without any `:` field are trailers and carry END_STREAM", run: mirrorRequestTrailers},
	{name: "body/0", checks: "*total* is the length in bytes of the sender's whole", run: mirrorBody(0)},
	{name: "body/1", checks: "*total* is the length in bytes of the sender's whole", run: mirrorBody(1)},
	{name: "body/65536", checks: "*total* is the length in bytes of the sender's whole", run: mirrorBody(65536)},
	{name: "body/5000000", checks: "*total* is the length in bytes of the sender's whole", run: mirrorBody(5_000_000)},
	{name: "body/chunked", checks: "*total* is the length in bytes of the sender's whole", run: mirrorChunked},
	{name: "answer/fields", checks: "duplicates kept", run: mirrorAnswerFields},
	{name: "answer/first-bytes", checks: "may hold bytes of the body", run: mirrorFirstBytes},
	{name: "answer/status", checks: "one HEADERS with a final status", run: mirrorStatus},
	{name: "answer/no-body", checks: "An answer to HEAD, and one of status 204 or 304, has no body", run: mirrorNoBody},
	{name: "answer/informational", checks: "A status of 1xx is informational, has no payload, and more HEADERS follow", run: mirrorInformational},
	{name: "answer/trailers", checks: "HEADERS without any `:` field are trailers and carry END_STREAM", run: mirrorTrailers},
	{name: "answer/early", checks: "**The worker's END_STREAM ends the stream both ways**", run: mirrorEarly},
	{name: "answer/reset", checks: "RST_STREAM ends a stream at once", run: mirrorReset},
	{name: "concurrency", checks: "`concurrency` is how many", run: mirrorConcurrency},
	{name: "cancel/before", checks: "When the router sends it, stop the work", run: mirrorCancelBefore},
	{name: "cancel/during", checks: "When the router sends it, stop the work", run: mirrorCancelDuring},
	{name: "cancel/slot", checks: "until then the stream counts against its concurrency", run: mirrorCancelSlot},
	{name: "refused", checks: "the router sends the request to another worker", run: mirrorRefused},
	{name: "dead-streams", checks: "A frame for a stream that is not open is dropped", run: mirrorDeadStreams},
	{name: "window/request", checks: "Never send a payload", run: mirrorRequestWindow},
	{name: "window/request-cost", checks: "a payload of n bytes costs max(1024, n), an empty one nothing", run: mirrorRequestCost},
	{name: "window/response-cost", checks: "WINDOW_UPDATE gives cost back for one stream", run: mirrorResponseCost},
	{name: "window/slow-client", checks: "as the receiver consumes", run: mirrorSlowClient},
	{name: "expect/100", checks: "(100 opens it to 65,536, credit counts from 0)", run: mirrorExpect(func(t *task) { t.head("100") })},
	{name: "expect/window-update", checks: "With `expect: 100-continue` the request's first window is 0", run: mirrorExpect(func(t *task) { t.credit(4096) })},
	{name: "expect/refused", checks: "or a final status to do without", run: mirrorExpectRefused},
	{name: "goaway", checks: "those up to *last stream taken* finish, later ones move to other workers", run: mirrorGoAway},
	{name: "vanish/get", checks: "A request that is safe to repeat", run: mirrorVanishGet},
	{name: "vanish/post", checks: "Another one gets 502", run: mirrorVanishPost},
	{name: "vanish/amid-the-answer", checks: "an end that shows", run: mirrorVanishAmid},
	{name: "upgrade", checks: "(and `:protocol` for an upgrade)", run: mirrorUpgrade},
	{name: "upgrade/early-bytes", checks: "From then on, and not before, DATA", run: mirrorUpgradeEarly},
	{name: "upgrade/windows", checks: "Each stream has two windows, one a direction, counted in cost", run: mirrorUpgradeWindows},
	{name: "upgrade/half-close", checks: "END_STREAM ends the sender's direction", run: mirrorUpgradeHalfClose},
	{name: "upgrade/worker-ends", checks: "flows both ways until the worker sends END_STREAM", run: mirrorUpgradeEnds},
	{name: "upgrade/refused", checks: "Any other final status refuses it", run: mirrorUpgradeRefused},
	{name: "upgrade/reset", checks: "RST_STREAM ends a stream at once", run: mirrorUpgradeReset},
	{name: "upgrade/client-leaves", checks: "When the router sends it, stop the work", run: mirrorUpgradeLeave},
	{name: "upgrade/worker-vanishes", checks: "A request that is safe to repeat", run: mirrorUpgradeVanish},
	{name: "ping/answered", checks: "ZMTP PING", run: mirrorPing},
	{name: "ping/silent-worker", checks: "gives up after three without an answer", run: mirrorSilentWorker},
}

func mirrorWelcome(s *scene) {
	w := s.dial()
	w.awaitWelcome()
	switch i := w.welcome; {
	case i.Protocol != frame.Protocol:
		failf("expected protocol %d in WELCOME; it is %d", frame.Protocol, i.Protocol)
	case i.Router == "":
		failf("expected the router's id in WELCOME; there is none")
	case i.Connection == 0:
		failf("expected a connection in WELCOME; it is 0 or left out")
	case i.Limits.Head != frame.MaxHead || i.Limits.Payload != frame.MaxPayload || i.Limits.Concurrency == 0:
		failf("expected limits of %d, %d and some concurrency in WELCOME; they are %+v", frame.MaxHead, frame.MaxPayload, i.Limits)
	case i.Windows.Request != frame.RequestWindow || i.Windows.Response != frame.ResponseWindow:
		failf("expected windows of %d and %d in WELCOME; they are %+v", frame.RequestWindow, frame.ResponseWindow, i.Windows)
	}
	other := s.dial()
	other.awaitWelcome()
	if w.welcome.Connection == other.welcome.Connection {
		failf("expected another connection in each WELCOME; two have %d", w.welcome.Connection)
	}
}

func mirrorJoin(s *scene) {
	s.worker(4)
	c := s.get("hello")
	t := s.arrives(c)
	if t.get(":method") != "GET" || t.get(":scheme") != "http" || t.get(":authority") != "conform.test" {
		failf("expected GET, http and conform.test; the request is %s", describeFields(t.fields))
	}
	if !t.ended || len(t.body) > 0 {
		failf("expected END_STREAM with the HEADERS of a request without a body")
	}
	t.answer("200", "hello")
	if a := c.wants(200); string(a.body) != "hello" {
		failf("expected the body hello; %q came", a.body)
	}
}

// rawJoin is a JOIN with the least that it needs, and more that nobody knows.
func rawJoin(w *actor, more ...byte) []byte {
	j := frame.AppendJoin(nil, frame.JoinInfo{Protocol: frame.Protocol, Connection: w.welcome.Connection, Instance: "conform", Token: w.s.kit.Token})
	none := []byte("\xabconcurrency\x00")
	if !bytes.Contains(j, none) {
		panic("conform: JOIN is not written as it was")
	}
	j = bytes.Replace(j, none, more, 1)
	if len(more) == 0 {
		j[4]-- // the map's size
	} else {
		j[4] += 2
	}
	return j
}

func mirrorJoinMinimal(s *scene) {
	w := s.dial()
	w.awaitWelcome()
	w.joined, w.serving, w.concurrency = true, true, 1 // left out: 1
	w.send(rawJoin(w))
	s.ready(w)
	s.takesAtMost(1)
}

// takesAtMost checks that this many requests come at once, and no more.
func (s *scene) takesAtMost(n int) {
	clients := make([]*client, n+1)
	for i := range clients {
		clients[i] = s.get("full")
	}
	s.until(fmt.Sprintf("%d requests at once", n), func() bool { return s.busy() >= n })
	s.settle(300 * time.Millisecond) // one more would fail the case
	waits := func(c *client) bool { return !c.answered() }
	for slices.ContainsFunc(clients, waits) {
		s.until("the next request", func() bool { return s.anyFresh() != nil || !slices.ContainsFunc(clients, waits) })
		if t := s.anyFresh(); t != nil {
			t.w.forget(t)
			t.answer("200", "x")
		}
	}
	for _, c := range clients {
		if c.parse().head.status != 503 { // the one too many, of a router that lets none wait
			c.wants(200)
		}
	}
}

func (s *scene) busy() (n int) {
	for _, w := range s.actors {
		n += w.busy()
	}
	return n
}

func (s *scene) anyFresh() *task {
	for _, w := range s.actors {
		if len(w.fresh) > 0 {
			return w.fresh[0]
		}
	}
	return nil
}

func mirrorJoinAgain(s *scene) {
	w := s.worker(1)
	first, second := s.get("one"), s.get("two")
	s.until("the first request", func() bool { return w.busy() == 1 })
	w.join(2)
	s.waited(first).answer("200", "")
	s.waited(second).answer("200", "")
	first.wants(200)
	second.wants(200)
	s.takesAtMost(2)
}

func mirrorNothingBefore(s *scene) {
	w := s.dial()
	w.awaitWelcome()
	for _, id := range []uint64{1, 7, 1 << 40} {
		w.send(frame.AppendHeaders(nil, id, fieldsOf([]string{":status", "200"}), true, 0))
		w.send(frame.AppendData(nil, id, true, 99), []byte("old"))
		w.send(frame.AppendWindowUpdate(nil, id, frame.MaxNumber))
		w.send(frame.AppendRSTStream(nil, id, cancelCode, ""))
	}
	w.send(frame.AppendGoAway(nil, 0, 0, "of an earlier connection"))
	w.join(4)
	s.ready(w)
	s.takesAtMost(4)
}

func mirrorOtherConnection(s *scene) {
	w := s.dial()
	w.awaitWelcome()
	w.sendJoin(4, func(j *frame.JoinInfo) { j.Connection ^= 2 })
	s.worker(4)
	for range 6 {
		c := s.get("elsewhere") // one for w would fail the case
		s.arrives(c).answer("200", "")
		c.wants(200)
	}
	w.join(4)
	s.ready(w)
}

// parked checks that w is refused: GOAWAY, its connection stays, and it gets no
// requests.
func (s *scene) parked(w *actor) {
	w.until("GOAWAY with the reason", func() bool { return w.away != nil })
	if w.away.Code == http2.ErrCodeNo || len(w.away.Reason) == 0 {
		failf("expected GOAWAY with an error code and the reason; it has %v and %q", w.away.Code, w.away.Reason)
	}
	s.worker(4)
	for range 6 {
		c := s.get("elsewhere") // one for w would fail the case
		s.arrives(c).answer("200", "")
		c.wants(200)
	}
}

func mirrorBadName(s *scene) {
	for _, name := range []string{"two words", strings.Repeat("n", 129), "new\r\nline"} {
		w := s.dial()
		w.awaitWelcome()
		w.sendJoin(4, func(j *frame.JoinInfo) { j.Name = name })
		s.parked(w)
	}
}

func mirrorWrongToken(s *scene) {
	if s.kit.Token == "" {
		skipf("no --token was given")
	}
	for _, token := range []string{"", s.kit.Token + "x", s.kit.Token[1:]} {
		w := s.dial()
		w.awaitWelcome()
		w.sendJoin(4, func(j *frame.JoinInfo) { j.Token = token })
		s.parked(w)
		w.send(frame.AppendHeaders(nil, 7, fieldsOf([]string{":status", "200"}), true, 0)) // changes nothing
	}
}

func mirrorPlain(s *scene) {
	w := s.connect("DEALER", zmtp.Options{User: "conform-plain", Password: s.kit.Token})
	w.awaitWelcome()
	w.join(1, func(j *frame.JoinInfo) { j.Name, j.Token = "", "" })
	s.ready(w)
	s.serves(nil)
}

func mirrorUnknown(s *scene) {
	w := s.dial()
	w.awaitWelcome()
	w.joined, w.serving, w.concurrency = true, true, 1
	w.send(rawJoin(w, []byte("\xa6future\x92\x01\xc0\xa4more\x81\xa1a\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xabconcurrency\x01")...))
	s.ready(w)
	c := s.get("unknown")
	t := s.arrives(c)
	w.send([]byte{0x95, 0xcc, 0xc8, 0x07, 0x02, 0xa1, 'x', 0x81, 0xa1, 'k', 0xc0}) // type 200, on stream 7
	w.send([]byte{0x93, 0x50, 0x00, 0x00}, []byte("a payload"))                    // type 80
	t.answer("200", "all the same")
	c.wants(200)
	s.stays(w)
}
