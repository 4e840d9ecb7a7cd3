package router_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

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
