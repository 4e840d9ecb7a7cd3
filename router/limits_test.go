package router_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// wantsStatus checks an answer of the router's own: its status, and the error
// that Proxy-Status names.
func wantsStatus(t *testing.T, got, status, kind string) {
	t.Helper()
	if !strings.HasPrefix(got, "HTTP/1.1 "+status+" ") || !strings.Contains(got, "\r\nProxy-Status: dialmux; error="+kind+"; details=\"") {
		t.Errorf("the client got %q, want %s and error=%s", got, status, kind)
	}
}

func TestRequestsAtOnce(t *testing.T) {
	story(t, router.Config{MaxRequests: 2}, func(w *world) {
		k := w.join("w1", 8)
		first, second := w.get("/1"), w.get("/2")
		a, b := k.request(), k.request()
		got, _ := w.raw("GET /3 HTTP/1.1\r\nHost: h\r\n\r\n").seen()
		wantsStatus(t, got, "503", "connection_limit_reached")
		if !strings.Contains(got, "\r\nRetry-After: ") {
			t.Errorf("no Retry-After in %q", got)
		}
		a.answer(200, "")
		b.answer(200, "")
		first.wants(200, "")
		second.wants(200, "")
		w.settle()
		p := w.get("/4")
		k.request().answer(200, "")
		p.wants(200, "")
	})
}

func TestResponseTimeout(t *testing.T) {
	const limit = 10 * time.Second
	story(t, router.Config{ResponseTimeout: limit}, func(w *world) {
		k := w.join("w1", 8)
		began := time.Now()
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		c.head(103, "link", "</a>")
		c.cancelled(http2.ErrCodeCancel)
		if took := time.Since(began); took < limit || took > limit*13/10 {
			t.Errorf("the stream was cancelled after %v", took)
		}
		c.answer(200, "late") // frees the slot, and reaches nobody
		got, _ := client.seen()
		if i := strings.Index(got, "HTTP/1.1 504 "); i < 0 || strings.Contains(got, "late") {
			t.Errorf("the client got %q", got)
		} else {
			wantsStatus(t, got[i:], "504", "http_response_timeout")
		}
	})
}

// A worker that takes no more of a body has all that it wants.
func TestResponseTimeoutOfAWorkerThatStopsReading(t *testing.T) {
	const limit = 10 * time.Second
	story(t, router.Config{ResponseTimeout: limit}, func(w *world) {
		k := w.join("w1", 8)
		client := w.raw("")
		w.wg.Go(func() { // which breaks off
			_, _ = io.WriteString(client.nc, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 1_000_000))
		})
		c := k.request()
		c.fillWindow()
		time.Sleep(limit / 2)
		c.credit(1024)                           // it lives
		if f := k.next(); f.Type != frame.Data { // what has been read ahead
			t.Errorf("got %v, want DATA", f.Type)
		}
		time.Sleep(limit / 2)
		k.silent()
		time.Sleep(limit)
		c.cancelled(http2.ErrCodeCancel)
		c.end0()
		got, _ := client.seen()
		wantsStatus(t, got, "504", "http_response_timeout")
	})
}

