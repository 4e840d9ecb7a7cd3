package router_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// ending is a Shutdown that goes on.
type ending struct {
	done chan struct{}
	cut  int
	took time.Duration
}

const farewell = 3 * time.Second

func (p *port) end(limit time.Duration) *ending {
	e := &ending{done: make(chan struct{})}
	p.w.r.Drain()
	p.w.wg.Go(func() {
		defer close(e.done)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		begin := time.Now()
		e.cut = p.shutdown(ctx, farewell)
		e.took = time.Since(begin)
	})
	p.w.settle()
	return e
}

// wants expects the Shutdown to have cut so many requests off, and to have
// ended between these.
func (e *ending) wants(t *testing.T, cut int, from, to time.Duration) {
	t.Helper()
	<-e.done
	if e.cut != cut || e.took < from || e.took > to {
		t.Errorf("Shutdown cut %d requests off and took %v; want %d, and %v to %v", e.cut, e.took, cut, from, to)
	}
}

func TestShutdownOfAnIdlePortIsQuick(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, o *port) {
		o.end(time.Minute).wants(w.t, 0, 0, late)
	})
}

func TestShutdownLetsIdleConnectionsSayFarewell(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, o *port) {
		k := w.join("w1", 4)
		served := func() *raw {
			c := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			k.request().answer(200, "served")
			if got, closed := c.seen(); closed || strings.Contains(got, "Connection:") {
				w.t.Fatalf("before Shutdown the client got %q, closed: %v", got, closed)
			}
			return c
		}
		idle, silent, asks := served(), w.raw(""), served()
		time.Sleep(time.Second)
		e := o.end(time.Minute)
		if f := k.next(); f.Type != frame.GoAway {
			w.t.Errorf("the worker got %v, want GOAWAY", f.Type)
		}
		time.Sleep(farewell - time.Millisecond)
		for _, c := range []*raw{idle, silent, asks} {
			if got, closed := c.seen(); closed {
				w.t.Errorf("closed before the farewell was over: %q", got)
			}
		}
		asks.write("GET /late HTTP/1.1\r\nHost: h\r\n\r\n" + marker) // was on its way
		c := k.request()
		if c.get(":path") != "/late" {
			w.t.Errorf("the worker got %s", c.get(":path"))
		}
		time.Sleep(late + time.Millisecond)
		for _, c := range []*raw{idle, silent} {
			if got, closed := c.seen(); !closed || got != "" {
				w.t.Errorf("after the farewell: %q, closed: %v", got, closed)
			}
		}
		time.Sleep(20 * time.Second)
		c.answer(200, "served late")
		got := asks.all()
		if all, over := responses(w.t, got, "GET"); len(all) != 1 || all[0].value("Connection") != "close" || all[0].body != "served late" || over != "" {
			w.t.Errorf("who asked got %q", got)
		}
		e.wants(w.t, 0, farewell+20*time.Second, farewell+23*time.Second) // it lingers: the marker was not read
		k.silent()
	})
}

func TestShutdownWaitsForWhatRuns(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, o *port) {
		k := w.join("w1", 4)
		waits := w.raw("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n")
		one := k.request()
		begun := w.raw("GET /begun HTTP/1.1\r\nHost: h\r\n\r\n")
		two := k.request()
		two.head(200)
		two.data("half, ")
		body := w.raw("PUT /body HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf")
		three := k.request()
		w.settle()
		e := o.end(time.Minute)
		time.Sleep(30 * time.Second)
		one.answer(200, "whole")
		two.data("half")
		two.end()
		body.write("half")
		w.settle()
		three.answer(200, "whole")
		for _, c := range []*raw{waits, begun, body} {
			got := c.all()
			all, over := responses(w.t, got, "GET")
			if len(all) != 1 || all[0].status != 200 || all[0].cut || over != "" {
				w.t.Errorf("the client got %q", got)
			}
			if c != begun && all[0].value("Connection") != "close" { // whose head had gone out before
				w.t.Errorf("the client was not told that its connection closes: %q", got)
			}
		}
		e.wants(w.t, 0, 30*time.Second, 30*time.Second+farewell+late)
	})
}

