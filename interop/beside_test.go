package interop

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestW14OthersNextToAFrozenWorker and its sibling measure what a worker that
// says nothing any more costs the requests of the others, from the fault until
// the heartbeat has noticed: their p99 stays within twice what it was right
// before. Rounds with and without the fault take turns; each is ten batches of
// requests, and what is compared is the lower quartile of all batches' p99: a
// machine that is busy with something else spoils batches, on either side, and
// never makes one better.
func TestW14OthersNextToAFrozenWorker(t *testing.T) {
	beside(t, 5, func(_ *relay, w *process) { w.freeze(t) }, func(_ *relay, w *process) { w.thaw() })
}

func TestW15OthersNextToAHalfOpenPath(t *testing.T) {
	beside(t, 3, func(path *relay, _ *process) { path.deaf.Store(true) }, func(path *relay, _ *process) { path.deaf.Store(false) })
}

func beside(t *testing.T, rounds int, fall, rise func(*relay, *process)) {
	r := startRouter(t)
	startWorker(t, honest, nil, r.endpoint())
	path := startRelay(t, r.port)
	w := startWorker(t, "gone", []string{"-concurrency", "1"}, path.endpoint())
	r.awaitWorkers(honest, "gone")
	c := newClient(r.addr)
	defer c.close()
	p99 := func(n int) time.Duration {
		var took []time.Duration
		for len(took) < n {
			nonce := newNonce()
			begin := time.Now()
			a := c.do(getNonce(nonce))
			if a.status != http.StatusOK || a.err != nil || string(a.body) != string(proof(nonce)) {
				t.Fatalf("beside the fault: %+v", a)
			}
			if a.header.Get("Dialmux-Worker") == honest {
				took = append(took, time.Since(begin))
			}
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	p99(200) // warms up
	var before, during []time.Duration
	batches := func(to *[]time.Duration) {
		for range 10 {
			*to = append(*to, p99(200))
		}
	}
	measure := func() {
		batches(&before)
		fall(path, w)
		// One request goes there and takes its only slot, so that all others are the honest worker's.
		var stuck sync.WaitGroup
		for taken := false; !taken; {
			stuck.Go(func() {
				if a := once(r.addr, get("/nonce?n=stuck")); a.status != http.StatusOK {
					t.Errorf("the request that the worker had: %+v", a)
				}
			})
			eventually(t, "it was answered, or is stuck", func() bool {
				busy := r.find("gone")
				taken = busy != nil && busy.Busy == 1
				return taken || r.streams().Open == 0
			})
		}
		batches(&during)
		if r.find("gone") == nil {
			t.Log("the heartbeat noticed before the round was over")
		}
		rise(path, w)
		stuck.Wait()
		eventually(t, "it is ready again", func() bool { return r.find("gone", "ready") != nil })
	}
	for range rounds {
		measure()
	}
	quartile := func(all []time.Duration) time.Duration {
		sorted := slices.Sorted(slices.Values(all))
		return sorted[len(sorted)/4]
	}
	ratio := func() float64 { return float64(quartile(during)) / float64(quartile(before)) }
	if ratio() > 2 { // more of both, before it counts
		for range rounds {
			measure()
		}
	}
	t.Logf("p99 of the honest worker's requests: %v during the fault, %v before it: %.2f times, in the quartile of %d batches of 200 each",
		quartile(during), quartile(before), ratio(), len(before))
	if ratio() > 2 {
		t.Errorf("the p99 beside the fault is %.2f times what it was, want 2 at most", ratio())
	}
	r.awaitIdle()
}
