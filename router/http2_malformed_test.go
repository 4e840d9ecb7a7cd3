package router_test

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// What RFC 9113 section 8 calls malformed is a stream error or 400, or ends the
// connection, and no worker hears of it.
func TestH4MalformedRequests(t *testing.T) {
	long := strings.Repeat("x", 300)
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		k := w.join("w1", 4)
		for name, fields := range map[string][]string{
			"CRLF in a value":             ordinary("x", "a\r\nx-smuggled: 1"),
			"CR in a value":               ordinary("x", "a\rb"),
			"LF in a value":               ordinary("x", "a\nb"),
			"NUL in a value":              ordinary("x", "a\x00b"),
			"a control in a value":        ordinary("x", "a\x01b"),
			"DEL in a value":              ordinary("x", "a\x7fb"),
			"a space before a value":      ordinary("x", " a"),
			"a tab after a value":         ordinary("x", "a\t"),
			"CRLF in a name":              ordinary("x\r\ny", "a"),
			"NUL in a name":               ordinary("x\x00", "a"),
			"a colon in a name":           ordinary("x:y", "a"),
			"a space in a name":           ordinary("x y", "a"),
			"an upper-case name":          ordinary("X-Upper", "a"),
			"an empty name":               ordinary("", "a"),
			"a name beyond ASCII":         ordinary("x\xe9", "a"),
			"a space in :path":            but(":path", "/a b"),
			"a request line in :path":     but(":path", "/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /"),
			"a tab in :path":              but(":path", "/a\tb"),
			"a space in the query":        but(":path", "/?a b"),
			"# in :path":                  but(":path", "/a#b"),
			"# in the query":              but(":path", "/?a#b"),
			"an empty :path":              but(":path", ""),
			"a :path without /":           but(":path", "a"),
			"a :path of ?":                but(":path", "?a"),
			"an absolute :path":           but(":path", "http://evil/"),
			"* for GET":                   but(":path", "*"),
			"CRLF in :path":               but(":path", "/a\r\nb"),
			"NUL in :path":                but(":path", "/\x00"),
			"a broken escape in :path":    but(":path", "/%zz"),
			"an empty :method":            but(":method", ""),
			"a space in :method":          but(":method", "GET /evil HTTP/1.1"),
			"CRLF in :method":             but(":method", "GET / HTTP/1.1\r\nX: y"),
			":method of no token":         but(":method", "G@T:"),
			"another :scheme":             but(":scheme", "ftp"),
			"an empty :scheme":            but(":scheme", ""),
			"CRLF in :scheme":             but(":scheme", "http\r\nx: y"),
			"an empty :authority":         but(":authority", ""),
			"user information":            but(":authority", "user@h"),
			"a space in :authority":       but(":authority", "h evil"),
			"a path in :authority":        but(":authority", "h/evil"),
			"a query in :authority":       but(":authority", "h?evil"),
			"CRLF in :authority":          but(":authority", "h\r\nx: y"),
			"a port that is none":         but(":authority", "h:http"),
			"host against :authority":     ordinary("host", "evil"),
			"two hosts":                   ordinary("host", "h", "host", "evil"),
			"two equal hosts":             ordinary("host", "h", "host", "h"),
			"two lengths":                 ordinary("content-length", "0", "content-length", "5"),
			"a length of a bodiless one":  ordinary("content-length", "5"),
			"a length with a sign":        ordinary("content-length", "+0"),
			"a length of letters":         ordinary("content-length", "abc"),
			"an overflowing length":       ordinary("content-length", "99999999999999999999"),
			"an empty length":             ordinary("content-length", ""),
			"te gzip":                     ordinary("te", "gzip"),
			"te trailers, gzip":           ordinary("te", "trailers, gzip"),
			"two te":                      ordinary("te", "trailers", "te", "gzip"),
			"connection":                  ordinary("connection", "close"),
			"connection that nominates":   ordinary("connection", "x-forwarded-for", "x-forwarded-for", "1.2.3.4"),
			"keep-alive":                  ordinary("keep-alive", "timeout=5"),
			"proxy-connection":            ordinary("proxy-connection", "close"),
			"transfer-encoding":           ordinary("transfer-encoding", "chunked"),
			"upgrade":                     ordinary("upgrade", "h2c"),
			"two :method":                 ordinary(":method", "POST"),
			"two :path":                   append([]string{":path", "/evil"}, ordinary()...),
			"two :authority":              append([]string{":authority", "evil"}, ordinary()...),
			"two :scheme":                 append([]string{":scheme", "https"}, ordinary()...),
			"an unknown pseudo field":     append([]string{":evil", "x"}, ordinary()...),
			":status":                     append([]string{":status", "200"}, ordinary()...),
			":protocol without CONNECT":   append([]string{":protocol", "websocket"}, ordinary()...),
			"a late pseudo field":         append([]string{":method", "GET", ":scheme", "http", ":authority", "h", "x", "y"}, ":path", "/"),
			"no :method":                  ordinary()[2:],
			"no :path":                    ordinary()[:6],
			"no :scheme":                  {":method", "GET", ":authority", "h", ":path", "/"},
			"no :authority and no host":   {":method", "GET", ":scheme", "http", ":path", "/"},
			"a malformed host alone":      {":method", "GET", ":scheme", "http", ":path", "/", "host", "a b"},
			"CONNECT with :path":          but(":method", "CONNECT"),
			"CONNECT with :scheme":        {":method", "CONNECT", ":scheme", "http", ":authority", "h:1"},
			"CONNECT without :authority":  {":method", "CONNECT"},
			"a long name that is illegal": ordinary(long+" ", "x"),
		} {
			c := w.dialHTTP2()
			stream := c.ask(true, fields...)
			if h := c.heard(); !h.refused(stream) {
				w.t.Errorf("%s: got %+v, want 400 or RST_STREAM", name, h)
			}
			for _, path := range k.asked() {
				w.t.Errorf("%s: the worker was asked for %q", name, path)
			}
			_ = c.nc.Close()
		}
	})
}

