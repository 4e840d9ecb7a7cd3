package router_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

func TestARefusedRequestMoves(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				a, b := w.join("a", 4), w.join("b", 4)
				p := w.send(method, "/", strings.NewReader("the body"))
				c := a.request()
				w.settle()
				c.reset(http2.ErrCodeRefusedStream)
				again := b.request()
				if again.Stream <= c.Stream {
					t.Errorf("stream %d came after %d", again.Stream, c.Stream)
				}
				if got := again.body(); got != "the body" {
					t.Errorf("the second worker got %q", got)
				}
				again.answer(200, "yes")
				if got := p.wants(200, "yes").Header.Get("Dialmux-Worker"); got != "b" {
					t.Errorf("Dialmux-Worker: %s, and b answered", got)
				}
				if st := w.r.Workers()[0]; st.Refused != 1 {
					t.Errorf("/workers: %+v", st)
				}
			})
		})
	}
}

func TestAWorkerThatRefusedIsPassedOver(t *testing.T) {
	t.Run("for 100 ms", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 4)
			p := w.get("/")
			k.request().reset(http2.ErrCodeRefusedStream)
			begin := time.Now()
			k.request().answer(200, "now")
			if waited := time.Since(begin); waited != 100*time.Millisecond {
				t.Errorf("asked again after %v", waited)
			}
			p.wants(200, "now")
		})
	})
	t.Run("until a stream ends", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 4)
			long, p := w.get("/long"), (*pending)(nil)
			c := k.request()
			p = w.get("/refused")
			k.request().reset(http2.ErrCodeRefusedStream)
			k.silent()
			begin := time.Now()
			c.answer(200, "")
			long.wants(200, "")
			k.request().answer(200, "now")
			p.wants(200, "now")
			if waited := time.Since(begin); waited != 0 {
				t.Errorf("asked again after %v", waited)
			}
		})
	})
}

func TestARequestThatAllRefuseIs503InTheEnd(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		begin := time.Now()
		p := w.get("/")
		for waiting := true; waiting; {
			k.request().reset(http2.ErrCodeRefusedStream)
			w.settle()
			time.Sleep(100 * time.Millisecond)
			waiting = p.waiting() && len(k.inbox.items) > 0
		}
		p.wants(503, "no worker became ready")
		if took := time.Since(begin); took < 4900*time.Millisecond || took > 5100*time.Millisecond {
			t.Errorf("503 after %v", took)
		}
	})
}

// REFUSED_STREAM means "not begun": after a head it is a lost answer.
func TestARefusalAfterTheBeginningMovesNothing(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b := w.join("a", 4), w.join("b", 4)
		p := w.get("/")
		c := a.request()
		c.head(200)
		c.data("half")
		p.head()
		c.reset(http2.ErrCodeRefusedStream)
		p.breaks()
		b.silent()
		p = w.send("POST", "/", strings.NewReader("x"))
		c = b.request()
		c.credit(1024)
		c.reset(http2.ErrCodeRefusedStream)
		p.wants(502, "")
		a.silent()
	})
}

func TestAResetIs502(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b := w.join("a", 4), w.join("b", 4)
		p := w.get("/")
		a.request().reset(http2.ErrCodeInternal)
		p.wants(502, "INTERNAL_ERROR")
		b.silent()
	})
}

