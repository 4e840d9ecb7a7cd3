package router_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// stalled is a client that says it has 8 MiB and sends one byte.
func (w *world) stalled(path string) *raw {
	w.t.Helper()
	c := w.raw("POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 8388608\r\n\r\nx")
	w.settle()
	return c
}

// states counts the requests in the stream table by state.
func (w *world) states() map[string]int {
	w.settle()
	count := map[string]int{}
	for _, s := range w.r.Streams().Streams {
		count[s.State]++
	}
	return count
}

func ofSize(n int) io.Reader { return strings.NewReader(strings.Repeat("x", n)) }

// What a client says that it will send takes nothing from the others.
func TestStalledUploadsTakeNothingFromTheBudget(t *testing.T) {
	story(t, router.Config{MaxMemory: 8 << 20}, func(w *world) {
		k := w.rep(zmtp.Options{})
		var all []*raw
		for i := range 50 {
			all = append(all, w.stalled(fmt.Sprint("/", i)))
		}
		if got := w.states(); got["gathering"] != 50 {
			t.Errorf("/streams: %v; 50 bodies are being gathered", got)
		}
		p := w.send("POST", "/whole", ofSize(1<<20))
		if j := k.task(); len(j.body) != 1<<20 {
			t.Errorf("%d bytes came", len(j.body))
		} else {
			j.reply("", "served")
		}
		p.wants(200, "served")

		time.Sleep(29 * time.Second)
		if got := w.states(); got["gathering"] != 50 {
			t.Errorf("/streams after 29 s: %v", got)
		}
		time.Sleep(time.Second)
		for _, c := range all {
			if got, _ := c.seen(); !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.Contains(got, "Connection: close\r\n") {
				t.Fatalf("after 30 s the client got %q", got)
			}
		}
		if got := w.states(); got["gathering"] != 0 {
			t.Errorf("/streams after 30 s: %v", got)
		}
		p = w.send("POST", "/again", ofSize(8<<20))
		k.task().reply("", "served")
		p.wants(200, "served")
	})
}

func TestTheGatheringBudget(t *testing.T) {
	story(t, router.Config{MaxMemory: 2 << 20}, func(w *world) {
		k := w.rep(zmtp.Options{})
		r, body := io.Pipe()
		first := w.send("POST", "/first", r, contentLength(2<<20))
		_, _ = body.Write(make([]byte, 3<<19)) // 1.5 MiB, which really come
		w.settle()
		resp := w.send("POST", "/second", ofSize(1<<20)).wants(503, "too much memory")
		if resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		for range 20 { // what is kept anyway costs nothing
			small := w.send("POST", "/small", ofSize(64<<10))
			k.task().reply("", "")
			small.wants(200, "")
		}
		first.leave()
		w.settle()
		for range 3 { // what is over is given back
			again := w.send("POST", "/again", ofSize(2<<20))
			k.task().reply("", "")
			again.wants(200, "")
		}
	})
}

// A body that comes slowly is not one that stopped.
func TestABodyThatComesSlowlyIsGathered(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.rep(zmtp.Options{})
		c := w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
		for range 10 {
			time.Sleep(29 * time.Second)
			c.write("x")
		}
		j := k.task()
		if j.body != "xxxxxxxxxx" {
			t.Errorf("body %q", j.body)
		}
		j.reply("", "at last")
		if got, _ := c.seen(); !strings.HasSuffix(got, "at last") {
			t.Errorf("the client got %q", got)
		}
	})
}

// They wait for their clients, not for a worker: they have a room of their own.
func TestBodiesThatAreGatheredAreBoundedInNumber(t *testing.T) {
	story(t, router.Config{QueueLimit: 10}, func(w *world) {
		k := w.rep(zmtp.Options{})
		var all []*raw
		for range router.DefaultQueueLimit {
			all = append(all, w.stalled("/slow"))
		}
		if got := w.states(); got["gathering"] != router.DefaultQueueLimit || len(got) != 1 {
			t.Fatalf("/streams: %v", got)
		}
		if got, _ := w.stalled("/one-too-many").seen(); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Errorf("one too many got %q", got)
		}
		busy := w.get("/busy")
		j := k.task()
		var waiting []*pending
		for range 10 {
			waiting = append(waiting, w.get("/waits"))
		}
		if got := w.states(); got["waiting"] != 10 {
			t.Errorf("/streams: %v; the waiting room has 10 places", got)
		}
		w.get("/").wants(503, "too many requests wait")
		j.reply("", "")
		busy.wants(200, "")
		for range waiting {
			k.task().reply("", "")
		}
		for _, p := range waiting {
			p.wants(200, "")
		}
		for _, c := range all {
			_ = c.nc.Close()
		}
		if got := w.states(); len(got) != 0 {
			t.Errorf("/streams, when all have left: %v", got)
		}
	})
}

