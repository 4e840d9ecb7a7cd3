package router_test

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/router"
)

func key(req *http.Request) { req.Header.Set("Idempotency-Key", `"8e03978e"`) }

// shown lists the states of all requests, as /streams shows them.
func (w *world) shown() string {
	w.settle()
	var states []string
	for _, s := range w.r.Streams().Streams {
		states = append(states, s.State)
	}
	return strings.Join(states, " ")
}

func TestLedgerIsShown(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		wants := func(want string, done int) {
			w.t.Helper()
			if got := w.shown(); got != want || w.r.Streams().Done != done {
				w.t.Errorf("/streams shows %q and %d done, want %q and %d", got, w.r.Streams().Done, want, done)
			}
		}
		raw := w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		wants("waiting", 0)
		k := w.join("a", 4)
		c := k.request()
		wants("sent", 0)
		c.head(103, "link", "</a>")
		wants("begun", 0)
		c.head(200, "content-length", "200000")
		c.data(strings.Repeat("x", 50_000))
		c.data(strings.Repeat("x", 50_000))
		c.data(strings.Repeat("x", 50_000))
		c.data(strings.Repeat("x", 50_000))
		c.end()
		wants("", 1) // the worker has done its part, and the client has not read it
		raw.all()
		wants("", 0)
	})
}

// F6: a client that sends an Idempotency-Key says that its request may come twice.
func TestF6AnIdempotencyKeyMakesAPOSTSafeToRepeat(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				if proto == "HTTP/2" && w.front == engine {
					return // the harness serves the engine over HTTP/1.1
				}
				a, b := w.join("a", 4), w.join("b", 4)
				p := w.send("POST", "/pay", strings.NewReader("5"), key, over(proto))
				a.request()
				w.settle()
				a.die()
				c := b.request()
				if c.get("idempotency-key") != `"8e03978e"` {
					t.Errorf("the worker got the key %q", c.get("idempotency-key"))
				}
				if got := c.body(); got != "5" {
					t.Errorf("the second worker got %q", got)
				}
				c.answer(200, "paid")
				p.wants(200, "paid")
				if s := w.r.Streams(); s.Retried != 1 {
					t.Errorf("/streams: %+v", s)
				}
			})
		})
	}
	t.Run("an empty one says nothing", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			a, b := w.join("a", 4), w.join("b", 4)
			p := w.send("POST", "/pay", strings.NewReader("5"), func(req *http.Request) { req.Header.Set("Idempotency-Key", "") })
			a.request()
			w.settle()
			a.die()
			p.wants(502, "may have been carried out")
			b.silent()
		})
	})
}

func TestARequestThatTookTwoWorkersDownIsCountedAndLogged(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		p := w.get("/poison?secret=1", func(req *http.Request) { req.Header.Set("Authorization", "secret") })
		for _, name := range []string{"a", "b"} {
			k := w.join(name, 4)
			k.request()
			k.die()
		}
		resp := p.wants(502, "was lost twice")
		if got := resp.Header.Get("Proxy-Status"); !strings.Contains(got, `error=connection_terminated; details="the worker, or its app, was lost twice`) {
			t.Errorf("Proxy-Status: %s", got)
		}
		if s := w.r.Streams(); s.Quarantined != 1 || s.Retried != 1 {
			t.Errorf("/streams: %+v", s)
		}
		if log := w.log.String(); !strings.Contains(log, "request given up") || !strings.Contains(log, "target=/poison ") || strings.Contains(log, "secret") {
			t.Errorf("the log has not its target, or more than that: %s", log)
		}
	})
}

// F6: what workers lose under load is not sent again without end.
func TestF6RetriesAreAFifthOfTheTraffic(t *testing.T) {
	story(t, router.Config{QueueLimit: 10_000}, func(w *world) {
		const all = 3000
		var clients []*raw
		answers := map[string]int{}
		for len(clients) < all {
			k := w.join("doomed", router.MaxConcurrency)
			for range router.MaxConcurrency {
				clients = append(clients, w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
			}
			w.settle()
			k.die()
			w.settle()
		}
		k := w.join("healthy", router.MaxConcurrency)
		w.wg.Go(func() {
			for parts, ok := k.inbox.take(k.done); ok; parts, ok = k.inbox.take(k.done) {
				f := parse(k.t, parts)
				(&call{worker: k, Frame: f}).answer(200, "yes")
			}
		})
		for _, c := range clients {
			status, _, _ := strings.Cut(strings.TrimPrefix(c.all(), "HTTP/1.1 "), " ")
			answers[status]++
		}
		k.die()
		s := w.r.Streams()
		spent := int(s.Unretried)
		if most := len(clients)/5 + router.MaxConcurrency; int(s.Retried) > most || spent == 0 {
			t.Errorf("%d of %d requests were sent again, at most %d should be, and %d were not for that", s.Retried, len(clients), most, spent)
		}
		if answers["502"] != spent+int(s.Quarantined) || answers["200"] != len(clients)-answers["502"] {
			t.Errorf("clients got %v; %+v", answers, s)
		}
	})
}

// What is known not to have begun moves, whatever it is, and costs no retry.
func TestWhatHasNotBegunMovesAtNoCost(t *testing.T) {
	for name, lose := range map[string]func(k *worker, c *call){
		"GOAWAY":         func(k *worker, _ *call) { k.goAway(0) },
		"REFUSED_STREAM": func(_ *worker, c *call) { c.reset(http2.ErrCodeRefusedStream) },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				a := w.join("a", 4)
				p := w.send("POST", "/", strings.NewReader("x"))
				c := a.request()
				b := w.join("b", 4)
				lose(a, c)
				b.request().answer(200, "moved")
				p.wants(200, "moved")
				if s := w.r.Streams(); s.Retried != 0 {
					t.Errorf("/streams: %+v", s)
				}
			})
		})
	}
}
