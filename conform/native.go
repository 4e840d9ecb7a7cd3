package conform

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// nativeCases are in the order of SPEC.md.
var nativeCases = []workerCase{
	{name: "join", checks: "The worker answers JOIN", run: caseJoin},
	{name: "start/worker-first", checks: "a WELCOME whose `connection` is not the last one on this link **voids all", run: caseWorkerFirst},
	{name: "welcome/same-connection", checks: "A WELCOME with the same `connection` only updates.", run: caseWelcomeSame},
	{name: "welcome/other-connection", checks: "stop their work, send nothing more for them", run: caseWelcomeOther},
	{name: "router-vanishes", checks: "The router drops all that comes before that", run: caseRouterVanishes},
	{name: "unknown/types-and-keys", checks: "**Ignore** types", run: caseUnknown},
	{name: "body/0", checks: "*total* is the length in bytes of the sender's whole", run: caseBody(0)},
	{name: "body/1", checks: "*total* is the length in bytes of the sender's whole", run: caseBody(1)},
	{name: "body/65536", checks: "*total* is the length in bytes of the sender's whole", run: caseBody(65536)},
	{name: "body/5000000", checks: "WINDOW_UPDATE gives cost back for one stream", run: caseBody(5_000_000)},
	{name: "body/wrong-total", checks: "one that does not match is answered by RST_STREAM PROTOCOL_ERROR (1)", run: caseWrongTotal},
	{name: "fields/duplicates", checks: "duplicates kept", run: caseDuplicates},
	{name: "fields/not-utf8", checks: "what is not UTF-8 travels as bin, and bin is accepted for any text", run: caseNotUTF8},
	{name: "status", checks: "one HEADERS with a final status", run: caseStatus},
	{name: "head", checks: "An answer to HEAD, and one of status 204 or 304, has no body", run: caseHead},
	{name: "informational", checks: "A status of 1xx is informational, has no payload, and more HEADERS follow", may: true, run: caseInformational},
	{name: "trailers/answer", checks: "HEADERS without any `:` field are trailers and carry END_STREAM", may: true, run: caseTrailers},
	{name: "trailers/request", checks: "HEADERS without any `:` field are trailers and carry END_STREAM", run: caseRequestTrailers},
	{name: "interleaving", checks: "`concurrency` is how many", run: caseInterleaving},
	{name: "refused", checks: "Answer so when a stream comes over your", run: caseRefused},
	{name: "early-answer", checks: "**The worker's END_STREAM ends the stream both ways**", run: caseEarly},
	{name: "reset", checks: "owes exactly one", may: true, run: caseReset},
	{name: "cancel/before", checks: "END_STREAM or RST_STREAM**, after the router's RST_STREAM too", run: caseCancelBefore},
	{name: "cancel/during", checks: "When the router sends it, stop the work", run: caseCancelDuring},
	{name: "cancel/after", checks: "A frame for a stream that is not open is dropped", run: caseCancelAfter},
	{name: "dead-streams", checks: "A frame for a stream that is not open is dropped", run: caseDeadStreams},
	{name: "window/request-cost", checks: "a payload of n bytes costs max(1024, n), an empty one nothing", run: caseRequestCost},
	{name: "window/request-exceeded", checks: "RST_STREAM FLOW_CONTROL_ERROR (3)", may: true, run: caseRequestExceeded},
	{name: "window/response", checks: "Never send a payload", run: caseResponseWindow},
	{name: "window/response-cost", checks: "Never send a payload", run: caseResponseCost},
	{name: "expect/continue", checks: "With `expect: 100-continue` the request's first window is 0", run: caseExpect},
	{name: "expect/refused", checks: "or a final status to do without", run: caseExpectRefused},
	{name: "upgrade", checks: "An upgrade is `:method` GET with `:protocol`", run: caseUpgrade},
	{name: "upgrade/unasked", checks: "101 where no `:protocol` was", run: caseUpgradeUnasked},
	{name: "upgrade/refused", checks: "Any other final status refuses it", run: caseUpgradeRefused},
	{name: "upgrade/windows", checks: "Each stream has two windows, one a direction, counted in cost", run: caseUpgradeWindows},
	{name: "upgrade/half-close", checks: "END_STREAM ends the sender's direction", run: caseUpgradeHalfClose},
	{name: "upgrade/worker-ends", checks: "flows both ways until the worker sends END_STREAM", run: caseUpgradeWorkerEnds},
	{name: "upgrade/wrong-total", checks: "one that does not match is answered by RST_STREAM PROTOCOL_ERROR (1)", run: caseUpgradeWrongTotal},
	{name: "upgrade/reset", checks: "END_STREAM or RST_STREAM**, after the router's RST_STREAM too", run: caseUpgradeReset},
	{name: "ping", checks: "The router sends ZMTP PING every 2 s without input", run: casePing},
	{name: "drain", checks: "**GOAWAY** from a worker: no new streams", run: caseDrain},
	{name: "drain/upgrade", checks: "those up to *last stream taken* finish", run: caseDrainUpgrade},
	{name: "drain/new-welcome", checks: "new WELCOME comes meanwhile, answer JOIN and at once GOAWAY", run: caseDrainWelcome},
}

