package router_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// weighted joins a worker that announces a weight and a balance.
func (w *world) weighted(name string, weight uint64, balance string) *worker {
	w.t.Helper()
	k := w.native(name)
	k.join(64, func(info *frame.JoinInfo) { info.Weight, info.Balance = weight, balance })
	w.settle()
	return k
}

func TestWeightsAreTurns(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b, c := w.weighted("a", 3, ""), w.weighted("b", 1, ""), w.weighted("c", 0, "")
		got := ""
		for range 10 {
			got += serveOne(t, w, a, b, c)
		}
		if got != "aaabcaaabc" {
			t.Errorf("served by %s, want aaabcaaabc", got)
		}
	})
}

// Whoever wants it, the router or a worker, requests go where the fewest run.
func TestLeastGoesWhereTheFewestRun(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg     router.Config
		balance string
	}{
		"the router's flag":      {router.Config{Balance: router.Least}, ""},
		"the worker's JOIN":      {router.Config{}, "least"},
		"JOIN outranks the flag": {router.Config{Balance: router.RoundRobin}, "least"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, tc.cfg, func(w *world) {
				a, b, c := w.weighted("a", 1, tc.balance), w.weighted("b", 1, tc.balance), w.weighted("c", 2, tc.balance)
				var all []*pending
				send := func(n int) {
					for range n {
						all = append(all, w.get("/"))
						w.settle()
					}
				}
				send(8)
				calls := map[*worker][]*call{}
				take := func() string {
					var got []string
					for _, k := range []*worker{a, b, c} {
						for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
							calls[k] = append(calls[k], &call{worker: k, Frame: parse(t, parts)})
						}
						got = append(got, fmt.Sprint(len(calls[k])))
					}
					return strings.Join(got, " ")
				}
				if got := take(); got != "2 2 4" {
					t.Errorf("8 requests went to a, b and c: %s, want 2 2 4 by their weights", got)
				}
				for range 2 { // b is done, and gets what comes
					calls[b][0].answer(200, "")
					calls[b] = calls[b][1:]
				}
				w.settle()
				send(2)
				if got := take(); got != "2 2 4" {
					t.Errorf("after b had none: %s", got)
				}
				for _, k := range []*worker{a, b, c} {
					for _, c := range calls[k] {
						c.answer(200, "")
					}
				}
				for _, p := range all {
					p.wants(200, "")
				}
				turns := map[string]int{} // idle ones take turns
				for range 9 {
					turns[serveOne(t, w, a, b, c)]++
				}
				if turns["a"] != 3 || turns["b"] != 3 || turns["c"] != 3 {
					t.Errorf("idle, they got %v", turns)
				}
			})
		})
	}
}

// What a fresh worker weighs grows from a tenth, whatever it weighs in the end and however one is chosen.
func TestAFreshWorkerStartsSlowly(t *testing.T) {
	for _, tc := range []struct {
		balance router.Balance
		weight  uint64
	}{{router.RoundRobin, 1}, {router.RoundRobin, 4}, {router.Least, 1}, {router.Least, 4}} {
		t.Run(fmt.Sprintf("%s, weight %d", tc.balance, tc.weight), func(t *testing.T) {
			story(t, router.Config{SlowStart: 10 * time.Second, Balance: tc.balance}, func(w *world) {
				a := w.weighted("a", tc.weight, "")
				if serveOne(t, w, a) != "a" { // alone it gets all
					t.Fatal("who is alone was passed over")
				}
				time.Sleep(time.Minute)
				b := w.weighted("b", tc.weight, "")
				const requests = 200
				count := func() (percent int) {
					for range requests {
						if serveOne(t, w, a, b) == "b" {
							percent++
						}
					}
					return percent * 100 / requests
				}
				if n := count(); n < 5 || n > 15 {
					t.Errorf("at first it got %d of 100", n)
				}
				time.Sleep(5 * time.Second)
				if n := count(); n < 28 || n > 38 {
					t.Errorf("at half of its time it got %d of 100", n)
				}
				b.join(64, func(info *frame.JoinInfo) { info.Weight = tc.weight }) // which makes it no fresher
				w.settle()
				if n := count(); n < 28 || n > 38 {
					t.Errorf("after it had announced itself again it got %d of 100", n)
				}
				time.Sleep(5 * time.Second)
				if n := count(); n != 50 {
					t.Errorf("after its time it got %d of 100", n)
				}
			})
		})
	}
}

