package router_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

func TestW5FramesOutOfPlace(t *testing.T) {
	for name, tc := range map[string]struct {
		send func(c *call)
		want string
	}{
		"DATA before HEADERS":   {func(c *call) { c.data("injected") }, "HTTP/1.1 502 "},
		"an end before HEADERS": {func(c *call) { c.end() }, "HTTP/1.1 502 "},
		"HEADERS twice": {func(c *call) {
			c.head(200)
			c.w.settle()
			c.head(404)
		}, ""},
		"trailers before HEADERS": {func(c *call) { c.headers("x-sum", "1") }, "HTTP/1.1 502 "},
		"no fields":               {func(c *call) { c.headers() }, "HTTP/1.1 502 "},
		"a total that is too large": {func(c *call) {
			c.send(frame.AppendHeaders(nil, c.Stream, fields(":status", "200"), true, 7), []byte("injec"))
		}, "HTTP/1.1 502 "},
		"a total that is too small": {func(c *call) {
			c.send(frame.AppendHeaders(nil, c.Stream, fields(":status", "200"), true, 3), []byte("injec"))
		}, "HTTP/1.1 502 "},
		"a request":                 {func(c *call) { c.headers(":method", "GET", ":path", "/") }, "HTTP/1.1 502 "},
		"a payload of 64 KiB and 1": {func(c *call) { c.send(frame.AppendData(nil, c.Stream, false, 0), make([]byte, frame.MaxPayload+1)) }, "HTTP/1.1 502 "},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				c := k.request()
				tc.send(c)
				got, closed := client.seen()
				if !strings.HasPrefix(got, tc.want) || strings.Contains(got, "injec") {
					t.Errorf("the client got %q", got)
				}
				if tc.want == "" && (!closed || strings.HasSuffix(got, "0\r\n\r\n")) {
					t.Errorf("the client got %q, closed: %v; it should break off", got, closed)
				}
				if w.r.Workers()[0].Busy == 1 {
					if f := c.next(); f.Type != frame.RSTStream || f.Code == http2.ErrCodeCancel {
						t.Errorf("the worker got %v %v", f.Type, f.Code)
					}
					c.reset(http2.ErrCodeCancel)
				}
				if !strings.Contains(w.log.String(), "worker broke the protocol") {
					t.Error("it was not logged")
				}
				p := w.get("/next")
				k.request().answer(200, "served")
				p.wants(200, "served")
			})
		})
	}
}

func TestW5WrongFramesThatEndTheStreamFreeTheSlot(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		for _, end := range []func(c *call){
			func(c *call) { c.send(frame.AppendData(nil, c.Stream, true, 0), make([]byte, frame.MaxPayload+1)) },
			func(c *call) { c.send(frame.AppendRSTStream(nil, c.Stream, 0, ""), make([]byte, frame.MaxPayload+1)) },
			func(c *call) { c.send(frame.AppendData(nil, c.Stream, true, 9)) },
			func(c *call) { c.answer(999, "") },
		} {
			p := w.get("/")
			end(k.request())
			p.wants(502, "")
			k.silent()
		}
		if st := w.r.Workers()[0]; st.Busy != 0 || st.Ended != 4 {
			t.Errorf("/workers: %+v", st)
		}
	})
}

func TestW5WhatFollowsTheEndIsDropped(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		p := w.get("/")
		c := k.request()
		c.answer(200, "once")
		c.answer(200, "twice")
		c.data("more")
		c.reset(http2.ErrCodeInternal)
		c.credit(1 << 30)
		p.wants(200, "once")
		w.settle()
		if st := w.r.Workers()[0]; st.Busy != 0 || st.Ended != 1 {
			t.Errorf("/workers: %+v", st)
		}
		if n := w.r.Streams().Dropped; n != 4 {
			t.Errorf("%d frames were counted as dropped, want 4", n)
		}
	})
}

func TestW6FramesForTheStreamsOfOthers(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b := w.join("a", 4), w.join("b", 4)
		p := w.get("/")
		c := a.request()
		n := 0
		for id := c.Stream - 500; id < c.Stream+500; id++ {
			forged := &call{worker: b, Frame: frame.Frame{Stream: id}}
			forged.answer(200, "forged")
			forged.reset(http2.ErrCodeInternal)
			n += 2
		}
		for id := uint64(1); id < 500; id++ {
			(&call{worker: b, Frame: frame.Frame{Stream: id}}).answer(200, "forged")
			n++
		}
		if !p.waiting() {
			t.Fatal("answered by another worker")
		}
		if got := w.r.Streams().Dropped; got != uint64(n) {
			t.Errorf("%d frames were counted as dropped, want %d", got, n)
		}
		c.answer(200, "true")
		p.wants(200, "true")
	})
}