func caseJoin(k *WorkerKit) {
	j := k.link().join
	switch {
	case j.Protocol != frame.Protocol:
		failf("expected protocol %d in JOIN; it is %d", frame.Protocol, j.Protocol)
	case j.Instance == "":
		failf("expected an instance in JOIN; there is none")
	case j.Name != "" && !validName(j.Name):
		failf("the name %q: 1 to 128 of A-Z a-z 0-9 . _ - make one", j.Name)
	}
	if shown := cmp.Or(j.Token, k.current.conn.Peer().Password); k.Token != "" && shown != k.Token {
		failf("expected the token in JOIN or as PLAIN password; it is not there, or another is")
	}
	if c := k.current.get("/echo"); c.awaitHead().status != "200" {
		failf("expected :status 200 of GET /echo; %s came", c.answer.status)
	}
}

func validName(s string) bool {
	return len(s) <= 128 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

func caseWorkerFirst(k *WorkerKit) {
	k.link()
	k.vanish() // the worker runs, and there is no router
	time.Sleep(300 * time.Millisecond)
	k.link().echo([]byte("after the router came"))
}

func caseWelcomeSame(k *WorkerKit) {
	l := k.link()
	c := l.open("POST", "/echo", true)
	c.write([]byte("first "), false)
	c.awaitBody(len("first "))
	l.welcome(l.connection)
	c.write([]byte("second"), true)
	c.awaitAnswer("200")
	if string(c.body) != "first second" {
		failf("expected the stream to go on; its body was %q", c.body)
	}
}

func caseWelcomeOther(k *WorkerKit) {
	l := k.link()
	l.get("/stream?n=1000&ms=5").awaitHead() // goes on for five seconds if nobody stops it
	if l.concurrency() > 1 {
		l.get("/slow").awaitHead()
	}
	l.renew()
	l.echo([]byte("on the new connection"))
	l.settle(500 * time.Millisecond) // a frame of the old streams would fail the case
}

// renew sends a WELCOME of another connection and waits for its JOIN.
func (l *link) renew() {
	l.calls = map[uint64]*call{}
	l.joins = nil
	l.welcome(newConnection())
	l.awaitJoin()
}

func caseRouterVanishes(k *WorkerKit) {
	l := k.link()
	for range min(8, l.concurrency()) {
		l.get("/slow").awaitHead()
	}
	k.vanish()
	l = k.link() // what comes after its JOIN must be of this connection
	l.echo([]byte("with the router back"))
	l.settle(500 * time.Millisecond)
}

func caseUnknown(k *WorkerKit) {
	l := k.link()
	l.send([]byte{0x95, 0xcc, 0xc8, 0x07, 0x02, 0xa1, 'x', 0x81, 0xa1, 'k', 0xc0}, nil) // type 200, on stream 7
	// WELCOME of the same connection, with keys that nobody knows.
	w := frame.AppendWelcome(nil, frame.WelcomeInfo{Protocol: frame.Protocol, Router: "conform", Connection: l.connection})
	w[4] += 2 // the map's size
	w = append(w, 0xa6, 'f', 'u', 't', 'u', 'r', 'e', 0x92, 0x01, 0xc0, 0xa4, 'm', 'o', 'r', 'e', 0x81, 0xa1, 'a', 0xcb, 0, 0, 0, 0, 0, 0, 0, 0)
	l.send(w, nil)
	l.echo([]byte("all the same"))
}

// echo posts a body and compares what comes back.
func (l *link) echo(body []byte) *call {
	c := l.post("/echo", body)
	c.awaitEcho(body)
	return c
}

func (c *call) awaitEcho(body []byte) {
	c.awaitAnswer("200")
	if sha256.Sum256(c.body) != sha256.Sum256(body) {
		failf("expected the %d bytes posted to /echo on stream %d back; %d others came", len(body), c.id, len(c.body))
	}
}

// pattern is n bytes that no other seed makes.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i+8 <= n; i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	for i := n &^ 7; i < n; i++ {
		b[i] = byte(r.Uint64())
	}
	return b
}