// What runs at the limit is cut off visibly, and counted.
func TestShutdownCutsOffAtItsLimit(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, o *port) {
		k := w.join("w1", 8)
		waits := w.raw("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n")
		one := k.request()
		begun := w.raw("GET /begun HTTP/1.1\r\nHost: h\r\n\r\n")
		two := k.request()
		two.head(200)
		two.data("half")
		second := w.get("/second", over("HTTP/2"))
		three := k.request()
		half := w.raw("GET /half HTTP/1.1\r\n")
		w.settle()
		e := o.end(20 * time.Second)
		e.wants(w.t, 3, 20*time.Second, 20*time.Second+late)
		w.settle()
		var ids, want []uint64
		for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
			if f := parse(w.t, parts); f.Type != frame.GoAway {
				if f.Type != frame.RSTStream || f.Code != http2.ErrCodeCancel {
					w.t.Errorf("the worker got %v %v", f.Type, f.Code)
				}
				ids = append(ids, f.Stream)
			}
		}
		for _, c := range []*call{one, two, three} {
			want = append(want, c.Stream)
			c.reset(http2.ErrCodeCancel)
		}
		slices.Sort(ids)
		if !slices.Equal(ids, want) {
			w.t.Errorf("streams %v were cancelled, want %v", ids, want)
		}
		if got := waits.all(); got != "" {
			w.t.Errorf("who waited got %q", got)
		}
		got := begun.all()
		if all, _ := responses(w.t, got, "GET"); len(all) != 1 || !all[0].cut || all[0].body != "half" {
			w.t.Errorf("whose answer had begun got %q", got)
		}
		if _, closed := half.seen(); !closed {
			w.t.Error("half a head is still waited for")
		}
		<-second.done
		if second.err == nil {
			w.t.Error("HTTP/2: an answer came")
		}
	})
}

// Shakes and heads that never end do not hold it up.
func TestShutdownEndsHandshakes(t *testing.T) {
	server, client := certified(t)
	for name, limit := range map[string]time.Duration{"soon": time.Minute, "at its limit": time.Second} {
		t.Run(name, func(t *testing.T) {
			portStory(t, router.Config{}, router.Port{TLS: server}, func(w *world, o *port) {
				k := w.join("w1", 1)
				for _, begins := range []string{"", "\x16\x03\x01"} {
					w.raw(begins)
				}
				idle := w.secure(client, "http/1.1")
				w.settle()
				e := o.end(limit)
				e.wants(w.t, 0, 0, min(limit, farewell+2*time.Second)+late)
				for _, c := range []io.Reader{idle} {
					if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "EOF") {
						w.t.Errorf("a connection ended with %v", err)
					}
				}
				_ = k.next() // GOAWAY
				k.silent()
			})
		})
	}
}

// A connection whose handshake ends while the port shuts down is served.
func TestAHandshakeThatEndsDuringShutdown(t *testing.T) {
	server, client := certified(t)
	client.NextProtos = []string{"http/1.1"}
	portStory(t, router.Config{}, router.Port{TLS: server}, func(w *world, o *port) {
		k := w.join("w1", 1)
		c := w.raw("")
		w.settle()
		e := o.end(time.Minute)
		_ = k.next() // GOAWAY
		time.Sleep(time.Second)
		nc := shake(w.t, c.nc, client)
		if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			w.t.Fatal(err)
		}
		k.request().answer(200, "served")
		if resp := wantsRaw(w.t, nc, "served"); !resp.Close {
			w.t.Error("the client was not told that its connection closes")
		}
		e.wants(w.t, 0, time.Second, 3*time.Second+late) // it lingers
	})
}

func TestShutdownSendsGOAWAYOverHTTP2(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, o *port) {
		k := w.join("w1", 4)
		c := w.raw(http2.ClientPreface)
		fr := http2.NewFramer(c.nc, c.nc)
		if err := fr.WriteSettings(); err != nil {
			w.t.Fatal(err)
		}
		running := w.send(http.MethodPost, "/running", strings.NewReader("body"), over("HTTP/2"))
		call := k.request()
		e := o.end(time.Minute)
		said := false
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				break
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				said = said || g.ErrCode == http2.ErrCodeNo
			}
		}
		if !said {
			w.t.Error("the idle connection ended without GOAWAY")
		}
		time.Sleep(30 * time.Second)
		call.answer(200, "whole")
		running.wants(200, "whole")
		e.wants(w.t, 0, 30*time.Second, 30*time.Second+2*farewell) // GOAWAY comes after the farewell
	})
}
