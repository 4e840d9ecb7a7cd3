package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// Requests in one go are carried one after the other, whoever carries them,
// and answered in order.
func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	const chunked = "Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
	requests := []struct{ method, rest, body string }{
		{"GET", "\r\n", ""},
		{"PUT", "Content-Length: 4\r\n\r\nbody", "body"},
		{"HEAD", "\r\n", ""},
		{"PUT", chunked, "body"},
		{"PUT", "Content-Length: 0\r\n\r\n", ""},
		{"GET", "\r\n", ""},
		{"POST", chunked, "body"},
		{"GET", "\r\n", ""},
	}
	story(t, router.Config{}, func(w *world) {
		workers := []*worker{w.join("a", 8), w.join("b", 8)}
		var all strings.Builder
		var methods []string
		for i, r := range requests {
			fmt.Fprintf(&all, "%s /%d HTTP/1.1\r\nHost: h\r\n%s", r.method, i, r.rest)
			methods = append(methods, r.method)
		}
		client := w.raw(all.String())
		for i, r := range requests {
			k, other := workers[i%2], workers[1-i%2]
			c := k.request()
			if c.get(":path") != fmt.Sprintf("/%d", i) || c.get(":method") != r.method {
				w.t.Fatalf("request %d came as %s %s", i, c.get(":method"), c.get(":path"))
			}
			if got := c.body(); got != r.body {
				w.t.Errorf("request %d: body %q", i, got)
			}
			k.silent()
			other.silent()
			time.Sleep(time.Second)
			if i%3 == 0 {
				c.answer(200, fmt.Sprint("answer ", i))
				continue
			}
			c.head(200)
			c.w.settle()
			c.data(fmt.Sprint("answer ", i))
			c.end()
		}
		got, closed := client.seen()
		answers, over := responses(w.t, got, methods...)
		if len(answers) != len(requests) || over != "" || closed {
			w.t.Fatalf("%d answers, %q over, closed: %v", len(answers), over, closed)
		}
		for i, a := range answers {
			if want := fmt.Sprint("answer ", i); a.status != 200 || a.cut || a.body != want && requests[i].method != "HEAD" {
				w.t.Errorf("answer %d is %d %q", i, a.status, a.body)
			}
		}
	})
}

// smuggled is a body that must never be taken for a request.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

// used is a connection with a request that went wrong, or whose answer came
// before its body was read.
type used struct {
	name   string
	head   string // of the request, with what comes at once of its body
	rest   string // what comes of it after the answer
	act    func(k *worker)
	queued bool // there is no worker
	status int
	closes bool // it must
	stays  bool // it must
}