func caseBody(n int) func(k *WorkerKit) {
	return func(k *WorkerKit) { k.link().echo(pattern(n, uint64(n))) }
}

func caseWrongTotal(k *WorkerKit) {
	l := k.link()
	c := l.open("POST", "/echo", true)
	l.send(frame.AppendData(nil, c.id, true, 6), []byte("12345"))
	c.awaitEnd()
	if c.reset == nil || c.reset.Code != http2.ErrCodeProtocol {
		failf("expected RST_STREAM PROTOCOL_ERROR for five bytes with a total of 6; %s", c.ending())
	}
}

// ending says how the worker ended the stream.
func (c *call) ending() string {
	switch {
	case c.reset != nil:
		return fmt.Sprintf("RST_STREAM %v %q came", c.reset.Code, c.reset.Reason)
	case c.ended:
		return fmt.Sprintf(":status %s and END_STREAM came", c.answer.status)
	}
	return "nothing ended it"
}

func caseDuplicates(k *WorkerKit) {
	c := k.link().get("/fields", "x-a", "1", "x-b", "2", "x-a", "3")
	c.awaitAnswer("200")
	if got := c.answer.get("x-a"); len(got) != 2 || got[0] != "1" || got[1] != "3" {
		failf("expected x-a: 1 and x-a: 3, in this order, from /fields; %q came", got)
	}
}

func caseNotUTF8(k *WorkerKit) {
	c := k.link().get("/fields", "x-latin", "caf\xe9", "x-utf8", "caf\u00e9")
	c.awaitAnswer("200")
	for name, want := range map[string]string{"x-latin": "caf\xe9", "x-utf8": "caf\u00e9"} {
		if got := c.answer.get(name); len(got) != 1 || got[0] != want {
			failf("expected %s: %q from /fields; %q came", name, want, got)
		}
	}
}

func caseStatus(k *WorkerKit) {
	for _, status := range []string{"200", "204", "404", "503"} {
		k.link().get("/status/" + status).awaitAnswer(status)
	}
}

func caseHead(k *WorkerKit) {
	for _, r := range [][2]string{{"HEAD", "/bytes?n=1000"}, {"GET", "/status/204"}, {"GET", "/status/304"}} {
		c := k.link().open(r[0], r[1], false)
		c.awaitEnd()
		if c.reset != nil || len(c.body) > 0 {
			failf("expected an answer without a body to %s; %s with %d bytes", c.path, c.ending(), len(c.body))
		}
	}
}

func caseInformational(k *WorkerKit) {
	c := k.link().get("/hints")
	c.awaitEnd()
	if c.answer != nil && c.answer.status == "404" {
		skipf("the worker has no /hints")
	}
	c.awaitAnswer("200")
	if len(c.infos) != 1 || c.infos[0].status != "103" {
		failf("expected one head of :status 103 before the answer; %d informational ones came", len(c.infos))
	}
}

func caseTrailers(k *WorkerKit) {
	c := k.link().get("/trailers")
	c.awaitEnd()
	if c.answer != nil && c.answer.status == "404" {
		skipf("the worker has no /trailers")
	}
	c.awaitAnswer("200")
	if len(c.trailers) != 2 || c.trailers[0] != "x-trailer" || c.trailers[1] != "yes" {
		failf("expected the trailer x-trailer: yes; %q came", c.trailers)
	}
}

func caseRequestTrailers(k *WorkerKit) {
	l := k.link()
	c := l.open("POST", "/echo", true, "trailer", "x-sum")
	c.write([]byte("with trailers"), false)
	var f frame.Fields
	f.Add("x-sum", "1")
	l.send(frame.AppendHeaders(nil, c.id, f, true, c.sent), nil)
	c.awaitEcho([]byte("with trailers"))
}

func caseInterleaving(k *WorkerKit) {
	l := k.link()
	n := min(100, l.concurrency())
	calls, bodies := make([]*call, n), make([][]byte, n)
	for i := range n {
		calls[i], bodies[i] = l.open("POST", "/echo", true), pattern(3000+i, uint64(i))
	}
	for at := 0; at < 3000; at += 1000 {
		for i, c := range calls {
			c.write(bodies[i][at:at+1000], false)
		}
	}
	for i, c := range calls {
		c.write(bodies[i][3000:], true)
	}
	for i, c := range calls {
		c.awaitEcho(bodies[i])
	}
}

