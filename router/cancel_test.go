package router_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

func TestH15AClientThatLeavesWhileItWaits(t *testing.T) {
	for _, body := range []string{"", "small"} {
		t.Run("body "+body, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				p := w.send("POST", "/left", strings.NewReader(body))
				w.settle()
				p.leave()
				w.settle()
				if n := w.r.Streams().Waiting; n != 0 {
					t.Errorf("%d requests wait", n)
				}
				if !strings.Contains(w.log.String(), `msg="client left" status=499 method=POST target=/left`) {
					t.Error("no 499 in the log")
				}
				w.join("w1", 4).silent()
			})
		})
	}
}

func TestH15AClientThatBreaksItsBodyOffWhileItWaits(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		c := w.raw("POST /left HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
		w.settle()
		_ = c.nc.Close()
		w.settle()
		if n := w.r.Streams().Waiting; n != 0 {
			t.Errorf("%d requests wait", n)
		}
		w.join("w1", 4).silent()
	})
}

// The slot of a request that was cancelled stays taken until the worker has
// ended the stream.
func TestH15AClientThatLeavesBeforeTheHead(t *testing.T) {
	for how, end := range map[string]func(c *call){
		"reset":  func(c *call) { c.reset(http2.ErrCodeCancel) },
		"answer": func(c *call) { c.answer(200, "too late") },
		"parts": func(c *call) {
			c.head(200)
			c.data("too late")
			c.end()
		},
	} {
		t.Run(how, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				p := w.get("/left")
				c := k.request()
				p.leave()
				c.cancelled(http2.ErrCodeCancel)
				next := w.get("/next")
				k.silent()
				if st := w.r.Workers()[0]; st.Busy != 1 {
					t.Errorf("the worker has %d streams; it has not ended the one", st.Busy)
				}
				if table := w.r.Streams(); table.Open != 1 || table.Streams[1].State != "cancelled" {
					t.Errorf("/streams: %+v", table)
				}
				end(c)
				k.request().answer(200, "served")
				next.wants(200, "served")
				if dropped := w.r.Streams().Dropped; dropped != 0 {
					t.Errorf("%d frames were counted as strange", dropped)
				}
			})
		})
	}
}

func TestH15AClientThatLeavesAmidTheResponse(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/left")
		c := k.request()
		c.head(200)
		c.data("first")
		p.head()
		p.leave()
		c.cancelled(http2.ErrCodeCancel)
		c.data("more")
		c.end()
		w.settle()
		if st := w.r.Workers()[0]; st.Busy != 0 {
			t.Errorf("%d streams after the end", st.Busy)
		}
	})
}

func TestH15AClientThatLeavesAmidItsUpload(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		raw := w.raw("POST /left HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
		w.settle()
		_ = raw.nc.Close()
		c := k.request()
		if string(c.Payload) != "half" {
			if f := k.next(); string(f.Payload) != "half" {
				t.Errorf("the body came as %q", f.Payload)
			}
		}
		c.cancelled(http2.ErrCodeCancel)
		c.reset(http2.ErrCodeCancel)
	})
}

// A request whose small body nobody has read tells of its client's leaving.
func TestH15AClientThatLeavesWithItsSmallBodyUnread(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.send("POST", "/left", strings.NewReader(strings.Repeat("x", 60<<10)))
		c := k.request()
		w.settle()
		p.leave()
		for f := k.next(); f.Type != frame.RSTStream; f = k.next() {
			if f.Type != frame.Data {
				t.Fatalf("got %v, want the body and RST_STREAM", f.Type)
			}
		}
		c.reset(http2.ErrCodeCancel)
	})
}

// stuff makes a worker that reads nothing, and sends it so much that what
// comes behind stays in its queue.
func stuff(w *world, k *worker) (stuffing []*pending) {
	k.nc.freeze(true)
	for range 2 {
		stuffing = append(stuffing, w.send("PUT", "/stuffing", strings.NewReader(strings.Repeat("x", 64<<10))))
		w.settle()
	}
	return stuffing
}

func TestARequestThatHasNotLeftTheQueueIsNeverSent(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 8)
		before := stuff(w, k)
		p := w.get("/left")
		w.settle()
		if open := w.r.Streams().Open; open != 3 {
			t.Fatalf("%d streams are open, want 3", open)
		}
		p.leave()
		w.settle()
		if open := w.r.Streams().Open; open != 2 {
			t.Errorf("%d streams are open: the worker owes nothing for one that it never hears of", open)
		}
		k.nc.freeze(false)
		calls, _ := k.requests(2)
		for _, c := range calls {
			c.answer(200, "")
		}
		for _, p := range before {
			p.wants(200, "")
		}
		k.silent()
	})
}

// What is queued of a body goes with its stream.
func TestTheQueuedBodyOfACancelledRequestIsNotSent(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 8)
		p := w.send("POST", "/left", endless{})
		c := k.request()
		w.settle()
		k.nc.freeze(true)
		c.credit(10 << 20)
		w.settle()
		p.leave()
		w.settle()
		k.nc.freeze(false)
		w.settle()
		var f frame.Frame
		for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
			f = parse(t, parts)
		}
		if f.Type != frame.RSTStream || f.Code != http2.ErrCodeCancel {
			t.Errorf("the last that came is %v; RST_STREAM overtakes the body, and none of it may follow", f.Type)
		}
		c.reset(http2.ErrCodeCancel)
	})
}