func TestH7AConnectionThatWasUsedIsInStepOrClosed(t *testing.T) {
	length := fmt.Sprintf("Content-Length: %d\r\n", len(smuggled))
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(smuggled), smuggled)
	const (
		put   = "PUT / HTTP/1.1\r\nHost: h\r\n"
		codes = "Transfer-Encoding: chunked\r\n"
		wait  = "Expect: 100-continue\r\n"
		end   = "0\r\n\r\n"
	)
	early := func(k *worker) { k.request().answer(403, "early") }
	resets := func(k *worker) { k.request().reset(http2.ErrCodeInternal) }
	for _, u := range []used{
		{name: "no worker", head: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", queued: true, status: 503, stays: true},
		{name: "no worker, HEAD", head: "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", queued: true, status: 503, stays: true},
		{name: "no worker, body sent", head: put + length + "\r\n" + smuggled, queued: true, status: 503},
		{name: "no worker, body half sent", head: put + length + "\r\n" + smuggled[:5], rest: smuggled[5:], queued: true, status: 503, closes: true},
		{name: "no worker, body to come", head: put + length + "\r\n", rest: smuggled, queued: true, status: 503, closes: true},
		{name: "no worker, body never comes", head: put + length + "\r\n", queued: true, status: 503, closes: true},
		{name: "no worker, chunked", head: put + codes + "\r\n" + chunk + end, queued: true, status: 503},
		{name: "no worker, chunks to come", head: put + codes + "\r\n" + chunk, rest: smuggled, queued: true, status: 503, closes: true},
		{name: "no worker, Expect", head: put + length + wait + "\r\n", queued: true, status: 503, closes: true},
		{name: "no worker, Expect, body sent anyhow", head: put + length + wait + "\r\n", rest: smuggled, queued: true, status: 503, closes: true},
		{name: "answered early, body sent", head: put + length + "\r\n" + smuggled, act: early, status: 403},
		{name: "answered early, body half sent", head: put + length + "\r\n" + smuggled[:5], rest: smuggled[5:], act: early, status: 403, closes: true},
		{name: "answered early, body to come", head: put + length + "\r\n", rest: smuggled, act: early, status: 403, closes: true},
		{name: "answered early, body never comes", head: put + length + "\r\n", act: early, status: 403, closes: true},
		{name: "answered early, chunked", head: put + codes + "\r\n" + chunk + end, act: early, status: 403},
		{name: "answered early, chunks to come", head: put + codes + "\r\n" + chunk, rest: chunk + end, act: early, status: 403, closes: true},
		{name: "answered early, the last chunk to come", head: put + codes + "\r\n" + chunk, rest: end, act: early, status: 403, closes: true},
		{name: "answered early, Expect", head: put + length + wait + "\r\n", act: early, status: 403, closes: true},
		{name: "answered early, Expect, body sent anyhow", head: put + length + wait + "\r\n", rest: smuggled, act: early, status: 403, closes: true},
		{name: "reset by the worker", head: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", act: resets, status: 502, stays: true},
		{name: "reset by the worker, body sent", head: put + length + "\r\n" + smuggled, act: resets, status: 502},
		{name: "reset by the worker, body to come", head: put + length + "\r\n", rest: smuggled, act: resets, status: 502, closes: true},
		{name: "lost with the worker", head: "POST / HTTP/1.1\r\nHost: h\r\n\r\n", act: func(k *worker) {
			k.request()
			k.die()
		}, status: 502, stays: true},
		{name: "refused, body sent", head: "TRACE / HTTP/1.1\r\nHost: h\r\n" + length + "\r\n" + smuggled, status: 405},
		{name: "refused, body to come", head: "TRACE / HTTP/1.1\r\nHost: h\r\n" + length + "\r\n", rest: smuggled, status: 405},
		{name: "an expectation that is not met", head: put + length + "Expect: magic\r\n\r\n", rest: smuggled, status: 417},
		{name: "malformed chunks", head: put + codes + "\r\nzz\r\n", rest: smuggled, status: 400, closes: true},
	} {
		t.Run(u.name, func(t *testing.T) {
			story(t, router.Config{}, u.play)
		})
	}
}

func (u *used) play(w *world) {
	var k *worker
	if !u.queued {
		k = w.join("w1", 4)
	}
	client := w.raw(u.head)
	w.settle()
	if u.act != nil {
		u.act(k)
	}
	if u.queued {
		time.Sleep(router.DefaultQueueWait)
	}
	got, closed := client.seen()
	_, _ = io.WriteString(client.nc, u.rest)
	_, _ = io.WriteString(client.nc, marker)
	if k == nil || len(w.r.Workers()) == 0 {
		k = w.join("w2", 4)
	}
	k.serveMarkers()
	time.Sleep(3 * time.Second) // net/http waits for the rest of a body before it closes
	k.serveMarkers()
	more, ended := client.seen()
	got, closed = got+more, closed || ended
	method, _, _ := strings.Cut(u.head, " ")
	all, over := responses(w.t, got, method, "GET")
	if len(all) == 0 || all[0].status != u.status || all[0].cut || over != "" {
		w.t.Fatalf("the client got %q; want %d", got, u.status)
	}
	switch {
	case len(all) == 2:
		if all[1].status != 200 || all[1].body != "marked" || u.closes || closed {
			w.t.Errorf("the client got %q, closed: %v; it must close: %v", got, closed, u.closes)
		}
	case !closed || u.stays:
		w.t.Errorf("the client got %q, and no second answer; closed: %v", got, closed)
	}
	if closed && all[0].value("Connection") != "close" {
		w.t.Errorf("the client was not told that its connection closes: %q", got)
	}
}

// serveMarkers answers the marker if it has come, and nothing else may have.
func (k *worker) serveMarkers() {
	k.t.Helper()
	for again := true; again; {
		k.w.settle()
		again = false
		for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
			again = true
			f := parse(k.t, parts)
			c := &call{worker: k, Frame: f}
			switch {
			case f.Type == frame.RSTStream:
				c.reset(http2.ErrCodeCancel)
			case f.Type != frame.Headers || c.get(":method") == "":
			case c.get(":path") == "/marker":
				c.answer(200, "marked")
			case c.get(":path") == "/": // sent before its body went wrong: a reset follows
			default:
				k.t.Errorf("the worker got %s %s", c.get(":method"), c.get(":path"))
			}
		}
	}
}

