package router_test

import (
	"bytes"
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
