package router_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

func TestARequestGoesRound(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		p := w.get("/a%20b?c=d&e")
		c := k.request()
		for name, want := range map[string]string{
			":method": "GET", ":scheme": "http", ":authority": "example.com", ":path": "/a%20b?c=d&e",
		} {
			if got := c.get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if !c.End() {
			t.Error("a request without a body wants END_STREAM in its HEADERS")
		}
		c.answer(200, "hello", "content-type", "text/plain")
		resp := p.wants(200, "hello")
		if got := resp.Header.Get("Dialmux-Worker"); got != "w1" {
			t.Errorf("Dialmux-Worker: %q", got)
		}
		if got := resp.Header.Get("Via"); got != "1.1 dialmux" {
			t.Errorf("Via: %q", got)
		}
		if resp.ContentLength != 5 {
			t.Errorf("an answer in one piece has the length %d, want 5", resp.ContentLength)
		}
	})
}

func TestABodyGoesRound(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		for _, size := range []int{1, 1000, 64 << 10, 64<<10 + 1, 1 << 20} {
			want := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			p := w.send(http.MethodPost, "/", strings.NewReader(want))
			c := k.request()
			if got := c.body(); got != want {
				t.Fatalf("%d bytes came as %d", size, len(got))
			}
			c.head(201)
			c.data("got ")
			c.data("it")
			c.end()
			p.wants(201, "got it")
		}
	})
}

func TestREPAndROUTERWorkersServe(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.rep(zmtp.Options{})
		p := w.get("/rep")
		k.task().reply("", "from a REP")
		p.wants(200, "from a REP")
		k.die()

		w.settle()
		k = w.connect("ROUTER", zmtp.Options{})
		k.name = "r"
		k.welcomed()
		k.join(1)
		p = w.get("/router")
		k.request().answer(200, "from a ROUTER")
		p.wants(200, "from a ROUTER")
		if kind := w.r.Workers()[0].Kind; kind != "ROUTER" {
			t.Errorf("kind %q, want ROUTER", kind)
		}
	})
}