func TestH4WhatIsLegalHasOneMeaning(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		k := w.join("w1", 4)
		c := w.dialHTTP2()
		for _, tc := range []struct {
			name   string
			fields []string
			want   []string // names and values; "": there is none
		}{
			{"host that is :authority", ordinary("host", "H"), []string{":authority", "h", "host", ""}},
			{"host alone", []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "other:80"}, []string{":authority", "other:80", "host", ""}},
			{"another scheme than the connection's", but(":scheme", "https"), []string{":scheme", "http", "x-forwarded-proto", "http"}},
			{"te trailers", ordinary("te", "trailers"), []string{"te", "trailers"}},
			{"a cookie in crumbs", ordinary("cookie", "a=1", "cookie", "b=2", "cookie", "c=3"), []string{"cookie", "a=1; b=2; c=3"}},
			{"an empty value", ordinary("x-empty", ""), []string{"x-empty", ""}},
			{"bytes beyond ASCII", ordinary("x", "caf\xe9"), []string{"x", "caf\xe9"}},
			{"a tab within a value", ordinary("x", "a\tb"), []string{"x", "a\tb"}},
			{"dots, slashes and escapes", but(":path", "//a/../b/%2e%2e/%2F?c=%00"), []string{":path", "//a/../b/%2e%2e/%2F?c=%00"}},
			{"OPTIONS *", append(but(":path", "*")[2:], "x", "y"), []string{":path", "*", ":method", "OPTIONS"}},
			{"a length of 0", ordinary("content-length", "0"), []string{"content-length", ""}},
			{"an IPv6 authority", but(":authority", "[::1]:8080"), []string{":authority", "[::1]:8080"}},
		} {
			if tc.name == "OPTIONS *" {
				tc.fields = append([]string{":method", "OPTIONS"}, tc.fields...)
			}
			stream := c.ask(true, tc.fields...)
			q := k.request()
			if !q.End() { // where a body might have come
				if f := k.next(); f.Type != frame.Data || !f.End() || len(f.Payload) > 0 {
					w.t.Errorf("%s: the worker got %v %q", tc.name, f.Type, f.Payload)
				}
			}
			for i := 0; i < len(tc.want); i += 2 {
				if got := q.get(tc.want[i]); got != tc.want[i+1] || len(q.values(tc.want[i])) > 1 {
					w.t.Errorf("%s: the worker got %s %q, want %q", tc.name, tc.want[i], q.values(tc.want[i]), tc.want[i+1])
				}
			}
			q.answer(200, "")
			if h := c.heard(); !strings.HasPrefix(h.answers[stream], "200") {
				w.t.Errorf("%s: the client got %+v", tc.name, h)
			}
		}
		for method, fields := range map[string][]string{http.MethodConnect: {":method", "CONNECT", ":authority", "h:1"}, http.MethodTrace: but(":method", "TRACE")} {
			stream := c.ask(true, fields...)
			if h := c.heard(); !strings.HasPrefix(h.answers[stream], "405 ") {
				w.t.Errorf("%s: got %+v, want 405", method, h)
			}
		}
		k.silent()
	})
}