func TestWhenAWorkerDies(t *testing.T) {
	put := func(size int) func(w *world) *pending {
		return func(w *world) *pending { return w.send("PUT", "/", strings.NewReader(strings.Repeat("x", size))) }
	}
	chunked := func(size int) func(w *world) *pending {
		return func(w *world) *pending {
			return w.send("PUT", "/", io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
		}
	}
	deaths := map[string]func(*worker, *call){
		"":             func(a *worker, _ *call) { a.die() },
		", of its app": func(_ *worker, c *call) { c.reset(http2.ErrCodeConnect) },
	}
	for name, tc := range map[string]struct {
		send   func(w *world) *pending
		before func(c *call) // the death
		body   int
		status int
	}{
		"GET":                       {send: func(w *world) *pending { return w.get("/") }, status: 200},
		"DELETE":                    {send: func(w *world) *pending { return w.send("DELETE", "/", nil) }, status: 200},
		"PUT":                       {send: put(10), body: 10, status: 200},
		"PUT of 64 KiB":             {send: put(64 << 10), body: 64 << 10, status: 200},
		"PUT of chunks":             {send: chunked(1000), body: 1000, status: 200},
		"PUT after WINDOW_UPDATE":   {send: put(60 << 10), before: func(c *call) { c.credit(1 << 20) }, body: 60 << 10, status: 200},
		"PUT of 64 KiB after it":    {send: put(64 << 10), before: func(c *call) { c.credit(1 << 20) }, body: 64 << 10, status: 200},
		"PUT of more, no credit":    {send: put(100 << 10), body: 100 << 10, status: 200},
		"PUT of more, after credit": {send: put(100 << 10), before: func(c *call) { c.credit(1 << 20) }, status: 502},
		"POST":                      {send: func(w *world) *pending { return w.send("POST", "/", strings.NewReader("x")) }, status: 502},
		"PATCH":                     {send: func(w *world) *pending { return w.send("PATCH", "/", nil) }, status: 502},
		"GET, 103 sent":             {send: func(w *world) *pending { return w.get("/") }, before: func(c *call) { c.head(103, "link", "</a>") }, status: 200},
	} {
		for how, die := range deaths {
			t.Run(name+how, func(t *testing.T) {
				story(t, router.Config{}, func(w *world) {
					a, b := w.join("a", 4), w.join("b", 4)
					p := tc.send(w)
					c := a.request()
					w.settle()
					if tc.before != nil {
						tc.before(c)
						w.settle()
					}
					begin := time.Now()
					die(a, c)
					if tc.status != 200 {
						p.wants(tc.status, "the worker, or its app, was lost")
						b.silent()
					} else {
						c := b.request()
						if got := len(c.body()); got != tc.body {
							t.Errorf("the second worker got %d bytes of %d", got, tc.body)
						}
						c.answer(200, "")
						p.wants(200, "")
					}
					if time.Since(begin) != 0 {
						t.Errorf("it took %v", time.Since(begin))
					}
				})
			})
		}
	}
}

func TestAPOSTThatWasNeverSentMoves(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 8)
		stuff(w, a)
		p := w.send("POST", "/unsent", strings.NewReader("the body"))
		w.settle()
		b := w.join("b", 8)
		a.die()
		calls, bodies := b.requests(3) // the stuffing is PUT, and moves too
		for i, c := range calls {
			if c.get(":path") == "/unsent" && bodies[i] != "the body" {
				t.Errorf("the body came as %q", bodies[i])
			}
			c.answer(200, c.get(":path"))
		}
		p.wants(200, "/unsent")
	})
}

func TestTwoLostWorkersAre502(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a, b, c := w.join("a", 4), w.join("b", 4), w.join("c", 4)
		p := w.get("/poison")
		a.request()
		a.die()
		b.request()
		b.die()
		p.wants(502, "was lost twice")
		c.silent()
	})
}

// The request that lost its worker waits for another one, before all others.
func TestALostRequestWaitsForAWorker(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 1)
		p := w.get("/first")
		a.request()
		other := w.get("/second")
		w.settle()
		time.Sleep(time.Second)
		a.die()
		w.settle()
		time.Sleep(3 * time.Second)
		b := w.join("b", 1)
		c := b.request()
		if c.get(":path") != "/first" {
			t.Errorf("%s came first", c.get(":path"))
		}
		c.answer(200, "1")
		b.request().answer(200, "2")
		p.wants(200, "1")
		other.wants(200, "2")
	})
}