// A body that stops while the worker waits for it.
func TestABodyThatStopsIs408(t *testing.T) {
	for name, request := range map[string]string{
		"length":  "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf",
		"chunked": "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
		"nothing": "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
				k := w.join("w1", 1)
				client := w.raw(request)
				c := k.request()
				w.settle()
				time.Sleep(router.DefaultBodyTimeout - time.Millisecond)
				if got, closed := client.seen(); got != "" || closed {
					w.t.Fatalf("before its time the client got %q, closed: %v", got, closed)
				}
				time.Sleep(time.Millisecond + late)
				got, closed := client.seen()
				if all, over := responses(w.t, got, "PUT"); !closed || len(all) != 1 || all[0].status != 408 || all[0].value("Connection") != "close" || over != "" {
					w.t.Errorf("the client got %q, closed: %v", got, closed)
				}
				f := k.next()
				for f.Type == frame.Data && !f.End() {
					f = k.next()
				}
				if f.Type != frame.RSTStream || f.Code != http2.ErrCodeCancel || f.Stream != c.Stream {
					w.t.Errorf("the worker got %v %v, want RST_STREAM CANCEL", f.Type, f.Code)
				}
				c.reset(http2.ErrCodeCancel)
				p := w.get("/next")
				k.request().answer(200, "the slot is free")
				p.wants(200, "the slot is free")
			})
		})
	}
	t.Run("nobody wants it", func(t *testing.T) { // it is the worker that is slow
		portStory(t, router.Config{ResponseTimeout: -1}, router.Port{}, func(w *world, _ *port) {
			k := w.join("w1", 1)
			client := w.raw("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 120000\r\n\r\n" + strings.Repeat("x", 120_000))
			c := k.request()
			time.Sleep(10 * time.Minute)
			if got, closed := client.seen(); got != "" || closed {
				w.t.Fatalf("the client got %q, closed: %v", got, closed)
			}
			if got := len(c.body()); got != 120_000 {
				w.t.Errorf("%d bytes came", got)
			}
			c.answer(200, "served")
			wantsRaw(w.t, client.nc, "served")
		})
	})
	t.Run("after the answer has begun", func(t *testing.T) {
		portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
			k := w.join("w1", 1)
			client := w.raw("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf")
			c := k.request()
			c.head(200)
			c.data("begun")
			w.settle()
			time.Sleep(router.DefaultBodyTimeout + late)
			got, closed := client.seen()
			if all, _ := responses(w.t, got, "PUT"); !closed || len(all) != 1 || all[0].body != "begun" || !all[0].cut {
				w.t.Errorf("the client got %q, closed: %v; want an answer that breaks off", got, closed)
			}
			for f := k.next(); f.Type != frame.RSTStream; f = k.next() {
				if f.End() {
					w.t.Fatal("the body ended cleanly")
				}
			}
			c.reset(http2.ErrCodeCancel)
		})
	})
	t.Run("gathered for a REP", func(t *testing.T) { // that wait is shorter: 30 s
		portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
			k := w.rep(zmtp.Options{})
			client := w.raw("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf" + marker[:3])
			w.settle()
			time.Sleep(30*time.Second + late)
			got, closed := client.seen()
			if all, over := responses(w.t, got, "PUT"); !closed || len(all) != 1 || all[0].status != 408 || over != "" {
				w.t.Errorf("the client got %q, closed: %v", got, closed)
			}
			k.silent()
		})
	})
}

// A stream of HTTP/2's that is cancelled costs its connection nothing.
func TestH15ACancelledStreamOfHTTP2(t *testing.T) {
	for name, body := range map[string]io.Reader{"no body": nil, "endless body": endless{}} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 4)
				dials := 0
				tr := &http.Transport{
					DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
						dials++
						return w.clients.Dial(ctx)
					},
					Protocols: new(http.Protocols),
				}
				tr.Protocols.SetUnencryptedHTTP2(true)
				defer tr.CloseIdleConnections()
				for range 3 {
					ctx, cancel := context.WithCancel(w.t.Context())
					left := make(chan error, 1)
					req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://h/left", body)
					if err != nil {
						w.t.Fatal(err)
					}
					w.wg.Go(func() {
						resp, err := tr.RoundTrip(req)
						if err == nil {
							_ = resp.Body.Close()
						}
						left <- err
					})
					c := k.request()
					w.settle()
					cancel()
					f := k.next()
					for f.Type == frame.Data {
						f = k.next()
					}
					if f.Type != frame.RSTStream || f.Code != http2.ErrCodeCancel {
						w.t.Errorf("the worker got %v %v, want RST_STREAM CANCEL", f.Type, f.Code)
					}
					c.reset(http2.ErrCodeCancel)
					if err := <-left; !errors.Is(err, context.Canceled) {
						w.t.Errorf("who left got %v", err)
					}
					w.wg.Go(func() { k.request().answer(200, "marked") })
					next, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://h/marker", nil)
					if err != nil {
						w.t.Fatal(err)
					}
					resp, err := tr.RoundTrip(next)
					if err != nil {
						w.t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || string(got) != "marked" {
						w.t.Errorf("the next got %q, %v", got, err)
					}
				}
				if dials != 1 {
					w.t.Errorf("%d connections were made, want 1", dials)
				}
			})
		})
	}
}
