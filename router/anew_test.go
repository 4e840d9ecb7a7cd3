package router_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dialmux/dialmux/router"
)

// fill takes the four slots of a worker that announce joined.
func (w *world) fill(k *worker, host string) (running []*call, all []*pending) {
	w.t.Helper()
	for range 4 {
		all = append(all, w.get("/fill", at(host)))
		running = append(running, k.request())
	}
	return running, all
}

// Who waits is served by whoever is meant for it, though it came later.
func TestWhoWaitsMovesToAMoreExactRoute(t *testing.T) {
	for name, exact := range map[string]struct{ hosts, paths []string }{
		"host":       {[]string{"api.test"}, nil},
		"wild host":  {[]string{"*.test"}, nil},
		"path":       {nil, []string{"/x/y"}},
		"both":       {[]string{"api.test", "b.test"}, []string{"/a", "/x"}},
		"all routes": {[]string{"api.test", "*.test", "*"}, []string{"/x", "/x/y"}},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				all := w.announce("all", "", nil, nil)
				running, filling := w.fill(all, "other")
				var moves []*pending
				for i := range 3 {
					moves = append(moves, w.get(fmt.Sprint("/x/y/", i), at("api.test")))
					w.settle()
				}
				stays := w.get("/z", at("other.example"))
				w.settle()
				api := w.native("api")
				api.join(1, serves("api", exact.hosts, exact.paths))
				for i, p := range moves { // in their order
					c := api.request()
					if got, want := c.get(":path"), fmt.Sprint("/x/y/", i); got != want {
						t.Errorf("%s came, want %s", got, want)
					}
					c.answer(200, "api")
					p.wants(200, "api")
				}
				api.silent()
				for i, c := range running {
					c.answer(200, "")
					filling[i].wants(200, "")
				}
				all.request().answer(200, "all")
				stays.wants(200, "all")
			})
		})
	}
}

// Those of several rooms that meet at a new route are served as they came.
func TestWhoMovesKeepsItsPlace(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.announce("a", "", []string{"*.a.test"}, nil)
		b := w.announce("b", "", []string{"x.a.test"}, []string{"/p"})
		ra, fa := w.fill(a, "y.a.test")
		fb := []*pending{}
		var rb []*call
		for range 4 {
			fb = append(fb, w.get("/p", at("x.a.test")))
			rb = append(rb, b.request())
		}
		var moves []*pending
		for i := range 6 {
			moves = append(moves, w.get(fmt.Sprint([]string{"/p/q/", "/r/"}[i%2], i), at("x.a.test")))
			w.settle()
		}
		k := w.native("k")
		k.join(1, serves("k", []string{"x.a.test"}, []string{"/p/q", "/r"}))
		for i, p := range moves {
			c := k.request()
			if got := c.get(":path"); got[len(got)-1] != byte('0'+i) {
				t.Errorf("%s came, want that of %d", got, i)
			}
			c.answer(200, "")
			p.wants(200, "")
		}
		for i := range 4 {
			ra[i].answer(200, "")
			fa[i].wants(200, "")
			rb[i].answer(200, "")
			fb[i].wants(200, "")
		}
	})
}

// Who waits where nobody serves any more goes to those that do, ready ones at once.
func TestWhoWaitsAtARouteThatGoesMovesToAReadyWorker(t *testing.T) {
	story(t, router.Config{QueueWait: time.Hour, Forget: time.Minute}, func(w *world) {
		all := w.announce("all", "", nil, nil)
		w.announce("api", "api", []string{"api.test"}, nil).die()
		w.settle()
		first, second := w.get("/1", at("api.test")), w.get("/2", at("api.test"))
		time.Sleep(time.Minute)
		all.silent()
		third := w.get("/3", at("api.test"))
		for _, c := range []*call{all.request(), all.request(), all.request()} {
			c.answer(200, "all")
		}
		for _, p := range []*pending{first, second, third} {
			p.wants(200, "all")
		}
	})
}

// A request that is sent again goes where a new one would go.
func TestWhatIsSentAgainLooksItsRouteUpAnew(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		one, two := w.announce("all-1", "", nil, nil), w.announce("all-2", "", nil, nil)
		p := w.get("/", at("api.test"))
		one.request()
		api := w.announce("api", "api", []string{"api.test"}, nil)
		one.die()
		api.request().answer(200, "api")
		p.wants(200, "api")
		two.silent()
	})
}