func caseRefused(k *WorkerKit) {
	l := k.link()
	n := l.concurrency()
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = l.get("/slow")
	}
	for _, c := range calls {
		c.awaitHead()
	}
	over := l.get("/slow")
	over.awaitEnd()
	if over.reset == nil || over.reset.Code != http2.ErrCodeRefusedStream {
		failf("expected RST_STREAM REFUSED_STREAM for stream %d of %d at once; %s", n+1, n, over.ending())
	}
	for _, c := range calls {
		c.cancel()
	}
	for _, c := range calls {
		c.awaitEnd()
	}
	l.echo([]byte("the slots are free again"))
}

func caseEarly(k *WorkerKit) {
	l := k.link()
	c := l.open("POST", "/early", true)
	c.write([]byte("the beginning"), false)
	c.awaitAnswer("200")
	c.data([]byte("that nobody wants"), true)
	l.echo([]byte("the next request"))
}

func caseReset(k *WorkerKit) {
	l := k.link()
	c := l.get("/reset")
	c.awaitEnd()
	if c.answer != nil && c.answer.status == "404" {
		skipf("the worker has no /reset")
	}
	if c.reset == nil {
		failf("expected RST_STREAM from /reset; %s", c.ending())
	}
	l.echo([]byte("after the reset"))
}

func caseCancelBefore(k *WorkerKit) {
	l := k.link()
	for range 20 {
		c := l.get("/slow")
		c.cancel()
		c.awaitEnd()
	}
	l.echo([]byte("afterwards"))
}

func caseCancelDuring(k *WorkerKit) {
	l := k.link()
	c := l.get("/slow")
	c.awaitHead()
	c.awaitBody(1)
	c.cancel()
	c.awaitEnd()
	up := l.open("POST", "/echo", true)
	up.write([]byte("a part"), false)
	up.awaitBody(len("a part"))
	up.cancel()
	up.awaitEnd()
	l.echo([]byte("afterwards"))
}

func caseCancelAfter(k *WorkerKit) {
	l := k.link()
	for range 20 {
		l.echo([]byte("whole")).cancel()
	}
	l.echo([]byte("afterwards"))
	l.settle(200 * time.Millisecond)
}

func caseDeadStreams(k *WorkerKit) {
	l := k.link()
	old := l.echo([]byte("whole"))
	for _, id := range []uint64{old.id, 3} {
		l.send(frame.AppendWindowUpdate(nil, id, 4096), nil)
		l.send(frame.AppendData(nil, id, false, 0), []byte("late"))
		l.send(frame.AppendData(nil, id, true, 4), nil)
		l.send(frame.AppendRSTStream(nil, id, cancelCode, ""), nil)
	}
	l.echo([]byte("afterwards"))
	l.settle(200 * time.Millisecond)
}

func caseRequestCost(k *WorkerKit) {
	l := k.link()
	c := l.open("POST", "/echo", true)
	body := pattern(300, 9)
	for i := range body {
		c.write(body[i:i+1], i == len(body)-1) // one byte a frame; 64 use the first window up
	}
	c.awaitEcho(body)
}

func caseRequestExceeded(k *WorkerKit) {
	l := k.link()
	c := l.open("POST", "/slow", true) // which does not read a body
	for range 64 {
		c.data(make([]byte, frame.MaxPayload), false)
	}
	c.awaitEnd()
	if c.reset == nil || c.reset.Code != http2.ErrCodeFlowControl {
		failf("expected RST_STREAM FLOW_CONTROL_ERROR for 4 MiB into a window of 64 KiB that nobody reads; %s", c.ending())
	}
	l.settle(200 * time.Millisecond) // what came after the reset is for a dead stream
}

func caseResponseWindow(k *WorkerKit) {
	const n = 1_000_000
	l := k.link()
	c := l.open("GET", "/bytes?n=1000000", false)
	c.frozen = true
	c.stalls(n, "a body of 1,000,000 bytes")
	if l.concurrency() > 1 {
		l.echo([]byte("meanwhile")) // one stream that waits holds up no other
	}
	c.thaw()
	c.awaitAnswer("200")
	if len(c.body) != n {
		failf("expected 1,000,000 bytes of /bytes; %d came", len(c.body))
	}
}

