package router_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

func TestAWorkerThatComesServesWhatWaits(t *testing.T) {
	for _, kind := range []string{"DEALER", "REP"} {
		t.Run(kind, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				p := w.get("/")
				begin := time.Now()
				time.Sleep(2 * time.Second)
				if !p.waiting() {
					t.Fatal("answered without a worker")
				}
				if table := w.r.Streams(); table.Waiting != 1 || table.Streams[0].State != "waiting" {
					t.Errorf("/streams: %+v", table)
				}
				if kind == "REP" {
					w.rep(zmtp.Options{}).task().reply("", "at last")
				} else {
					w.join("w1", 1).request().answer(200, "at last")
				}
				p.wants(200, "at last")
				if waited := time.Since(begin); waited != 2*time.Second {
					t.Errorf("served after %v", waited)
				}
			})
		})
	}
}

func TestNoWorkerIn5SecondsIs503(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		begin := time.Now()
		resp := w.get("/").wants(503, "no worker became ready")
		if waited := time.Since(begin); waited != router.DefaultQueueWait {
			t.Errorf("503 after %v", waited)
		}
		if resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		w.join("late", 4).silent()
	})
}

func TestTheWaitingRoomIsBounded(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		var waiting []*raw
		for i := range router.DefaultQueueLimit {
			waiting = append(waiting, w.raw(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)))
			w.settle()
		}
		begin := time.Now()
		resp := w.get("/one-too-many").wants(503, "too many requests wait")
		if time.Since(begin) != 0 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("503 after %v, with Retry-After %q", time.Since(begin), resp.Header.Get("Retry-After"))
		}
		k := w.join("w1", 1)
		for i := range waiting { // in the order in which they came
			c := k.request()
			if got := c.get(":path"); got != fmt.Sprintf("/%d", i) {
				t.Fatalf("%s came as number %d", got, i)
			}
			c.answer(204, "")
		}
		w.settle()
	})
}

func TestWithoutAWaitingRoomEachGets503AtOnce(t *testing.T) {
	story(t, router.Config{QueueLimit: -1}, func(w *world) {
		begin := time.Now()
		w.get("/").wants(503, "")
		if time.Since(begin) != 0 {
			t.Errorf("after %v", time.Since(begin))
		}
		k := w.join("w1", 1)
		p := w.get("/served")
		k.request().answer(200, "yes")
		p.wants(200, "yes")
	})
}

func TestWhoWaitsIsServedInOrder(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		var all []*pending
		for i := range 5 {
			all = append(all, w.get(fmt.Sprintf("/%d", i)))
			w.settle()
		}
		var order []string
		for _, p := range all {
			c := k.request()
			k.silent()
			order = append(order, c.get(":path"))
			c.answer(200, "")
			p.wants(200, "")
		}
		if !slices.IsSorted(order) {
			t.Errorf("served in the order %v", order)
		}
	})
}

// A request that only a native worker can serve does not hold up those behind
// it that a REP can.
func TestNativeOnlyRequestsDoNotBlockTheOthers(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		native := w.join("native", 1)
		r := w.rep(zmtp.Options{})
		busy := w.get("/1")
		c := native.request()
		busyREP := w.get("/2")
		j := r.task()
		long := w.send("POST", "/upload", endless{}) // of unknown length
		w.settle()
		short := w.get("/short")
		w.settle()
		j.reply("", "")
		busyREP.wants(200, "")
		r.task().reply("", "from the REP")
		short.wants(200, "from the REP")
		if !long.waiting() {
			t.Error("the upload went to a REP")
		}
		c.answer(200, "")
		busy.wants(200, "")
		c = native.request()
		if c.get(":path") != "/upload" {
			t.Errorf("the native worker got %s", c.get(":path"))
		}
		c.answer(200, "enough")
		long.wants(200, "enough")
	})
}

// endless is a body that goes on until nobody wants more.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// F5: Retry-After is how long those who wait now will take, at the pace that they go.
func TestF5RetryAfterFollowsFromThePace(t *testing.T) {
	for name, tc := range map[string]struct {
		pause       time.Duration // of the worker, for each request
		least, most int
	}{
		"a fast worker":         {10 * time.Millisecond, 1, 1},
		"a slow worker":         {200 * time.Millisecond, 8, 13}, // 50 wait, and five a second go
		"a very slow worker":    {time.Second, 25, 60},
		"none":                  {0, 9, 9}, // as long as one may wait
		"one that hardly moves": {40 * time.Second, 9, 9},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{QueueLimit: 50, QueueWait: 9 * time.Second}, func(w *world) {
				ended := make(chan struct{})
				if tc.pause > 0 {
					k := w.join("a", 1)
					w.wg.Go(func() {
						for parts, ok := k.inbox.take(ended); ok; parts, ok = k.inbox.take(ended) {
							f := parse(t, parts)
							time.Sleep(tc.pause)
							if f.Type == frame.Headers {
								(&call{worker: k, Frame: f}).answer(200, "")
							}
						}
					})
				}
				time.Sleep(time.Second - time.Duration(time.Now().Nanosecond())) // so that whole seconds are counted
				var clients []*raw
				ask := func() *raw {
					c := w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
					clients = append(clients, c)
					return c
				}
				for w.r.Streams().Waiting < 50 {
					ask()
					w.settle()
				}
				for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(tc.pause/10 + time.Millisecond) {
					for w.settle(); w.r.Streams().Waiting < 50; w.settle() {
						ask()
					}
				}
				for w.settle(); w.r.Streams().Waiting < 50; w.settle() {
					ask()
				}
				got, _ := ask().seen()
				_, after, _ := strings.Cut(got, "\r\nRetry-After: ")
				after, _, _ = strings.Cut(after, "\r\n")
				if n, err := strconv.Atoi(after); err != nil || n < tc.least || n > tc.most || !strings.HasPrefix(got, "HTTP/1.1 503 ") {
					t.Errorf("the client got %q, want 503 and Retry-After from %d to %d", got, tc.least, tc.most)
				}
				for _, c := range clients {
					_ = c.nc.Close()
				}
				time.Sleep(time.Minute)
				close(ended)
			})
		})
	}
}
