package worker

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// held is a handler that answers when it is released, or its context ends.
func held() (h http.HandlerFunc, release chan struct{}) {
	release = make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			hello(w, r)
		case <-r.Context().Done():
		}
	}, release
}

func TestDrainFinishesWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, release := held()
		run, l := serve(t, h)
		l.get(4, "/a")
		l.get(5, "/b")
		l.wantQuiet()
		run.cancel()
		l.want(`GOAWAY 0 last 5 NO_ERROR worker drains`)
		l.get(6, "/c")
		l.want(`RST_STREAM 6 REFUSED_STREAM worker drains`)
		time.Sleep(29 * time.Second)
		l.wantQuiet()
		close(release)
		got := map[string]bool{show(l.next()): true, show(l.next()): true}
		if !got[`HEADERS 4 [`+helloHead+`, content-length: 8] END 8 "hello /a"`] || !got[`HEADERS 5 [`+helloHead+`, content-length: 8] END 8 "hello /b"`] {
			t.Errorf("got %v", got)
		}
		l.wantClosed()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestGraceEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		grace, want time.Duration
	}{
		"default":    {0, 30 * time.Second},
		"own":        {time.Second, time.Second},
		"not at all": {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var cause error
				r := newRouter(t)
				run := r.start(Worker{Grace: tc.grace, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					cause = context.Cause(r.Context())
				})})
				l := r.join()
				l.get(1, "/")
				l.wantQuiet()
				began := time.Now()
				run.cancel()
				l.want(`GOAWAY 0 last 1 NO_ERROR worker drains`)
				l.want(`RST_STREAM 1 CANCEL worker: the time to finish is over: context canceled`)
				l.wantClosed()
				if err := run.stop(); err != nil {
					t.Error(err)
				}
				if after := time.Since(began); after != tc.want {
					t.Errorf("took %v, want %v", after, tc.want)
				}
				if cause == nil || !strings.Contains(cause.Error(), "the time to finish is over") {
					t.Errorf("cause is %v", cause)
				}
			})
		})
	}
}

func TestHandlerThatIgnoresItsContextIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRouter(t)
		run := r.start(Worker{Grace: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })})
		l := r.join()
		l.get(1, "/void")
		l.wantQuiet()
		l.welcome(frame.WelcomeInfo{Connection: 2})
		l.wantJoin(2)
		l.get(2, "/stuck?secret")
		l.wantQuiet()
		began := time.Now()
		err := run.stop()
		if after := time.Since(began); after != 2*time.Second {
			t.Errorf("Run returned after %v, want grace and a second", after)
		}
		want := `worker: 2 handlers still run 1s after their contexts ended, mend them to watch Request.Context: GET "/stuck", GET "/void"`
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if run.logs.count("handlers ignore that their contexts ended") != 1 {
			t.Errorf("log:\n%s", run.logs)
		}
		close(release)
		synctest.Wait()
	})
}

func TestDrainWhileIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run, l := serve(t, hello)
		began := time.Now()
		run.cancel()
		l.want(`GOAWAY 0 last 0 NO_ERROR worker drains`)
		l.wantClosed()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		if after := time.Since(began); after != 0 {
			t.Errorf("took %v", after)
		}
	})
}

func TestWelcomeWhileDraining(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := held()
		run, l := serve(t, h)
		l.get(1, "/")
		l.wantQuiet()
		run.cancel()
		l.want(`GOAWAY 0 last 1 NO_ERROR worker drains`)
		l.welcome(frame.WelcomeInfo{Connection: 1})
		l.wantQuiet()
		l.welcome(frame.WelcomeInfo{Connection: 2})
		l.wantJoin(2)
		l.want(`GOAWAY 0 last 0 NO_ERROR worker drains`)
		l.wantClosed()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDrainInEveryState(t *testing.T) {
	for name, reach := range map[string]func(r *router){
		"dialling": nil,
		"handshake": func(r *router) {
			nc, err := r.listen.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nc.Close() })
			synctest.Wait()
		},
		"before WELCOME": func(r *router) { r.accept().wantQuiet() },
		"between links": func(r *router) {
			_ = r.join().Close()
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRouter(t)
				w := Worker{Handler: http.HandlerFunc(hello)}
				if reach == nil {
					w.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					}
				}
				run := r.start(w)
				synctest.Wait()
				if reach != nil {
					reach(r)
				}
				began := time.Now()
				if err := run.stop(); err != nil {
					t.Error(err)
				}
				if after := time.Since(began); after != 0 {
					t.Errorf("took %v", after)
				}
			})
		})
	}
}

func TestLinkLostWhileDrainingIsNotRedialled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &dialTimes{open: true}
		r := newRouter(t)
		d.dial = r.dial
		run := r.start(Worker{Dial: d.Dial, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })})
		l := r.join()
		l.get(1, "/")
		l.wantQuiet()
		run.cancel()
		l.want(`GOAWAY 0 last 1 NO_ERROR worker drains`)
		_ = l.Close()
		time.Sleep(10 * time.Second)
		close(release)
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		if len(d.times) != 1 {
			t.Errorf("dialled %d times, want once", len(d.times))
		}
	})
}

func TestRouterThatDoesNotReadHoldsUpTheEndForSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, nc := newGate()
		r := newRouter(t)
		run := r.start(Worker{Dial: once(a), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 100<<10))
		})})
		l := serveLink(t, nc, zmtpDefaults, nil)
		l.welcome(welcome1)
		l.wantJoin(1)
		nc.shut()
		l.get(1, "/")
		synctest.Wait()
		began := time.Now()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		if after := time.Since(began); after > 6*time.Second {
			t.Errorf("took %v", after)
		}
		nc.open()
	})
}