// So do several whose weights are not those of the others. By `least` idle workers serve in turn, whatever their weight, and so a fresh
// one's share is of such turns.
func TestFreshWorkersOfOtherWeightsStartSlowly(t *testing.T) {
	for balance, shares := range map[router.Balance]map[float64][3]int{ // of a, b, and each fresh one, in 400 requests
		router.Least: {0.5: {80, 80, 40}, 0.95: {52, 52, 49}, 1: {50, 50, 50}},
		// of weights 1, 3 and 4
		router.RoundRobin: {0.5: {25, 75, 50}, 0.95: {15, 45, 57}, 1: {14, 43, 57}},
	} {
		t.Run(string(balance), func(t *testing.T) {
			story(t, router.Config{SlowStart: 10 * time.Second, Balance: balance}, func(w *world) {
				all := []*worker{w.weighted("a", 1, ""), w.weighted("b", 3, "")}
				time.Sleep(time.Minute)
				began := time.Now()
				for i := range 6 {
					all = append(all, w.weighted(fmt.Sprint("fresh", i), 4, ""))
				}
				for _, part := range []float64{0.5, 0.95, 1} {
					time.Sleep(time.Until(began.Add(time.Duration(part * float64(10*time.Second)))))
					got := map[string]int{}
					for range 400 {
						got[serveOne(t, w, all...)]++
					}
					for _, k := range all {
						want := shares[part][2]
						if i := strings.Index("ab", k.name); i >= 0 {
							want = shares[part][i]
						}
						if n := got[k.name]; n < want-4 || n > want+4 {
							t.Errorf("at %g of its time %s got %d of 400, want %d", part, k.name, n, want)
						}
					}
				}
			})
		})
	}
}

// So it does where many requests run at once, and those that last do not hold up its growth.
func TestAFreshWorkerStartsSlowlyAmidRunningRequests(t *testing.T) {
	for _, weight := range []uint64{1, 4} {
		t.Run(fmt.Sprint("weight ", weight), func(t *testing.T) {
			story(t, router.Config{SlowStart: 10 * time.Second, Balance: router.Least, QueueLimit: 200}, func(w *world) {
				join := func(name string) *worker {
					k := w.native(name)
					k.join(200, func(info *frame.JoinInfo) { info.Weight = weight })
					w.settle()
					return k
				}
				a := join("a")
				time.Sleep(time.Minute)
				b := join("b")
				var all []*pending
				var calls []*call
				got := map[*worker]int{}
				take := func() string {
					for _, k := range []*worker{a, b} {
						for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
							calls = append(calls, &call{worker: k, Frame: parse(t, parts)})
							got[k]++
						}
					}
					return fmt.Sprint(got[a], " ", got[b])
				}
				send := func(n int) {
					for range n {
						all = append(all, w.get("/"))
						w.settle()
					}
				}
				if send(44); take() != "40 4" {
					t.Errorf("at first 44 requests went to a and b: %s, want 40 4", take())
				}
				time.Sleep(10 * time.Second)
				if send(56); take() != "50 50" {
					t.Errorf("after its time 100 requests went to a and b: %s, want 50 50", take())
				}
				for _, c := range calls {
					c.answer(200, "")
				}
				for _, p := range all {
					p.wants(200, "")
				}
			})
		})
	}
}

// Nobody waits for a worker that could serve, however fresh it is.
func TestAFreshWorkerServesWhereNobodyElseCan(t *testing.T) {
	for _, balance := range []router.Balance{router.RoundRobin, router.Least} {
		t.Run(string(balance), func(t *testing.T) {
			story(t, router.Config{SlowStart: 10 * time.Second, Balance: balance}, func(w *world) {
				a := w.join("a", 1)
				time.Sleep(time.Minute)
				if serveOne(t, w, a) != "a" {
					t.Fatal("who is alone was passed over")
				}
				b, c := w.join("b", 64), w.join("c", 64)
				first := w.get("/")
				running := a.request()
				served := ""
				for range 4 {
					served += serveOne(t, w, b, c)
				}
				if served != "bcbc" && served != "cbcb" {
					t.Errorf("while the grown one was busy, %s served: want both in turn", served)
				}
				running.answer(200, "")
				first.wants(200, "")
				w.settle()
				served = ""
				for range 12 {
					served += serveOne(t, w, a, b, c)
				}
				if strings.Count(served, "a") < 8 {
					t.Errorf("when it was free again, %s served", served)
				}
				a.die()
				w.settle()
				serveOne(t, w, b, c)
			})
		})
	}
}