func TestAFrozenWorkerIsDeadInTime(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 4)
		a.nc.freeze(true)
		begin := time.Now()
		p := w.get("/")
		post := w.send("POST", "/", strings.NewReader("x"))
		w.settle()
		b := w.join("b", 4)
		c := b.request()
		if waited := time.Since(begin); waited < 6*time.Second || waited > 10*time.Second {
			t.Errorf("noticed after %v; three PINGs two seconds apart go unanswered", waited)
		}
		c.answer(200, "from b")
		p.wants(200, "from b")
		post.wants(502, "the worker, or its app, was lost")

		// It wakes up, reads what was sent, and answers: nobody is there.
		a.nc.freeze(false)
		a.gone()
	})
}

func TestALostREP(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.rep(zmtp.Options{})
		p := w.send("PUT", "/", strings.NewReader("the body"))
		a.task()
		b := w.rep(zmtp.Options{})
		a.die()
		j := b.task()
		if j.body != "the body" {
			t.Errorf("the second REP got %q", j.body)
		}
		j.reply("", "yes")
		p.wants(200, "yes")
	})
}

// What the client's body did while the request moved is not forgotten.
func TestABodyThatBreaksOffWhileItsRequestMoves(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 1)
		raw := w.raw("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
		c := a.request()
		w.settle()
		_ = raw.nc.Close()
		a.die()
		w.settle()
		b := w.join("b", 1)
		w.settle()
		for _, path := range b.asked() {
			t.Errorf("the request %s went to another worker without its client", path)
		}
		if n := w.r.Streams().Open; n != 0 {
			t.Errorf("%d streams are open", n)
		}
		_ = c
	})
}

func TestWhatIsSaidOnceTheAnswerBrokeOff(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k, other := w.join("a", 4), w.join("b", 4)
		p := w.get("/")
		c := k.request()
		c.head(200)
		c.data("half")
		if got := p.head().StatusCode; got != http.StatusOK {
			t.Fatal(got)
		}
		w.settle()
		k.die()
		if got := p.breaks(); got != "half" {
			t.Errorf("the client got %q", got)
		}
		other.silent()
		if !strings.Contains(w.log.String(), "answer broke off") {
			t.Error("it was not logged")
		}
	})
}

// A worker that nothing can be sent to any more, and that nobody knows of yet:
// what was meant for it was never sent, so a POST moves too.
func TestAConnectionThatTakesNothingIsPassedOver(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		l := deafListener{testpipe.NewListener(), make(chan *deaf, 2)}
		r := newWorld(w.t, router.Config{Listeners: []net.Listener{l}}, w.front, nil)
		enter := func(name string) (*worker, *deaf) {
			nc, err := l.Listener.(*testpipe.Listener).Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			k := r.over(nc, "DEALER", zmtp.Options{})
			k.name = name
			k.welcomed()
			k.join(4)
			w.settle()
			return k, <-l.last
		}
		a, line := enter("a")
		_ = line.Conn.SetWriteDeadline(time.Now())
		lost := r.get("/") // the write that shows it
		w.settle()
		p := r.send("POST", "/", strings.NewReader("x"))
		if !p.waiting() {
			t.Fatal("answered")
		}
		b, _ := enter("b")
		c := b.request()
		c.answer(200, "from b")
		p.wants(200, "from b")
		a.die()
		b.request().answer(200, "late")
		lost.wants(200, "late")
	})
}

// A worker whose app has just died is passed over, so that what it lost does not come back to it before it withdraws.
func TestAWorkerThatLostItsAppIsPassedOver(t *testing.T) {
	for name, comes := range map[string]bool{"another one comes": true, "it stays alone": false} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				a := w.join("a", 4)
				first, second := w.get("/1"), w.get("/2")
				c, d := a.request(), a.request()
				w.settle()
				c.reset(http2.ErrCodeConnect)
				d.reset(http2.ErrCodeConnect)
				w.settle()
				if !first.waiting() || !second.waiting() {
					t.Fatal("answered")
				}
				a.silent()
				k := a
				if comes {
					k = w.join("b", 4)
				} else {
					time.Sleep(100 * time.Millisecond)
				}
				k.request().answer(200, "")
				k.request().answer(200, "")
				first.wants(200, "")
				second.wants(200, "")
			})
		})
	}
}
