package router_test

import (
	"strings"
	"testing"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// Replies come whole, however slowly their clients take them: beyond what any
// stream may hold they count against the budget, for as long as they are held.
func TestRepliesCountAgainstTheMemory(t *testing.T) {
	big := strings.Repeat("x", 2<<20)
	for name, end := range map[string]func(slow *raw){
		"the client leaves": func(slow *raw) { _ = slow.nc.Close() },
		"the client takes it": func(slow *raw) {
			if got := slow.all(); !strings.HasSuffix(got, big) {
				slow.t.Errorf("the slow client got %d bytes", len(got))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{MaxMemory: 2 << 20}, func(w *world) {
				k := w.rep(zmtp.Options{})
				slow := w.raw("GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
				k.task().reply("", big)
				w.settle()

				p := w.get("/too-much")
				k.task().reply("", big)
				resp := p.wants(503, "too much memory")
				if resp.Header.Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
				p = w.get("/small")
				small := strings.Repeat("y", 64<<10)
				k.task().reply("", small)
				p.wants(200, small)

				end(slow)
				w.settle()
				for range 3 { // each gives back what it took
					p = w.get("/again")
					k.task().reply("", big)
					p.wants(200, big)
					w.settle()
				}
			})
		})
	}
}

// A body that its worker has answered is not kept while the client reads the answer.
func TestBodiesThatAreAnsweredAreLetGoOf(t *testing.T) {
	story(t, router.Config{MaxMemory: 8 << 20}, func(w *world) {
		k := w.rep(zmtp.Options{})
		big := strings.Repeat("x", 4<<20)
		slow := w.raw("POST /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4194304\r\n\r\n")
		w.wg.Go(func() { slow.write(big) })
		k.task().reply("", big[:1<<20])
		w.settle()
		if held := w.r.Streams().Memory; held > 1<<20 {
			t.Errorf("%d bytes are held, more than the answer has", held)
		}
		if got := slow.all(); !strings.HasSuffix(got, big[:1<<20]) {
			t.Errorf("the client got %d bytes", len(got))
		}
	})
}
