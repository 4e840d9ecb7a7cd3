package conform

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// repCases are those of SPEC.md's section on REP.
var repCases = []workerCase{
	{name: "rep/hello", checks: "A `REP` socket gets one request at a time, whole, and is ready as soon as it is connected", run: caseREPHello},
	{name: "rep/token", checks: "By PLAIN it gets a name and shows a token", run: caseREPToken},
	{name: "rep/envelope", checks: "its envelope is the socket's own business", run: caseREPEnvelope},
	{name: "rep/order", checks: "gets one request at a time, whole", run: caseREPOrder},
	{name: "rep/body/0", checks: "(path with the query) and the body", run: caseREPBody(0)},
	{name: "rep/body/1", checks: "(path with the query) and the body", run: caseREPBody(1)},
	{name: "rep/body/65536", checks: "(path with the query) and the body", run: caseREPBody(65536)},
	{name: "rep/body/5000000", checks: "(path with the query) and the body", run: caseREPBody(5_000_000)},
	{name: "rep/reply/5000000", checks: "and the body (at most 8 MiB). Another", run: caseREPBigReply},
	{name: "rep/status", checks: "(200 if left out;", run: caseREPStatus},
	{name: "rep/fields", checks: "headers as a map of name to value or list of values, or as pairs", run: caseREPFields},
	{name: "rep/not-utf8", checks: "what is not UTF-8 travels as bin, and bin is accepted for any text", run: caseREPNotUTF8},
	{name: "rep/router-vanishes", checks: "libzmq hides reconnects and delivers what was queued before", run: caseREPVanishes},
	{name: "rep/ping", checks: "The router sends ZMTP PING every 2 s without input", run: caseREPPing},
}

// reply is a REP worker's answer.
type reply struct {
	status uint64
	fields frame.Fields
	body   []byte
}

func (r reply) get(name string) (values []string) {
	for n, v := range r.fields.All() {
		if string(n) == name {
			values = append(values, string(v))
		}
	}
	return values
}

// tag marks a request of this connection.
func (l *link) tag(n uint64) []byte {
	return fmt.Appendf(nil, "%08x%08x", uint32(l.connection), uint32(n))
}

// ask sends a request and returns its tag.
func (l *link) ask(method, path string, body []byte, fields ...string) []byte {
	if l.connection == 0 {
		l.connection = newConnection()
	}
	l.kit.stream++
	tag := l.tag(l.kit.stream)
	var f frame.Fields
	f.Add(":method", method)
	f.Add(":scheme", "http")
	f.Add(":authority", "conform.test")
	f.Add(":path", path)
	for kv := range slices.Chunk(fields, 2) {
		f.Add(kv[0], kv[1])
	}
	m := received{tag, {}, frame.AppendRepRequest(nil, f), body}
	l.kit.transcript.note("<-", m)
	_, _ = l.conn.Send(0, zmtp.Ordinary, m...) // a connection that has ended shows when the case waits
	return tag
}

// hear waits for the reply with this tag; one with another tag is an old one's
// and dropped if stale is allowed.
func (l *link) hear(tag []byte, path string, stale bool) reply {
	for {
		m := l.receive("a reply to " + path)
		if len(m) < 2 || len(m[1]) != 0 {
			failf("a message of %d parts without a REP socket's envelope", len(m))
		}
		if !bytes.Equal(m[0], tag) {
			if !stale {
				failf("expected a reply with the tag %q; it has %q", tag, m[0])
			}
			continue
		}
		if len(m) != 4 {
			failf("expected a reply of two parts, head and body, to %s; it has %d", path, len(m)-2)
		}
		r := reply{body: m[3]}
		var err error
		if r.status, err = frame.ParseRepReply(m[2], &r.fields); err != nil {
			failf("the head of the reply to %s: %v", path, err)
		}
		return r
	}
}

func (k *WorkerKit) request(method, path string, body []byte, fields ...string) reply {
	l := k.link()
	return l.hear(l.ask(method, path, body, fields...), path, false)
}

func (k *WorkerKit) repEcho(body []byte) {
	r := k.request("POST", "/echo", body)
	if r.status != 200 || sha256.Sum256(r.body) != sha256.Sum256(body) {
		failf("expected status 200 and the %d bytes posted to /echo back; %d with %d bytes came", len(body), r.status, len(r.body))
	}
}

func caseREPHello(k *WorkerKit) {
	if r := k.request("GET", "/echo", nil); r.status != 200 || len(r.body) != 0 {
		failf("expected status 200 and no body from GET /echo; %d with %d bytes came", r.status, len(r.body))
	}
}

func caseREPToken(k *WorkerKit) {
	if k.Token == "" {
		skipf("no --token was given")
	}
	if peer := k.link().conn.Peer(); peer.Password != k.Token {
		failf("expected the token as PLAIN password; the mechanism is %s", peer.Mechanism)
	}
}

func caseREPEnvelope(k *WorkerKit) {
	l := k.link()
	tag := l.ask("GET", "/echo?a=b", nil)
	l.hear(tag, "/echo", false)
}

func caseREPOrder(k *WorkerKit) {
	for i := range 100 {
		k.repEcho(fmt.Appendf(nil, "request %d", i))
	}
}

func caseREPBody(n int) func(k *WorkerKit) {
	return func(k *WorkerKit) { k.repEcho(pattern(n, uint64(n))) }
}

func caseREPBigReply(k *WorkerKit) {
	if r := k.request("GET", "/bytes?n=5000000", nil); len(r.body) != 5_000_000 {
		failf("expected 5,000,000 bytes from /bytes; %d came", len(r.body))
	}
}

func caseREPStatus(k *WorkerKit) {
	for _, status := range []uint64{200, 204, 404, 503} {
		if r := k.request("GET", fmt.Sprintf("/status/%d", status), nil); r.status != status {
			failf("expected status %d; %d came", status, r.status)
		}
	}
}

func caseREPFields(k *WorkerKit) {
	r := k.request("GET", "/fields", nil, "x-a", "1", "x-b", "2", "x-a", "3")
	if got := r.get("x-a"); len(got) != 2 || got[0] != "1" || got[1] != "3" {
		failf("expected x-a: 1 and x-a: 3, in this order, from /fields; %q came", got)
	}
}

func caseREPNotUTF8(k *WorkerKit) {
	r := k.request("GET", "/fields", nil, "x-latin", "caf\xe9")
	if got := r.get("x-latin"); len(got) != 1 || got[0] != "caf\xe9" {
		failf("expected x-latin: %q from /fields; %q came", "caf\xe9", got)
	}
}

func caseREPVanishes(k *WorkerKit) {
	l := k.link()
	l.ask("GET", "/slow?ms=1000", nil)
	k.vanish()
	l = k.link()
	for i := range 5 {
		body := fmt.Appendf(nil, "after %d", i)
		if r := l.hear(l.ask("POST", "/echo", body), "/echo", true); !bytes.Equal(r.body, body) {
			failf("expected %q back; %q came under the same tag", body, r.body)
		}
	}
}

func caseREPPing(k *WorkerKit) {
	k.leave()
	k.current = k.joined(k.dial(zmtp.Options{Heartbeat: time.Second}))
	k.staysAlive()
	k.repEcho([]byte("alive"))
}