// Whatever the client says it is.
func TestH4TheSchemeIsTheConnections(t *testing.T) {
	server, client := certified(t)
	portStory(t, router.Config{}, router.Port{TLS: server}, func(w *world, _ *port) {
		k := w.join("w1", 1)
		c := w.http2(w.secure(client, "h2"))
		for _, scheme := range []string{"http", "https"} {
			stream := c.ask(true, but(":scheme", scheme)...)
			q := k.request()
			if q.get(":scheme") != "https" || q.get("x-forwarded-proto") != "https" {
				w.t.Errorf("%s: the worker got %q, %q", scheme, q.get(":scheme"), q.get("x-forwarded-proto"))
			}
			q.answer(200, "")
			if got := c.heard().answers[stream]; got != "200 " {
				w.t.Errorf("got %q", got)
			}
		}
	})
}

// A body that is not as long as its content-length says never looks whole to a worker.
func TestH4LengthAgainstDATA(t *testing.T) {
	const bodiless = "longer than 0"
	trailer := []string{"x-trailer", "late"}
	for name, send := range map[string]func(c *h2client, stream uint32){
		"longer": func(c *h2client, stream uint32) { _ = c.WriteData(stream, true, []byte("12345")) },
		bodiless: func(c *h2client, stream uint32) { _ = c.WriteData(stream, true, []byte("GET /evil HTTP/1.1\r\n\r\n")) },
		"longer in two": func(c *h2client, stream uint32) {
			_ = c.WriteData(stream, false, []byte("123"))
			_ = c.WriteData(stream, true, []byte("4"))
		},
		"shorter":         func(c *h2client, stream uint32) { _ = c.WriteData(stream, true, []byte("12")) },
		"none":            func(c *h2client, stream uint32) { _ = c.WriteData(stream, true, nil) },
		"shorter, padded": func(c *h2client, stream uint32) { _ = c.WriteDataPadded(stream, true, []byte("12"), make([]byte, 1)) },
		"shorter, with trailers": func(c *h2client, stream uint32) {
			_ = c.WriteData(stream, false, []byte("12"))
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.encode(trailer...), EndStream: true, EndHeaders: true})
		},
		"a pseudo field in the trailers": func(c *h2client, stream uint32) {
			_ = c.WriteData(stream, false, []byte("123"))
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.encode(":path", "/evil"), EndStream: true, EndHeaders: true})
		},
		"trailers that do not end": func(c *h2client, stream uint32) {
			_ = c.WriteData(stream, false, []byte("123"))
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.encode(trailer...), EndHeaders: true})
		},
		"an upper-case name in the trailers": func(c *h2client, stream uint32) {
			_ = c.WriteData(stream, false, []byte("123"))
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.encode("X", "y"), EndStream: true, EndHeaders: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
				k := w.join("w1", 1)
				c := w.dialHTTP2()
				length := "3"
				if name == bodiless {
					length = "0"
				}
				stream := c.ask(false, but(":method", "POST", "content-length", length, "trailer", "x-trailer")...)
				q := k.request()
				send(c, stream)
				if h := c.heard(); !h.refused(stream) {
					w.t.Errorf("the client got %+v, want 400 or RST_STREAM", h)
				}
				f := k.next()
				for f.Type == frame.Data && !f.End() {
					f = k.next()
				}
				if f.Type != frame.RSTStream {
					w.t.Errorf("the worker got %v and flags %d, want RST_STREAM", f.Type, f.Flags)
				}
				q.reset(http2.ErrCodeCancel)
				w.settle()
			})
		})
	}
}
