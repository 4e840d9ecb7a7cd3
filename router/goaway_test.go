package router_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

func TestAWorkerThatDrains(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 4)
		old := w.get("/old")
		running := a.request()
		late := w.send("POST", "/late", strings.NewReader("the body"))
		a.request()
		w.settle()
		b := w.join("b", 4)
		a.goAway(running.Stream) // the second is above it: not taken
		moved := b.request()
		if moved.get(":path") != "/late" || moved.body() != "the body" {
			t.Errorf("%s moved", moved.get(":path"))
		}
		moved.answer(200, "from b")
		late.wants(200, "from b")
		for range 3 { // nothing new goes to a
			p := w.get("/new")
			b.request().answer(200, "")
			p.wants(200, "")
		}
		if st := w.r.Workers()[0]; st.State != "draining" || st.Busy != 1 {
			t.Errorf("/workers: %+v", st)
		}
		running.head(200)
		running.data("still ")
		running.data("here")
		running.end()
		old.wants(200, "still here")
		a.die()
	})
}

// A worker whose GOAWAY crossed a request refuses that request, which has
// moved already.
func TestARefusalAfterGOAWAYIsNoSurprise(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b := w.join("a", 4), w.join("b", 4)
		p := w.get("/")
		c := a.request()
		a.goAway(c.Stream - 1)
		c.reset(http2.ErrCodeRefusedStream)
		b.request().answer(200, "from b")
		p.wants(200, "from b")
		w.settle()
		if st := w.r.Workers()[0]; st.Busy != 0 {
			t.Errorf("/workers: %+v", st)
		}
		b.silent()
	})
}

// A router's new WELCOME makes a draining worker say JOIN and GOAWAY: it is not
// counted as a worker for that.
func TestJOINWhileDraining(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 4)
		a.goAway(0)
		a.join(4)
		a.goAway(0)
		w.settle()
		p := w.get("/")
		a.silent()
		b := w.join("b", 1)
		b.request().answer(200, "")
		p.wants(200, "")
		a.die()
		b.die()
		w.settle()
		if code, body := adminGet(t, w, "/readyz"); code != 503 || !strings.Contains(body, "no worker") {
			t.Errorf("/readyz without any worker: %d %s", code, body)
		}
	})
}

func TestAWorkerThatOnlyRefusedStreamsAboveGOAWAYHasNoOpenOnes(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 4)
		p := w.get("/left")
		c := a.request()
		p.leave()
		c.cancelled(http2.ErrCodeCancel)
		a.goAway(c.Stream - 1) // says: never begun
		w.settle()
		if st := w.r.Workers()[0]; st.Busy != 0 {
			t.Errorf("/workers: %+v", st)
		}
	})
}

// Workers of one name, which do not say which instances they are, drain and leave one by one.
func TestNamesakesWithoutAnInstanceDrain(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		var all []*worker
		for range 3 {
			k := w.native("w")
			k.instance = ""
			k.join(1)
			w.settle()
			all = append(all, k)
		}
		for _, k := range all {
			k.goAway(frame.MaxNumber)
			w.settle()
		}
		for _, k := range slices.Backward(all) {
			k.die()
			w.settle()
		}
		k := w.join("w", 1)
		p := w.get("/")
		k.request().answer(200, "")
		if name := p.wants(200, "").Header.Get("Dialmux-Worker"); name != "w" {
			t.Errorf("served by %s, want w", name)
		}
	})
}
