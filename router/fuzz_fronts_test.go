package router_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// Whatever a client sends, a worker gets whole requests of one meaning, or
// nothing, and the next client is served.
func FuzzRequestToFrames(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nX: y\r\n\r\nbodyGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\nTE: trailers\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: v\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET http://a.example/x HTTP/1.1\r\nHost: h\r\nConnection: x-a, close\r\nX-A: 1\r\nX_Forwarded_For: 1\r\nForwarded: for=x\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nVia: 1.0 a, 1.1 b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
		"GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Request-Id: a b\r\nCookie: caf\xe9\r\nX:\r\n\r\n",
		"GET mailto:x HTTP/1.0\r\n\r\n",
		"GET /#fragment HTTP/1.1\r\nHost: h\r\n\r\n",
		upgrade + "raw \x00 words",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x0d\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x08localhos",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x07\x01\x04\x00\x00\x00\x01\x83\x86\x84\x41\x02hh\x00\x00\x02\x00\x01\x00\x00\x00\x01hi",
	} {
		f.Add([]byte(seed))
	}
	for _, pattern := range []string{"../internal/http1/testdata/captures/*", "testdata/captures/h2-*"} {
		for _, sent := range files(f, pattern) {
			f.Add(sent)
		}
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		story(t, router.Config{}, func(w *world) {
			t := w.t
			k := w.join("w1", 8)
			client := w.raw("")
			_, _ = client.nc.Write(sent)
			w.settle()
			_ = client.nc.(interface{ CloseWrite() error }).CloseWrite()
			got := map[uint64]uint64{}
			for w.settle(); ; w.settle() {
				parts, ok := k.inbox.peek()
				if !ok {
					break
				}
				fr := parse(t, parts)
				got[fr.Stream] += uint64(len(fr.Payload))
				switch fr.Type {
				case frame.Headers:
					checkRequest(t, &fr)
					k.send(frame.AppendWindowUpdate(nil, fr.Stream, 1<<20))
					if fr.End() {
						(&call{worker: k, Frame: fr}).answer(200, "")
					}
				case frame.Data:
					if fr.End() {
						(&call{worker: k, Frame: fr}).answer(200, "")
					}
				case frame.RSTStream:
					(&call{worker: k, Frame: fr}).end0()
				}
				if fr.End() && fr.Total != got[fr.Stream] {
					t.Fatalf("stream %d: total %d, and %d bytes came", fr.Stream, fr.Total, got[fr.Stream])
				}
			}
			_ = client.nc.Close()
			k.die()
			k = w.join("w2", 1)
			next := w.get("/next")
			for k.name == "w2" { // a request of the first worker's may come first
				c := k.request()
				c.answer(200, "served")
				if c.get(":path") == "/next" {
					break
				}
			}
			next.wants(200, "served")
		})
	})
}

// files are recorded, see testdata/README.md.
func files(tb testing.TB, pattern string) (all [][]byte) {
	tb.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		tb.Fatalf("no files %s: %v", pattern, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// What a proxy says before the request is a header, and then the request is
// the client's that it names; or it is not, and no worker gets anything. How
// it is cut changes nothing.
func FuzzProxyHeader(f *testing.F) {
	for _, sent := range files(f, "testdata/captures/proxy-*") {
		f.Add(sent[:min(len(sent), 120)], byte(3))
	}
	f.Add([]byte(throughTCP), byte(0))
	f.Add([]byte("PROXY UNKNOWN ffff:f:f:f::f ffff::f 65535 65535\r\n"), byte(9))
	f.Add([]byte(sig2+"\x21\x31\x00\xd8evil\r\nx: y"), byte(20))
	f.Add([]byte(sig2+"\x21\x11\xff\xff"), byte(1))
	f.Fuzz(func(t *testing.T, header []byte, cut byte) {
		if len(header) > 4<<10 || bytes.Contains(header, []byte("HTTP/1")) { // its own request: FuzzRequestToFrames does those
			header = header[:min(len(header), 60)]
		}
		var outcomes [2]string
		for i := range outcomes {
			behindProxy(t, router.Config{}, router.Port{}, "10.1.2.3:4567", func(w *world) {
				k := w.join("w1", 8)
				nc, err := w.clients.Dial(w.t.Context())
				if err != nil {
					w.t.Fatal(err)
				}
				defer nc.Close()
				sent := append(bytes.Clone(header), "GET /marker HTTP/1.1\r\nHost: h\r\n\r\n"...)
				for pieces := i; pieces > 0 && len(sent) > 1; pieces-- {
					n := min(len(sent), 1+int(cut))
					_, _ = nc.Write(sent[:n]) // it may close halfway
					sent = sent[n:]
					w.settle()
				}
				_, _ = nc.Write(sent)
				w.settle()
				for {
					parts, ok := k.inbox.peek()
					if !ok {
						break
					}
					fr := parse(w.t, parts)
					if fr.Type != frame.Headers {
						continue
					}
					checkRequest(w.t, &fr)
					client := string(fr.Fields.Get("x-forwarded-for"))
					if _, err := netip.ParseAddr(client); err != nil {
						w.t.Errorf("the client is %q", client)
					}
					outcomes[i] += string(fr.Fields.Get(":path")) + " of " + client + "; "
					(&call{worker: k, Frame: fr}).answer(200, "")
				}
				w.settle()
			})
		}
		if outcomes[0] != outcomes[1] {
			t.Errorf("%q at once: %q, in two pieces: %q", header, outcomes[0], outcomes[1])
		}
	})
}

var lowerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9a-z-]+$")

// checkRequest checks what SPEC.md promises of HEADERS from a router.
func checkRequest(t *testing.T, fr *frame.Frame) {
	t.Helper()
	if fr.Fields.Get(":method") == nil { // trailers
		if !fr.End() {
			t.Fatalf("HEADERS on stream %d are neither a request nor trailers", fr.Stream)
		}
	}
	pseudo, n := []string{":method", ":scheme", ":authority", ":path", ":protocol"}, 0
	seen := map[string]int{}
	for name, value := range fr.Fields.All() {
		at := slices.Index(pseudo, string(name))
		switch {
		case at >= 0 && at == n && len(seen) == 0:
			n++
			if at == 3 && (len(value) == 0 || value[0] != '/' && string(value) != "*" || bytes.ContainsAny(value, " \r\n\t\x00#")) {
				t.Fatalf("%s: %q", name, value)
			}
			continue
		case !lowerName.Match(name):
			t.Fatalf("field name %q", name)
		case bytes.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) >= 0:
			t.Fatalf("%s: %q", name, value)
		}
		seen[string(name)]++
		switch string(name) {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host", "x_forwarded_for":
			t.Fatalf("%s: %q", name, value)
		}
	}
	if fr.Fields.Get(":method") == nil {
		return
	}
	for _, name := range []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-request-id", "via"} {
		if seen[name] != 1 {
			t.Fatalf("%d fields %s in %v", seen[name], name, fr.Fields)
		}
	}
	if n < 4 || seen["content-length"] > 1 || seen["expect"] > 1 || seen["te"] > 1 {
		t.Fatalf("malformed: %v", fr.Fields)
	}
	if value := fr.Fields.Get("content-length"); value != nil && fr.End() && string(value) != strconv.Itoa(len(fr.Payload)) {
		t.Fatalf("content-length %s of a body of %d bytes", value, len(fr.Payload))
	}
}

