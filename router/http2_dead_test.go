package router_test

import (
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// A client whose machine has gone says nothing, not even to PING.
func TestADeadHTTP2ClientIsGivenUp(t *testing.T) {
	portStory(t, router.Config{ResponseTimeout: -1}, router.Port{}, func(w *world, _ *port) {
		k := w.join("w1", 4)
		w.dialHTTP2().ask(true, but(":path", "/dead")...)
		dead := k.request()
		quiet := w.get("/quiet", over("HTTP/2")) // net/http's client answers PING
		c := k.request()
		time.Sleep(router.DefaultWriteTimeout)
		k.silent() // it may just be slow
		if f := k.next(); f.Type != frame.RSTStream || f.Stream != dead.Stream {
			w.t.Fatalf("the worker got %v on stream %d", f.Type, f.Stream)
		}
		dead.reset(http2.ErrCodeCancel)
		time.Sleep(time.Hour)
		c.answer(200, "late")
		quiet.wants(http.StatusOK, "late")
	})
}

func TestWithoutAWriteTimeoutNobodyIsGivenUp(t *testing.T) {
	portStory(t, router.Config{ResponseTimeout: -1}, router.Port{WriteTimeout: -1}, func(w *world, _ *port) {
		k := w.join("w1", 4)
		c := w.dialHTTP2()
		stream := c.ask(true, ordinary()...)
		q := k.request()
		time.Sleep(time.Hour)
		q.answer(200, "late")
		if h := c.heard(); h.answers[stream] != "200 late" || h.pings > 0 {
			w.t.Errorf("got %+v", h)
		}
	})
}