// Whose body is gathered keeps the place that it came to.
func TestGatheredBodiesAreServedInOrderOfArrival(t *testing.T) {
	for name, finish := range map[string][]int{"first to last": {0, 1, 2}, "last to first": {2, 1, 0}} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{QueueLimit: 10}, func(w *world) {
				k := w.rep(zmtp.Options{})
				var all []*pending
				var bodies []*io.PipeWriter
				for i := range 3 {
					r, body := io.Pipe()
					all = append(all, w.send("POST", fmt.Sprint("/", i), r))
					bodies = append(bodies, body)
					w.settle()
				}
				busy := w.get("/busy")
				j := k.task()
				all = append(all, w.get("/3"))
				if got := w.states(); got["gathering"] != 3 || got["waiting"] != 1 {
					t.Fatalf("/streams: %v", got)
				}
				for _, i := range finish {
					_, _ = fmt.Fprint(bodies[i], i)
					_ = bodies[i].Close()
					w.settle()
				}
				if got := w.states(); got["gathering"] != 0 || got["waiting"] != 4 {
					t.Fatalf("/streams: %v", got)
				}
				j.reply("", "")
				busy.wants(200, "")
				var order []string
				for i := range 4 {
					j := k.task()
					order = append(order, pathOf(t, j))
					j.reply("", "")
					w.settle()
					all[i].wants(200, "")
				}
				if !slices.IsSorted(order) {
					t.Errorf("served in the order %v", order)
				}
			})
		})
	}
}

// A request of unknown length went to a native worker because one was there.
func TestARequestOfUnknownLengthMovesToAREP(t *testing.T) {
	const chunked = "PUT /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	const rest = "0\r\n\r\n"
	for name, tell := range map[string]func(w *world, native *worker, idle func() *worker) *raw{
		"whole when the worker dies": func(w *world, native *worker, idle func() *worker) *raw {
			c := w.raw(chunked + rest)
			native.request()
			idle()
			native.die()
			return c
		},
		"whole only later": func(w *world, native *worker, idle func() *worker) *raw {
			c := w.raw(chunked)
			native.request()
			r := idle()
			native.die()
			r.silent()
			c.write(rest)
			return c
		},
		"waiting when the last native worker dies": func(w *world, native *worker, idle func() *worker) *raw {
			p := w.get("/busy")
			native.request()
			c := w.raw(chunked + rest)
			r := idle()
			r.silent()
			p.leave() // else it would move to the REP, and be first
			w.settle()
			native.die()
			return c
		},
		"waiting when the last native worker drains": func(w *world, native *worker, idle func() *worker) *raw {
			p := w.get("/busy")
			busy := native.request()
			c := w.raw(chunked + rest)
			idle().silent()
			native.goAway(busy.Stream)
			w.settle()
			busy.answer(200, "")
			p.wants(200, "")
			return c
		},
		"waiting when the first REP comes": func(w *world, native *worker, idle func() *worker) *raw {
			p := w.get("/busy")
			busy := native.request()
			c := w.raw(chunked + rest)
			w.settle()
			busy.answer(200, "")
			native.request()
			p.wants(200, "")
			native.die()
			w.settle()
			idle()
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				var r *worker
				c := tell(w, w.join("native", 1), func() *worker {
					r = w.rep(zmtp.Options{})
					return r
				})
				begin := time.Now()
				j := r.task()
				for pathOf(t, j) == "/busy" { // that has moved, too
					j.reply("", "")
					j = r.task()
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("it came after %v", took)
				}
				if j.body != "hello" || pathOf(t, j) != "/chunked" {
					t.Errorf("the REP got %s %q", pathOf(t, j), j.body)
				}
				j.reply("", "served")
				if got, _ := c.seen(); !strings.HasSuffix(got, "served") {
					t.Errorf("the client got %q", got)
				}
			})
		})
	}
}

// What no REP can serve hears of it when the last native worker goes.
func TestWhatOnlyANativeWorkerCanServeIsAnsweredWhenTheLastIsGone(t *testing.T) {
	for name, tc := range map[string]struct {
		request string
		want    string
	}{
		"too large": {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8388609\r\n\r\n", "HTTP/1.1 413 "},
		"trailers":  {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nX-Sum: 1\r\n\r\n", "HTTP/1.1 503 "},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{QueueWait: time.Hour}, func(w *world) {
				k := w.join("native", 1)
				busy := w.get("/busy")
				b := k.request()
				r := w.rep(zmtp.Options{})
				c := w.raw(tc.request)
				w.settle()
				k.goAway(b.Stream)
				if got, _ := c.seen(); !strings.HasPrefix(got, tc.want) {
					t.Errorf("the client got %q, want %q", got, tc.want)
				}
				b.answer(200, "")
				busy.wants(200, "")
				r.silent()
			})
		})
	}
}
