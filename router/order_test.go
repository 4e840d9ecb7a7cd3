package router_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/dialmux/dialmux/router"
)

// pathOf is the path of a request at a REP.
func pathOf(t *testing.T, j *task) string {
	t.Helper()
	var head struct {
		Path string `msgpack:"path"`
	}
	if err := msgpack.Unmarshal(j.head, &head); err != nil {
		t.Fatal(err)
	}
	return head.Path
}

// Requests that a worker leaves behind are served before those that came after
// them, and in their own order, by however many turns they move.
func TestRequestsThatMoveKeepTheirOrder(t *testing.T) {
	for name, end := range map[string]func(k *worker, last uint64){
		"dead":     func(k *worker, _ uint64) { k.die() },
		"draining": func(k *worker, _ uint64) { k.goAway(0) },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{QueueLimit: 10}, func(w *world) {
				a := w.join("a", 20)
				var all []*pending
				send := func(n int) {
					for range n {
						all = append(all, w.get(fmt.Sprintf("/%02d", len(all))))
						w.settle()
					}
				}
				send(20)
				calls, _ := a.requests(20)
				send(10)
				end(a, calls[0].Stream)
				w.settle()
				w.get("/").wants(503, "too many requests wait")
				b := w.join("b", 1)
				var order []string
				for _, p := range all {
					c := b.request()
					order = append(order, c.get(":path"))
					c.answer(200, "")
					w.settle()
					_ = p
				}
				if !slices.IsSorted(order) {
					t.Errorf("served in the order %v", order)
				}
				for _, p := range all {
					p.wants(200, "")
				}
			})
		})
	}
}
