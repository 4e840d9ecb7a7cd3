package router_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// serveOne lets whichever worker got the request answer it.
func serveOne(t *testing.T, w *world, workers ...*worker) string {
	t.Helper()
	p := w.get("/")
	w.settle()
	for _, k := range workers {
		if parts, ok := k.inbox.peek(); ok {
			(&call{worker: k, Frame: parse(t, parts)}).answer(200, "")
			p.wants(200, "")
			return k.name
		}
	}
	t.Fatal("no worker got the request")
	return ""
}

func TestRoundRobin(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b, c := w.join("a", 9), w.join("b", 9), w.join("c", 9)
		got := ""
		for range 9 {
			got += serveOne(t, w, a, b, c)
		}
		if got != "abcabcabc" {
			t.Errorf("served by %s, want abcabcabc", got)
		}
		b.die()
		w.settle()
		d := w.join("d", 9)
		counts := map[string]int{}
		for range 30 {
			counts[serveOne(t, w, a, c, d)]++
		}
		if want := map[string]int{"a": 10, "c": 10, "d": 10}; !maps.Equal(counts, want) {
			t.Errorf("after b left and d came: %v", counts)
		}
	})
}

func TestRoundRobinOverRunningRequests(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		var workers []*worker
		for i := range 7 {
			workers = append(workers, w.join(fmt.Sprintf("w%d", i), 64))
		}
		var all []*pending
		for range 70 {
			all = append(all, w.get("/"))
		}
		w.settle()
		for _, k := range workers {
			for range 10 {
				k.request().answer(200, "")
			}
			k.silent()
		}
		for _, p := range all {
			p.wants(200, "")
		}
	})
}

func TestOnlyFreeConcurrencyIsUsed(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		small, large := w.join("small", 1), w.join("large", 4)
		var all []*pending
		for range 6 {
			all = append(all, w.get("/"))
			w.settle()
		}
		calls := []*call{small.request(), large.request(), large.request(), large.request(), large.request()}
		small.silent()
		large.silent()
		states := w.r.Workers()
		if states[0].State != "busy" || states[0].Busy != 1 || states[1].State != "busy" || states[1].Busy != 4 {
			t.Errorf("/workers: %+v", states)
		}
		calls[4].answer(200, "")
		large.request().answer(200, "") // the sixth
		for _, c := range calls[:4] {
			c.answer(200, "")
		}
		for _, p := range all {
			p.wants(200, "")
		}
		w.settle()
		if st := w.r.Workers()[1]; st.State != "ready" || st.Busy != 0 || st.Ended != 5 {
			t.Errorf("/workers: %+v", st)
		}
	})
}

func TestConcurrencyIsCapped(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		w.join("greedy", 1<<40)
		w.join("modest", 0)
		states := w.r.Workers()
		if states[0].Concurrency != router.MaxConcurrency || states[1].Concurrency != 1 {
			t.Errorf("concurrency %d and %d, want %d and 1", states[0].Concurrency, states[1].Concurrency, router.MaxConcurrency)
		}
	})
}

func TestREPAndNativeWorkersTakeTurns(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		r, k := w.rep(zmtp.Options{}), w.join("native", 8)
		for range 4 {
			p := w.get("/")
			r.task().reply("", "rep")
			p.wants(200, "rep")
			p = w.get("/")
			k.request().answer(200, "native")
			p.wants(200, "native")
		}
	})
}
