package router_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// F5: once its time is over, no worker gets a request.
func TestF5ARequestWithoutTimeIsNotSent(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k, r := w.join("a", 4), w.rep(zmtp.Options{})
		for range 20 {
			w.send("POST", "/", strings.NewReader("x"), timeout("Request-Timeout", "0")).wants(504, "")
		}
		k.silent()
		if parts, ok := r.inbox.peek(); ok {
			t.Errorf("the REP got %q", parts)
		}
	})
}

// A handler that watches its deadline may return early, and what it has said by
// then look whole.
func TestAnAnswerThatEndsBehindTheDeadlineIsNone(t *testing.T) {
	for name, begun := range map[string]bool{"nothing was said": false, "the head was": true} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				for range 20 { // whether the alarm or the worker comes first is the scheduler's, and must not matter
					k := w.join("a", 4)
					p := w.get("/", timeout("Request-Timeout", "1"))
					c := k.request()
					if begun {
						c.head(200)
						p.head()
					}
					time.Sleep(time.Second)
					if begun {
						c.end()
						p.breaks()
						k.die()
						continue
					}
					c.answer(200, "")
					p.wants(504, "")
					k.die()
				}
			})
		})
	}
}

// F6: what Connection names is taken out on the way, so it means nothing here.
func TestF6AKeyThatConnectionNamesIsNone(t *testing.T) {
	for name, edit := range map[string]func(*http.Request){
		"named by Connection": func(req *http.Request) {
			key(req)
			req.Header.Set("Connection", "Idempotency-Key")
		},
		"of no characters": func(req *http.Request) { req.Header.Set("Idempotency-Key", `""`) },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				a, b := w.join("a", 4), w.join("b", 4)
				p := w.send("POST", "/", strings.NewReader("x"), edit)
				a.request()
				w.settle()
				a.die()
				p.wants(502, "may have been carried out")
				b.silent()
			})
		})
	}
	t.Run("nor is a timeout", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("a", 4)
			p := w.get("/", timeout("Request-Timeout", "1"), func(req *http.Request) { req.Header.Set("Connection", "Request-Timeout") })
			c := k.request()
			time.Sleep(2 * time.Second)
			c.answer(200, "in its own time")
			p.wants(200, "in its own time")
		})
	})
}

// F5: workers that come and drain in turn do not keep a request for ever.
func TestF5ARequestDoesNotMoveForEver(t *testing.T) {
	story(t, router.Config{QueueWait: 2 * time.Second}, func(w *world) {
		began := time.Now()
		p := w.get("/")
		for p.waiting() && time.Since(began) < time.Minute {
			k := w.native("a")
			k.instance += time.Now().String()
			k.join(1)
			w.settle()
			if _, ok := k.inbox.peek(); ok {
				time.Sleep(time.Second)
				k.goAway(0)
			}
			w.settle()
			k.die()
			time.Sleep(100 * time.Millisecond)
		}
		p.wants(503, "no worker became ready in time")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("503 after %v", took)
		}
	})
}

// A client that is told to try again must not find that its request was carried
// out.
func TestF2WantOfMemoryIsNoReasonToTryAgain(t *testing.T) {
	const most = 8 << 20
	var readers []*raw
	fill := func(w *world, k *worker) { // slow readers take the memory
		readers = nil
		for range crowd + 10 {
			readers = append(readers, w.raw("GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
			w.settle()
			for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
				if f := parse(w.t, parts); f.Type == frame.Headers {
					(&call{worker: k, Frame: f}).pour()
					w.settle()
				}
			}
		}
	}
	end := func(w *world, k *worker) {
		for _, c := range readers {
			_ = c.nc.Close()
		}
		k.die()
		w.settle()
	}
	for _, method := range []string{"POST", "GET"} {
		t.Run("a native worker's answer, "+method, func(t *testing.T) {
			story(t, router.Config{MaxMemory: most}, func(w *world) {
				k, own := w.join("slow", router.MaxConcurrency), w.native("own")
				fill(w, k)
				own.join(1)
				k.goAway(1 << 52)
				w.settle()
				client := w.raw(method + " /own HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				c := own.request()
				c.pour()
				got := ""
				for range 20 {
					more, _ := client.seen()
					got += more
				}
				if strings.HasPrefix(got, "HTTP/1.1 503") && method == "POST" {
					t.Errorf("the client got %.300q", got)
				}
				end(w, k)
				end(w, own)
			})
		})
	}
	t.Run("a REP's answer", func(t *testing.T) {
		story(t, router.Config{MaxMemory: most}, func(w *world) {
			k := w.join("slow", router.MaxConcurrency)
			fill(w, k)
			k.goAway(1 << 52)
			r := w.rep(zmtp.Options{})
			p := w.send("POST", "/", strings.NewReader("x"))
			r.task().reply("", strings.Repeat("x", 3<<20))
			resp := p.wants(502, "may have been carried out")
			if resp.Header.Get("Retry-After") != "" {
				t.Error("Retry-After of what was carried out")
			}
			end(w, k)
		})
	})
	t.Run("a REP that works", func(t *testing.T) {
		story(t, router.Config{MaxMemory: most}, func(w *world) {
			r := w.rep(zmtp.Options{})
			p := w.send("POST", "/", strings.NewReader(strings.Repeat("x", 4<<20)))
			j := r.task()
			k := w.join("slow", router.MaxConcurrency)
			fill(w, k)
			time.Sleep(10 * time.Second)
			more := w.get("/more")
			c := k.lastRequest()
			c.pour()
			w.settle()
			j.reply("", "done") // it was not given up meanwhile
			p.wants(200, "done")
			more.leave()
			end(w, k)
		})
	})
}

// lastRequest skips what is not a request.
func (k *worker) lastRequest() *call {
	k.t.Helper()
	for {
		if f := k.next(); f.Type == frame.Headers {
			return &call{worker: k, Frame: f}
		}
	}
}

// W16: bodies that trickle in for REP workers do not hold the memory against
// others for ever.
func TestW16UploadsThatTrickleMakeRoom(t *testing.T) {
	story(t, router.Config{MaxMemory: 8 << 20}, func(w *world) {
		r := w.rep(zmtp.Options{})
		first := w.get("/keeps-it-busy")
		busy := r.task()
		const size = 2 << 20
		var trickles []*raw
		for range 4 {
			c := w.raw("PUT /trickle HTTP/1.1\r\nHost: h\r\nContent-Length: " + "2097152" + "\r\n\r\n")
			trickles = append(trickles, c)
			w.wg.Go(func() { // it may be cut off
				for range size/(64<<10) - 1 {
					if _, err := c.nc.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			})
		}
		busy.reply("", "")
		first.wants(200, "")
		for range 12 { // a byte each second is no progress
			time.Sleep(time.Second)
			for _, c := range trickles {
				_ = c.nc.SetWriteDeadline(time.Now().Add(time.Millisecond))
				_, _ = c.nc.Write([]byte{0})
				_ = c.nc.SetWriteDeadline(time.Time{})
			}
		}
		if got := w.r.Streams().Memory; got > 7<<20 {
			t.Errorf("%d bytes are held by bodies that trickle", got)
		}
		for _, c := range trickles {
			_ = c.nc.Close()
		}
		r.die()
	})
}