// Whatever a worker answers, what the client reads has one meaning: heads
// without a stray byte, one framing, and the next answer behind it.
func FuzzFramesToResponse(f *testing.F) {
	f.Add("GET", uint16(200), "content-type: text/plain\nx: y", []byte("body"), "", byte(0))
	f.Add("GET", uint16(200), "content-length: 4", []byte("body and more"), "", byte(1))
	f.Add("HEAD", uint16(200), "content-length: 4", []byte("body"), "", byte(0))
	f.Add("GET", uint16(204), "", []byte("body"), "x-t: 1", byte(2))
	f.Add("GET", uint16(103), "link: a", []byte(nil), "", byte(5))
	f.Add("GET", uint16(313), "0content-length: ", []byte("0"), "0", byte(0))
	f.Add("GET", uint16(304), "etag: a\ncontent-length: 9", []byte(nil), "", byte(0))
	f.Add("GET", uint16(101), "upgrade: x", []byte("raw"), "", byte(0))
	f.Add("GET", uint16(99), "a b: c\nx: a\rb\n: v\ntransfer-encoding: chunked\nconnection: x, close\nx: hop", []byte("b"), "content-length: 5\nx-t: \x01", byte(3))
	f.Add("GET", uint16(200), "content-length: 4\ncontent-length: 5\ndate: now\nproxy-status: x", []byte("body"), "", byte(4))
	f.Fuzz(func(t *testing.T, method string, status uint16, head string, body []byte, tail string, how byte) {
		if method != "GET" && method != "HEAD" && method != "POST" || len(head) > 4000 || len(tail) > 4000 {
			return
		}
		story(t, router.Config{}, func(w *world) {
			t := w.t
			k := w.join("w1", 1)
			client := w.raw(method + " / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
			c := k.request()
			first := fieldsOf(head)
			answer := fields(":status", strconv.Itoa(int(status)))
			for name, value := range first.All() {
				answer.AddBytes(name, value)
			}
			body = body[:min(len(body), 10_000)]
			if how&1 == 0 && tail == "" {
				_, _ = k.conn.Send(0, 0, frame.AppendHeaders(nil, c.Stream, answer, true, uint64(len(body))), body)
			} else {
				_, _ = k.conn.Send(0, 0, frame.AppendHeaders(nil, c.Stream, answer, false, 0), body[:len(body)/2])
				w.settle()
				_, _ = k.conn.Send(0, 0, frame.AppendData(nil, c.Stream, false, 0), body[len(body)/2:])
				if how&4 != 0 {
					_, _ = k.conn.Send(0, 0, frame.AppendHeaders(nil, c.Stream, fields(":status", "200"), false, 0))
				}
				_, _ = k.conn.Send(0, 0, frame.AppendHeaders(nil, c.Stream, fieldsOf(tail), true, uint64(len(body))))
			}
			w.settle()
			got, closed := client.seen()
			all, over := responses(t, got, method)
			switch {
			case len(all) != 1 && !closed, over != "":
				t.Fatalf("%d answers, and then %q: %q", len(all), over, got)
			case len(all) == 1 && all[0].cut && !closed:
				t.Fatalf("the answer hangs: %q", got)
			case len(all) == 1 && !all[0].cut && strings.Contains(got, "Transfer-Encoding: chunked") && all[0].body != string(body):
				t.Fatalf("the whole answer is %q, the worker sent %q", all[0].body, body)
			case len(all) == 1 && all[0].status == 101:
				t.Fatalf("101 unasked: %q", got)
			}
			_ = client.nc.Close()
			k.die()
			k = w.join("w2", 1)
			next := w.get("/next")
			k.request().answer(200, "served")
			next.wants(200, "served")
		})
	})
}

// fieldsOf makes fields of lines, of which nothing is checked.
func fieldsOf(lines string) (f frame.Fields) {
	for line := range strings.SplitSeq(lines, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			f.Add(name, value)
		}
	}
	return f
}