// A worker that fails all that it gets is set aside, tried again, and comes back.
func TestAWorkerThatKeepsFailingIsSetAside(t *testing.T) {
	fail := map[string]func(c *call){
		"resets":           func(c *call) { c.reset(http2.ErrCodeInternal) },
		"protocol errors":  func(c *call) { c.end() },
		"malformed fields": func(c *call) { c.answer(99, "") },
	}
	for name, fail := range fail {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				bad := w.join("bad", 64)
				alone := w.get("/")
				c := bad.request()
				fail(c)
				alone.wants(502, "")
				good := w.join("good", 64)
				broken := true
				ask := func() (status int) {
					p := w.get("/")
					w.settle()
					if parts, ok := good.inbox.peek(); ok {
						(&call{worker: good, Frame: parse(t, parts)}).answer(200, "")
					}
					for parts, ok := bad.inbox.peek(); ok; parts, ok = bad.inbox.peek() {
						f := parse(t, parts)
						switch c := (&call{worker: bad, Frame: f}); {
						case f.Type != frame.Headers:
						case broken:
							fail(c)
						default:
							c.answer(200, "")
						}
						w.settle()
					}
					return p.head().StatusCode
				}
				failed := 0
				for range 50 {
					if ask() == 502 {
						failed++
					}
				}
				if failed != 4 { // five in a row, the first of them alone
					t.Errorf("%d of 50 failed", failed)
				}
				time.Sleep(1100 * time.Millisecond)
				failed = 0
				for range 10 { // tried once more
					if ask() == 502 {
						failed++
					}
				}
				if failed != 1 {
					t.Errorf("on probation %d failed", failed)
				}
				broken = false
				time.Sleep(1100 * time.Millisecond)
				if got := serveOne(t, w, good); got != "good" {
					t.Error("after a second failure the pause is no longer")
				}
				time.Sleep(time.Second)
				served := ""
				for range 6 {
					served += serveOne(t, w, good, bad) + " "
				}
				if strings.Count(served, "bad") != 3 {
					t.Errorf("mended, it serves: %s", served)
				}
			})
		})
	}
}

// Who is alone is not set aside: a bad answer is better than none.
func TestTheLastWorkerIsNotSetAside(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("bad", 4)
		for range 20 {
			p := w.get("/")
			k.request().reset(http2.ErrCodeInternal)
			p.wants(502, "")
		}
		p := w.get("/")
		k.request().answer(200, "")
		p.wants(200, "")
	})
}

// One that has drained, or has gone, is not counted among those that are aside: another that keeps failing is
// set aside too, and stays so while somebody else is there.
func TestWorkersAreSetAsideOneByOne(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b, c := w.join("a", 64), w.join("b", 64), w.join("c", 64)
		state := func(k *worker) string {
			w.settle()
			for _, st := range w.r.Workers() {
				if st.Name == k.name {
					return st.State
				}
			}
			return "gone"
		}
		spoil := func(bad *worker) {
			for range 3 * 5 {
				p := w.get("/")
				w.settle()
				for _, k := range []*worker{a, b, c} {
					parts, ok := k.inbox.peek()
					if !ok {
						continue
					}
					if r := (&call{worker: k, Frame: parse(t, parts)}); k == bad {
						r.reset(http2.ErrCodeInternal)
					} else {
						r.answer(200, "")
					}
				}
				p.head()
			}
			if got := state(bad); got != "aside" {
				t.Errorf("%s, whose answers all fail, is %s", bad.name, got)
			}
		}
		spoil(a)
		spoil(b)
		a.goAway(frame.MaxNumber)
		if got := state(b); got != "aside" {
			t.Errorf("b is %s though c is there", got)
		}
		time.Sleep(time.Minute) // and all are tried again
		spoil(b)
		a = w.join("d", 64)
		b.goAway(frame.MaxNumber)
		spoil(c)
	})
}

// Nor does it stay aside when the others leave.
func TestAWorkerThatIsAsideServesWhenTheOthersLeave(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		bad := w.join("bad", 64)
		var all []*pending
		for range 12 { // all of them fail at once
			all = append(all, w.get("/"))
		}
		calls, _ := bad.requests(12)
		good := w.join("good", 1)
		for _, c := range calls {
			c.reset(http2.ErrCodeInternal)
		}
		for _, p := range all {
			p.wants(502, "")
		}
		if got := w.r.Workers()[0].State; got != "aside" {
			t.Errorf("/workers: %s", got)
		}
		good.die()
		p := w.get("/")
		bad.request().answer(200, "mended")
		p.wants(200, "mended")
	})
}

// What went with the app behind a worker counts as its failure.
func TestAWorkerWhoseAppKeepsDyingIsSetAside(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		bad, good := w.join("bad", 64), w.join("good", 64)
		lost := 0
		for range 18 {
			time.Sleep(110 * time.Millisecond) // it is passed over for 100 after each
			p := w.send("POST", "/", nil)
			w.settle()
			if parts, ok := good.inbox.peek(); ok {
				(&call{worker: good, Frame: parse(t, parts)}).answer(200, "")
				p.wants(200, "")
				continue
			}
			bad.request().reset(http2.ErrCodeConnect)
			p.wants(502, "")
			lost++
		}
		if lost != 5 {
			t.Errorf("%d of 18 were lost", lost)
		}
	})
}
