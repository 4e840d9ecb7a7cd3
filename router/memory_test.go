package router_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// pour answers with as much as the window allows.
func (c *call) pour() {
	c.t.Helper()
	c.head(200)
	for range frame.ResponseWindow / frame.MaxPayload {
		c.data(strings.Repeat("x", frame.MaxPayload))
	}
}

const crowd = 8 << 20 / (frame.ResponseWindow - 68<<10 - 64<<10) // clients that fill 8 MiB, beyond what each may hold and has in hand

// W16, H14: what slow clients leave unread is bounded for all of them together,
// and costs others nothing.
func TestW16WhatSlowClientsLeaveUnreadIsBounded(t *testing.T) {
	story(t, router.Config{MaxMemory: 8 << 20, ResponseTimeout: -1}, func(w *world) {
		k := w.join("a", router.MaxConcurrency)
		slow, stopped := map[uint64]*raw{}, map[uint64]bool{}
		next := func() *call { // and whom the router stops meanwhile
			t.Helper()
			for {
				f := k.next()
				if f.Type == frame.Headers {
					return &call{worker: k, Frame: f}
				}
				if f.Type == frame.WindowUpdate { // for who reads
					continue
				}
				if f.Type != frame.RSTStream || f.Code != http2.ErrCodeEnhanceYourCalm {
					t.Fatalf("the worker got %v %v", f.Type, f.Code)
				}
				stopped[f.Stream] = true
			}
		}
		var calls []*call
		for range 2 * crowd {
			client := w.raw("GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			c := next()
			slow[c.Stream], calls = client, append(calls, c)
			c.pour()
			w.settle()
			if got := w.r.Streams().Memory; got > 8<<20 {
				t.Fatalf("%d bytes are held", got)
			}
		}
		p := w.get("/small")
		next().answer(200, strings.Repeat("y", 64<<10))
		p.wants(200, "yyy")
		cut := stopped // there was no memory, and nobody had been slow for long
		if len(cut) == 0 || len(cut) > crowd+crowd/2 {
			t.Errorf("%d of %d answers were cut", len(cut), 2*crowd)
		}

		// Whoever has taken nothing for five seconds makes room.
		time.Sleep(6 * time.Second)
		stopped = map[uint64]bool{}
		p = w.get("/large")
		c := next()
		c.pour()
		w.settle()
		last := w.get("/last")
		next().answer(200, "last")
		last.wants(200, "last")
		if len(stopped) == 0 || stopped[c.Stream] {
			t.Errorf("%v made room for %d", stopped, c.Stream)
		}
		c.end()
		p.wants(200, "xxx")
		for _, c := range calls {
			if cut[c.Stream] || stopped[c.Stream] {
				if got, _ := slow[c.Stream].seen(); strings.HasSuffix(got, "\r\n0\r\n\r\n") {
					t.Errorf("an answer that was cut looks whole: %d bytes", len(got))
				}
				c.reset(http2.ErrCodeCancel)
				continue
			}
			_ = slow[c.Stream].nc.Close()
			c.end()
		}
	})
}

// A worker that has done its part frees itself; the answer still counts.
func TestW16AnswersThatAreWholeCountUntilTheyAreRead(t *testing.T) {
	story(t, router.Config{MaxMemory: 8 << 20}, func(w *world) {
		k := w.join("a", router.MaxConcurrency)
		const some = crowd * 3 / 4 // each holds more for an instant
		var slow []*raw
		for range some {
			slow = append(slow, w.raw("GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
			c := k.request()
			c.pour()
			c.end()
			w.settle()
		}
		full := w.r.Streams()
		if full.Open != 0 || full.Done != some || full.Memory < 4<<20 {
			t.Errorf("/streams: %+v", full)
		}
		for _, c := range slow[:some/2] {
			c.all()
		}
		w.settle()
		if got := w.r.Streams().Memory; got > full.Memory*2/3 {
			t.Errorf("half of the answers were read, and of %d bytes %d are held", full.Memory, got)
		}
		for _, c := range slow[some/2:] {
			c.all()
		}
	})
}
