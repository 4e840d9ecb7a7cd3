package router_test

import (
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/router"
)

// A worker that refused a request is not given it again at once, though it has
// slots left and nobody else is there.
func TestWhoRefusesIsPassedOverFirst(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("a", 64)
		for range 500 {
			p := w.get("/")
			c := k.request()
			refused := time.Now()
			for range 4 { // the pool is in demand
				w.wg.Go(func() {
					for range 50 {
						w.r.Workers()
					}
				})
			}
			c.reset(http2.ErrCodeRefusedStream)
			c = k.request()
			if again := time.Since(refused); again < 100*time.Millisecond {
				t.Fatalf("it came again after %v", again)
			}
			c.answer(200, "")
			p.wants(200, "")
		}
	})
}
