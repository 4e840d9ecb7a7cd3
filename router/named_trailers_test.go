package router_test

import (
	"testing"

	"github.com/dialmux/dialmux/router"
)

// What Connection names is of one hop, also where it comes behind the body.
func TestH5NamedTrailersOfAnAnswerStay(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		c := k.request()
		c.head(200, "connection", "x-named", "x-stays", "1")
		c.data("body")
		c.trailers("x-named", "2", "x-sum", "42")
		resp, _ := p.whole()
		if resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Named") != "" || resp.Header.Get("X-Stays") != "1" {
			t.Errorf("the client got %v and the trailers %v", resp.Header, resp.Trailer)
		}
	})
}
