package router_test

import (
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/router"
)

var expectingHTTP2 = but(":method", "POST", "expect", "100-continue", "content-length", "4")

func TestH7ExpectContinueOverHTTP2(t *testing.T) {
	for name, ask := range map[string]func(c *call){
		":status 100":   func(c *call) { c.head(100) },
		"WINDOW_UPDATE": func(c *call) { c.credit(65536) },
	} {
		t.Run(name, func(t *testing.T) {
			portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
				k := w.join("w1", 1)
				client := w.dialHTTP2()
				id := client.ask(false, expectingHTTP2...)
				c := k.request()
				if got := client.heard().answers; len(got) > 0 || c.End() || c.get("expect") != "100-continue" {
					w.t.Fatalf("before the worker asked, the client got %v; expect: %q", got, c.get("expect"))
				}
				ask(c)
				if got := client.heard().answers[id]; got != "100 " {
					w.t.Fatalf("the client got %q", got)
				}
				if err := client.WriteData(id, true, []byte("body")); err != nil {
					w.t.Fatal(err)
				}
				if got := c.body(); got != "body" {
					w.t.Errorf("the worker got %q", got)
				}
				c.answer(200, "thanks")
				if got := client.heard().answers[id]; got != "200 thanks" {
					w.t.Errorf("the client got %q", got)
				}
			})
		})
	}
	t.Run("final status", func(t *testing.T) {
		portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
			k := w.join("w1", 1)
			client := w.dialHTTP2()
			id := client.ask(false, expectingHTTP2...)
			k.request().answer(401, "who are you")
			got := client.heard()
			if code, reset := got.resets[id]; got.answers[id] != "401 who are you" || reset && code != http2.ErrCodeNo {
				w.t.Errorf("the client got %+v", got)
			}
		})
	})
}