// stalls waits until the worker has used the window up. One that sends past it
// fails in takePayload.
func (c *call) stalls(n int, what string) {
	c.awaitHead()
	for c.room >= frame.MinCost {
		if c.done() {
			failf("%s fits no window, and yet the stream ended without credit after %d bytes", what, len(c.body))
		}
		before := len(c.body)
		c.l.settle(300 * time.Millisecond)
		if len(c.body) == before {
			break // what is left is too small for the worker's chunks
		}
	}
	if len(c.body) >= n {
		failf("%s came without credit", what)
	}
}

// thaw gives all credit back, and goes on giving it.
func (c *call) thaw() {
	c.frozen = false
	credit := frame.ResponseWindow - c.room
	c.room += credit
	c.l.send(frame.AppendWindowUpdate(nil, c.id, uint64(credit)), nil)
}

func caseResponseCost(k *WorkerKit) {
	l := k.link()
	c := l.get("/stream?n=400") // small chunks: each costs 1,024, and 256 of them the window
	c.frozen = true
	var whole bytes.Buffer
	for i := range 400 {
		fmt.Fprintf(&whole, "chunk %d\n", i)
	}
	c.stalls(whole.Len()+1, "a stream of 400 chunks")
	if !c.done() {
		c.thaw()
	}
	c.awaitAnswer("200")
	if !bytes.Equal(c.body, whole.Bytes()) {
		failf("expected the lines chunk 0 to chunk 399 of /stream; %d bytes came", len(c.body))
	}
}

func caseExpect(k *WorkerKit) {
	l := k.link()
	body := pattern(200_000, 3)
	c := l.open("POST", "/echo", true, "expect", "100-continue", "content-length", fmt.Sprint(len(body)))
	for c.window <= 0 && !c.done() {
		l.step("a WINDOW_UPDATE or :status 100 for a request with expect: 100-continue")
	}
	c.write(body, true)
	c.awaitEcho(body)
}

func caseExpectRefused(k *WorkerKit) {
	l := k.link()
	c := l.open("POST", "/early", true, "expect", "100-continue", "content-length", "10")
	c.awaitAnswer("200")
	l.echo([]byte("the next request"))
}

func casePing(k *WorkerKit) {
	k.leave()
	k.current = k.joined(k.dial(zmtp.Options{Heartbeat: time.Second}))
	k.staysAlive()
	k.current.echo([]byte("alive"))
}

// staysAlive has the connection ping after every second without input, for ten
// seconds. Three without an answer end it.
func (k *WorkerKit) staysAlive() {
	l := k.current
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		l.settle(time.Second)
		select {
		case <-l.ended:
			failf("expected a PONG to each PING; %v", l.why)
		default:
		}
	}
}

// drains sends SIGTERM amid an answer, and waits for GOAWAY. The worker is
// to be retired then, whatever follows.
func (k *WorkerKit) drains(l *link) *call {
	c := l.get("/stream?n=20&ms=100")
	c.awaitBody(1)
	k.process.signal(syscall.SIGTERM)
	for l.away == nil {
		l.step("GOAWAY after SIGTERM")
	}
	return c
}

func caseDrain(k *WorkerKit) {
	l := k.link()
	if k.process == nil {
		skipf("there is no COMMAND to send SIGTERM")
	}
	defer k.retire()
	c := k.drains(l)
	late := l.get("/echo")
	late.awaitEnd()
	if late.reset == nil || late.reset.Code != http2.ErrCodeRefusedStream {
		failf("expected RST_STREAM REFUSED_STREAM for a stream after GOAWAY; %s", late.ending())
	}
	if l.away.Last < c.id || l.away.Last >= late.id {
		failf("expected GOAWAY with the last stream taken, %d; it says %d", c.id, l.away.Last)
	}
	c.awaitAnswer("200")
	k.awaitExit()
}

func (k *WorkerKit) awaitExit() {
	if err := k.process.awaitExit(2 * k.patience); err != nil {
		failf("expected the worker to finish and exit with status 0 after SIGTERM; %v", err)
	}
}

func caseDrainWelcome(k *WorkerKit) {
	l := k.link()
	if k.process == nil {
		skipf("there is no COMMAND to send SIGTERM")
	}
	defer k.retire()
	k.drains(l)
	l.away = nil
	l.renew()
	for l.away == nil {
		l.step("GOAWAY at once after the JOIN of a worker that drains")
	}
	k.awaitExit()
}