// What the worker has begun, and what it does not have whole, may last.
func TestResponseTimeoutIsForTheHeadOnly(t *testing.T) {
	const limit = 10 * time.Second
	story(t, router.Config{ResponseTimeout: limit}, func(w *world) {
		k := w.join("w1", 8)
		p := w.get("/begun")
		begun := k.request()
		begun.head(200)
		slow := w.raw("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
		upload := k.request()
		if len(upload.Payload) == 0 { // it may come with the head
			k.next()
		}
		time.Sleep(10 * limit)
		k.silent()
		slow.write("cd")
		if f := k.next(); string(f.Payload) != "cd" || !f.End() {
			t.Errorf("the worker got %q, end: %v", f.Payload, f.End())
		}
		time.Sleep(limit / 2)
		upload.answer(200, "all of it")
		if got, _ := slow.seen(); !strings.HasSuffix(got, "all of it") {
			t.Errorf("the client got %q", got)
		}
		begun.end()
		p.wants(200, "")
	})
}

func TestResponseTimeoutIsNotPutOffByCredit(t *testing.T) {
	const limit = 10 * time.Second
	story(t, router.Config{ResponseTimeout: limit}, func(w *world) {
		k := w.join("w1", 8)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		for range 4 {
			time.Sleep(limit / 3)
			c.credit(1)
		}
		got, _ := client.seen()
		wantsStatus(t, got, "504", "http_response_timeout")
		c.cancelled(http2.ErrCodeCancel)
		c.end0()
	})
}

func TestResponseTimeoutOfAREP(t *testing.T) {
	story(t, router.Config{ResponseTimeout: time.Second}, func(w *world) {
		k := w.rep(zmtp.Options{})
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
		j := k.task()
		time.Sleep(2 * time.Second)
		got, _ := client.seen()
		wantsStatus(t, got, "504", "http_response_timeout")
		next := w.get("/next")
		if !next.waiting() {
			t.Error("the REP is taken for free before it has replied")
		}
		j.reply("", "late")
		k.task().reply("", "next")
		next.wants(200, "next")
	})
}

func TestH13ABodyBeyondTheLimitIs413(t *testing.T) {
	const limit = 100_000
	portStory(t, router.Config{}, router.Port{MaxBody: limit}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		got, _ := w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n").seen()
		wantsStatus(w.t, got, "413", "http_request_error")
		k.silent()

		client := w.raw("")
		w.wg.Go(func() {
			client.write("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + strings.Repeat("x", limit) + "\r\n1\r\ny\r\n0\r\n\r\n")
		})
		c := k.request()
		for f := c.Frame; f.Type != frame.RSTStream; f = c.next() {
			if len(f.Payload) > 0 {
				c.credit(uint64(frame.Cost(len(f.Payload))))
			}
		}
		c.end0()
		got, _ = client.seen()
		wantsStatus(w.t, got, "413", "http_request_error")

		p := w.send("POST", "/just", strings.NewReader(strings.Repeat("x", limit)))
		c = k.request()
		if got := c.body(); len(got) != limit {
			w.t.Errorf("%d bytes came", len(got))
		}
		c.answer(200, "")
		p.wants(200, "")
	})
}

// fillWindow reads the request's body until its window is used up.
func (c *call) fillWindow() {
	c.t.Helper()
	window := int64(frame.RequestWindow) - frame.Cost(len(c.Payload))
	for frame.Fit(window, 1) > 0 {
		window -= frame.Cost(len(c.next().Payload))
	}
}

// end0 pays what is owed for a stream that was cancelled.
func (c *call) end0() {
	c.t.Helper()
	c.send(frame.AppendRSTStream(nil, c.Stream, http2.ErrCodeCancel, ""))
}

func TestProxyStatusSaysWhy(t *testing.T) {
	story(t, router.Config{QueueWait: time.Second, QueueLimit: 1}, func(w *world) {
		got, _ := w.raw("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n").seen()
		wantsStatus(t, got, "405", "http_request_denied")
		waits := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		w.settle()
		got, _ = w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n").seen()
		wantsStatus(t, got, "503", "connection_limit_reached")
		time.Sleep(2 * time.Second)
		got, _ = waits.seen()
		wantsStatus(t, got, "503", "destination_unavailable")

		k := w.join("w1", 1)
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		k.request().data("before any head")
		got, _ = client.seen()
		wantsStatus(t, got, "502", "http_protocol_error")
		k.die()
		k = w.join("w2", 1)
		client = w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		k.request()
		k.die()
		got, _ = client.seen()
		wantsStatus(t, got, "502", "connection_terminated")
		if w.front == engine {
			got, _ = w.raw("GET / HTTP/1.1\r\nHost : h\r\n\r\n").seen()
			wantsStatus(t, got, "400", "http_request_error")
		}
	})
}
