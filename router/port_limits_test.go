package router_test

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

const ask = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

// open makes a connection that has been served once.
func (w *world) open(k *worker) *raw {
	w.t.Helper()
	c := w.raw(ask)
	k.request().answer(200, "served")
	wantsRaw(w.t, c.nc, "served")
	return c
}

func TestConnectionsAtOnce(t *testing.T) {
	portStory(t, router.Config{}, router.Port{MaxConnections: 3, HeadTimeout: -1}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		first := w.open(k)
		w.raw("") // says nothing, and counts
		second := w.raw(http2.ClientPreface)
		if err := http2.NewFramer(second.nc, nil).WriteSettings(); err != nil {
			w.t.Fatal(err)
		}
		w.settle()
		for range 2 {
			got := w.raw(ask).all()
			wantsStatus(w.t, got, "503", "connection_limit_reached")
			if strings.Count(got, "\r\nRetry-After: ") != 1 || !strings.Contains(got, "\r\nConnection: close\r\n") || !strings.Contains(got, "\r\n\r\ndialmux: ") {
				w.t.Errorf("the client got %q", got)
			}
			time.Sleep(3 * time.Second) // each is told for itself
		}
		k.silent()
		// Each kind makes room when it ends.
		for _, c := range []*raw{first, second} {
			_ = c.nc.Close()
			w.settle()
			time.Sleep(notice)
			w.open(k)
			got, _ := w.raw(ask).seen()
			wantsStatus(w.t, got, "503", "connection_limit_reached")
			time.Sleep(3 * time.Second)
		}
	})
}

// Over TLS nobody could read a 503 before the handshake, which is what costs.
func TestConnectionsAtOnceOverTLS(t *testing.T) {
	server, client := certified(t)
	portStory(t, router.Config{}, router.Port{MaxConnections: 2, TLS: server, IdleTimeout: -1}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		first, second := w.secure(client, "http/1.1"), w.secure(client, "h2")
		for _, c := range []*tls.Conn{first, second} {
			nc, err := w.clients.Dial(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			defer nc.Close()
			if got := (&raw{w.t, nc}).all(); got != "" {
				w.t.Errorf("got %q", got)
			}
			_ = c.Close()
			w.settle()
			time.Sleep(notice)
			first = w.secure(client, "http/1.1")
			if _, err := io.WriteString(first, ask); err != nil {
				w.t.Fatal(err)
			}
			k.request().answer(200, "served")
			wantsRaw(w.t, first, "served")
		}
	})
}

// A flood of connections does not make as many answers.
func TestConnectionsTooManyAreToldSparingly(t *testing.T) {
	portStory(t, router.Config{}, router.Port{MaxConnections: 1, IdleTimeout: -1}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		w.open(k)
		var told, closed int
		var clients []*raw
		for range 200 {
			nc, err := w.clients.Dial(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			defer nc.Close()
			clients = append(clients, &raw{w.t, nc})
		}
		for _, c := range clients {
			switch got, ended := c.seen(); {
			case strings.HasPrefix(got, "HTTP/1.1 503 ") && ended:
				told++
			case got == "" && ended:
				closed++
			default:
				w.t.Errorf("a client got %q, and its end: %v", got, ended)
			}
		}
		if told != 32 || closed != 168 {
			w.t.Errorf("%d were told, %d closed", told, closed)
		}
		if n := strings.Count(w.log.String(), "there are too many"); n != 1 {
			w.t.Errorf("%d lines tell of it", n)
		}
		time.Sleep(patience) // those who keep their end open do not hold the others up
		got, _ := w.raw(ask).seen()
		wantsStatus(w.t, got, "503", "connection_limit_reached")
	})
}

// stream is one request by HTTP/2, on a connection of its own.
type stream struct {
	*http2.Framer
	t *testing.T
}

// stream sends a head of these fields.
func (w *world) stream(end bool, fields ...string) *stream {
	w.t.Helper()
	nc := w.raw(http2.ClientPreface).nc
	f := http2.NewFramer(nc, nc)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var head strings.Builder
	e := hpack.NewEncoder(&head)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	if err := f.WriteSettings(); err != nil {
		w.t.Fatal(err)
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(head.String()), EndStream: end, EndHeaders: true}); err != nil {
		w.t.Fatal(err)
	}
	return &stream{f, w.t}
}

func (s *stream) data(body string, end bool) {
	s.t.Helper()
	if err := s.WriteData(1, end, []byte(body)); err != nil {
		s.t.Fatal(err)
	}
}

// status waits for the answer's head.
func (s *stream) status() string {
	s.t.Helper()
	for {
		got, err := s.ReadFrame()
		if err != nil {
			s.t.Fatal(err)
		}
		switch got := got.(type) {
		case *http2.MetaHeadersFrame:
			return got.PseudoValue("status")
		case *http2.RSTStreamFrame:
			s.t.Fatal(got)
		}
	}
}

