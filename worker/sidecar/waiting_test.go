package sidecar_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

// An app that hangs loses what waits for it and may be repeated, once its worker is withdrawn: another worker has it. What may not be repeated
// goes on, for an answer may come yet, and so does what has begun. An app that says no is trusted to end what it has.
func TestAnAppThatHangsLosesWhatWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		scheme string
		hangs  bool
	}{
		"hangs, HTTP/1.1": {"http", true}, "says no, HTTP/1.1": {"http", false},
		"hangs, HTTP/2": {"h2c", true}, "says no, HTTP/2": {"h2c", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ill atomic.Bool
			came, release := make(chan struct{}), make(chan struct{})
			app := goApp(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/healthz" && ill.Load() && tc.hangs:
					<-r.Context().Done()
				case r.URL.Path == "/healthz" && ill.Load():
					w.WriteHeader(http.StatusServiceUnavailable)
				case r.URL.Path == "/stream":
					_ = http.NewResponseController(w).Flush()
					fallthrough
				case r.URL.Path == "/wait":
					came <- struct{}{}
					select {
					case <-release:
					case <-r.Context().Done():
					}
					_, _ = io.WriteString(w, "at last")
				}
			})
			w := watch(t, tc.scheme+"://"+app, sidecar.Options{Health: "/healthz", Interval: time.Second})
			eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
			begin := func(method, target string) (outcome func() (string, error)) {
				recorder, ended := httptest.NewRecorder(), make(chan error, 1)
				var asking sync.WaitGroup
				asking.Go(func() {
					defer func() {
						err, _ := recover().(error)
						ended <- err
					}()
					w.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody))
				})
				return func() (string, error) {
					asking.Wait()
					return recorder.Body.String(), <-ended
				}
			}
			if _, err := begin("GET", "/")(); err != nil { // leaves a connection, for the next one
				t.Error(err)
			}
			get := begin("GET", "/wait")
			<-came
			post := begin("POST", "/wait")
			<-came
			stream := begin("GET", "/stream")
			<-came
			ill.Store(true)
			eventually(t, "the worker's end", func() bool { return w.dialling.Load() == 0 })
			if tc.hangs {
				if got, err := get(); !errors.Is(err, worker.ErrLost) || !strings.Contains(err.Error(), "the app hangs") {
					t.Errorf("GET: %q, given away with %v", got, err)
				}
				if got, err := begin("POST", "/")(); !errors.Is(err, worker.ErrRefused) {
					t.Errorf("one that comes now: %q, given away with %v", got, err)
				}
			}
			close(release)
			if !tc.hangs {
				if got, err := get(); got != "at last" || err != nil {
					t.Errorf("GET: %q, %v", got, err)
				}
			}
			if got, err := post(); got != "at last" || err != nil {
				t.Errorf("POST: %q, %v", got, err)
			}
			if got, err := stream(); got != "at last" || err != nil {
				t.Errorf("what has begun: %q, %v", got, err)
			}
			ill.Store(false)
			eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
			if got, err := begin("GET", "/")(); err != nil {
				t.Errorf("an app that is well again: %q, %v", got, err)
			}
		})
	}
}
