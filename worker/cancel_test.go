package worker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestClientLeavesWhileTheHandlerWaits(t *testing.T) {
	for name, wait := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"for the context": func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			if !errors.Is(r.Context().Err(), context.Canceled) {
				return r.Context().Err()
			}
			return context.Cause(r.Context())
		},
		"in Read": func(_ http.ResponseWriter, r *http.Request) error {
			_, err := io.ReadAll(r.Body)
			return err
		},
		"in Write": func(w http.ResponseWriter, _ *http.Request) error {
			_, err := w.Write(make([]byte, 1<<20))
			return err
		},
		"in ReadFrom": func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.Copy(w, struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1<<20))})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				errs := make(chan error, 1)
				_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
					errs <- wait(w, r)
					if n, err := w.Write([]byte("too late")); n != 0 || !errors.Is(err, context.Canceled) {
						t.Errorf("Write: %d, %v", n, err)
					}
				})
				l.post(1, "/")
				synctest.Wait()
				for len(l.got) > 0 {
					l.next()
				}
				l.cancel(1)
				if err := <-errs; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the client is gone (CANCEL: client left)") {
					t.Errorf("got %v", err)
				}
				l.want(`RST_STREAM 1 CANCEL `)
				l.cancel(1)
				l.wantQuiet()
			})
		})
	}
}

func TestClientLeavesBeforeTheHandlerBegins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		r.start(Worker{Handler: http.HandlerFunc(hello)})
		l := r.join()
		for id := uint64(1); id <= 500; id++ { // whichever comes first: each gets its one last frame, and no slot is lost
			l.get(id, "/")
			l.cancel(id)
			if f := l.next(); f.Stream != id || !f.End() && f.Type.String() != "RST_STREAM" {
				t.Fatalf("got %s", show(f))
			}
			l.wantQuiet()
		}
	})
}

// What is queued and has not left goes when the client does.
func TestClientLeavesTakesTheQueueAlong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, nc := newGate()
		r := newRouter(t)
		r.start(Worker{Dial: once(a), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/block" {
				_, _ = w.Write(make([]byte, 100<<10))
				return
			}
			_, _ = w.Write(make([]byte, 100<<10))
			<-r.Context().Done()
		})})
		l := serveLink(t, nc, zmtpDefaults, nil)
		l.welcome(welcome1)
		l.wantJoin(1)
		nc.shut()
		l.get(1, "/block") // fills the pipe
		synctest.Wait()
		l.get(2, "/")
		synctest.Wait()
		l.cancel(2)
		synctest.Wait()
		nc.open()
		synctest.Wait()
		var second []string
		for len(l.got) > 0 {
			if f := l.next(); f.Stream == 2 {
				second = append(second, show(f))
			}
		}
		if len(second) != 1 || second[0] != `RST_STREAM 2 CANCEL ` {
			t.Errorf("of the answer that was cancelled came %q, want the RST_STREAM alone", second)
		}
	})
}

func TestContextEndsWithTheHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var ctx context.Context
		_, l := serve(t, func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() })
		l.get(1, "/")
		l.next()
		synctest.Wait()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("Err is %v", ctx.Err())
		}
	})
}

func runtimeGoexit() { runtime.Goexit() }

type key struct{}

func TestContextHasTheValuesOfRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		done := make(chan error)
		go func() {
			w := Worker{Dial: r.dial, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.Context().Value(key{}).(string))
			})}
			done <- w.Run(ctx)
		}()
		l := r.join()
		l.get(1, "/")
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 5] END 5 "value"`)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestF8Panics(t *testing.T) {
	for name, tc := range map[string]struct {
		h      http.HandlerFunc
		want   []string
		logged string
	}{
		"before the head left": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Lost", "1")
				w.WriteHeader(http.StatusCreated)
				_, _ = w.Write([]byte("lost"))
				panic("boom")
			},
			[]string{"HEADERS 1 [:status: 500, " + plain + ", x-content-type-options: nosniff, content-length: 22] END 22 \"Internal Server Error\\n\""},
			"boom",
		},
		"after it left": {
			func(w http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
				panic("boom")
			},
			[]string{"HEADERS 1 [:status: 200]", "RST_STREAM 1 INTERNAL_ERROR worker: the handler gave up"},
			"boom",
		},
		"ErrAbortHandler": {
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			[]string{"RST_STREAM 1 INTERNAL_ERROR worker: the handler gave up"},
			"",
		},
		"Goexit": {
			func(http.ResponseWriter, *http.Request) { runtimeGoexit() },
			[]string{"HEADERS 1 [:status: 500, " + plain + ", x-content-type-options: nosniff, content-length: 22] END 22 \"Internal Server Error\\n\""},
			"runtimeGoexit",
		},
		"status 101": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) },
			[]string{"HEADERS 1 [:status: 500, " + plain + ", x-content-type-options: nosniff, content-length: 22] END 22 \"Internal Server Error\\n\""},
			"the request is no upgrade",
		},
		"status 99": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(99) },
			[]string{"HEADERS 1 [:status: 500, " + plain + ", x-content-type-options: nosniff, content-length: 22] END 22 \"Internal Server Error\\n\""},
			"a status has three digits",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				run, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/" {
						tc.h(w, r)
					}
					hello(w, r)
				})
				l.get(1, "/")
				l.want(tc.want...)
				if tc.logged == "" && run.logs.count("level=ERROR") != 0 ||
					tc.logged != "" && (run.logs.count("level=ERROR") != 1 || run.logs.count(tc.logged) != 1 || run.logs.count("worker.TestF8Panics") != 1) {
					t.Errorf("log, wanted once and with a stack %q:\n%s", tc.logged, run.logs)
				}
				l.get(2, "/ok") // and nothing else is hurt
				l.want(`HEADERS 2 [` + helloHead + `, content-length: 9] END 9 "hello /ok"`)
				l.wantQuiet()
			})
		})
	}
}