// Each limit at its edge, over both versions.
func TestH10LimitsOfAHead(t *testing.T) {
	const most = 2000
	portStory(t, router.Config{}, router.Port{MaxHeader: most, MaxTarget: 100}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		head := func(target, header int) string {
			s := "GET /" + strings.Repeat("x", target-1) + " HTTP/1.1\r\nHost: h\r\nX-Long: "
			return s + strings.Repeat("y", header-len(s)-4) + "\r\n\r\n"
		}
		for _, tc := range []struct {
			request, want string
		}{
			{head(100, most), "200"},
			{head(1, most+1), "431"},
			{head(101, most), "414"},
			{"GET /" + strings.Repeat("x", 2*most) + " HTTP/1.1\r\nHost: h\r\n\r\n", "414"},
		} {
			c := w.raw(tc.request)
			if tc.want == "200" {
				k.request().answer(200, "")
			}
			if got, _ := c.seen(); !strings.HasPrefix(got, "HTTP/1.1 "+tc.want+" ") {
				w.t.Errorf("%d bytes got %q, want %s", len(tc.request), got, tc.want)
			}
		}
		for _, tc := range []struct {
			target, header int
			want           string
		}{
			{100, most - 100 - len("GET  HTTP/1.1\r\nHost: h\r\nX-Long: \r\n\r\n"), "200"},
			{1, most - len("GET  HTTP/1.1\r\nHost: h\r\nX-Long: \r\n\r\n"), "431"},
			{1, most + 1, "431"},
			{1, 5 * most, "431"},
			{101, 1, "414"},
		} {
			s := w.stream(true, ":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/"+strings.Repeat("x", tc.target-1), "x-long", strings.Repeat("~", tc.header))
			if tc.want == "200" {
				k.request().answer(200, "")
			}
			if got := s.status(); got != tc.want {
				w.t.Errorf("HTTP/2, %d and %d bytes: %q, want %s", tc.target, tc.header, got, tc.want)
			}
		}
		k.silent()
	})
}

// At the limit, and beyond it: whether the client says so at once, or it shows midway.
func TestH13LimitOfABody(t *testing.T) {
	const most = 1000
	portStory(t, router.Config{}, router.Port{MaxBody: most}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		whole := func() {
			c := k.request()
			if got := c.body(); len(got) != most {
				w.t.Errorf("the worker got %d bytes", len(got))
			}
			c.answer(200, "")
		}
		cancelled := func(c *call) {
			for f := c.Frame; f.Type != frame.RSTStream; {
				f = c.next()
			}
			c.reset(http2.ErrCodeCancel)
		}
		at := strings.Repeat("x", most)
		post := []string{":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/"}
		said := func(n string) []string { return append(post[:len(post):len(post)], "content-length", n) }

		c := w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + at)
		whole()
		wantsRaw(w.t, c.nc, "")
		c = w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + at + "\r\n0\r\n\r\n")
		whole()
		wantsRaw(w.t, c.nc, "")
		for _, fields := range [][]string{post, said("1000")} {
			s := w.stream(false, fields...)
			s.data(at, true)
			whole()
			if got := s.status(); got != "200" {
				w.t.Errorf("HTTP/2, %q: %s", fields, got)
			}
		}

		got := w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n" + at + "y").all()
		wantsStatus(w.t, got, "413", "http_request_error")
		if got := w.stream(false, said("1001")...).status(); got != "413" {
			w.t.Errorf("HTTP/2: %s", got)
		}
		k.silent()

		c = w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + at + "\r\n")
		one := k.request()
		c.write("1\r\ny\r\n0\r\n\r\n")
		cancelled(one)
		wantsStatus(w.t, c.all(), "413", "http_request_error")
		s := w.stream(false, post...)
		s.data(at, false)
		one = k.request()
		s.data("y", true)
		cancelled(one)
		if got := s.status(); got != "413" {
			w.t.Errorf("HTTP/2, midway: %s", got)
		}
	})
}

func TestBodyTimeoutOfHTTP2(t *testing.T) {
	const limit = 7 * time.Second
	portStory(t, router.Config{}, router.Port{BodyTimeout: limit}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		s := w.stream(false, ":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/")
		c := k.request()
		for range 3 { // each pause is for itself
			s.data("piece", false)
			time.Sleep(limit - time.Millisecond)
		}
		s.data("piece", false)
		began := time.Now()
		for f := c.Frame; f.Type != frame.RSTStream; {
			f = c.next()
		}
		c.reset(http2.ErrCodeCancel)
		if got := s.status(); got != "408" || time.Since(began) != limit {
			w.t.Errorf("%s after %v, want 408 after %v", got, time.Since(began), limit)
		}
	})
}
