package router_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/router"
)

func (w *world) logged(line string, want int) {
	w.t.Helper()
	w.settle()
	if got := strings.Count(w.log.String(), line); got != want {
		w.t.Errorf("%q is %d times in the log, want %d", line, got, want)
	}
}

func TestTheSameJOINAgainIsNoNews(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.native("w1")
		for range 1000 {
			k.join(2)
		}
		w.logged("worker joined", 1)
		k.join(3)
		w.logged("worker joined", 2)
		k.name = "w2"
		k.join(3)
		w.logged("worker joined", 3)
		p := w.get("/")
		k.request().answer(200, "served")
		p.wants(200, "served")
	})
}

func TestGOAWAYAgainIsNoNews(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		c := k.request()
		for range 1000 {
			k.goAway(c.Stream)
		}
		w.logged("worker drains", 1)
		c.answer(200, "finished")
		p.wants(200, "finished")
	})
}

// Who comes, and goes without a word, cannot fill a disk.
func TestPassersByAreLoggedSparingly(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		for i := range 100 {
			w.native(fmt.Sprint("w", i)).die()
		}
		w.logged("worker left", 1)
		w.logged("level=WARN", 1)
		k := w.join("w1", 1)
		k.die()
		w.logged("worker left", 2)
	})
}
