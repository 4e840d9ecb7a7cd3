package main_test

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// overEachFront runs a test for each way to ask for something.
func overEachFront(t *testing.T, test func(t *testing.T, r *runningRouter, ask func() *http.Client, url string), flags ...string) {
	for _, front := range []struct {
		name  string
		major int
		tls   bool
	}{{"HTTP/1.1", 1, false}, {"HTTP/1.1 over TLS", 1, true}, {"HTTP/2", 2, false}, {"HTTP/2 over TLS", 2, true}} {
		t.Run(front.name, func(t *testing.T) {
			var r *runningRouter
			var trust *x509.CertPool
			scheme := "http://"
			if front.tls {
				secure := startTLSRouter(t, flags...)
				r, trust, scheme = secure.runningRouter, secure.trust, "https://"
			} else {
				r = startRouter(t, flags...)
			}
			test(t, r, func() *http.Client { return newHTTPClient(t, front.major, trust) }, scheme+r.web)
		})
	}
}

// begin asks for something whose beginning is "begun".
func begin(t *testing.T, c *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if _, err := io.ReadFull(resp.Body, make([]byte, len("begun\n"))); err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestSIGTERMFinishesWhatRunsOverEachFront(t *testing.T) {
	overEachFront(t, func(t *testing.T, r *runningRouter, client func() *http.Client, url string) {
		w := r.worker("worker-1")
		r.awaitReady(1)
		c := client()
		runs := begin(t, c, url+"/hold")
		idle := client()
		resp, err := idle.Get(url + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()

		r.signal(syscall.SIGTERM)
		awaitRefusal(t, r.web)
		w.signal(syscall.SIGUSR1)
		if body, err := io.ReadAll(runs.Body); err != nil || string(body) != "ended\n" {
			t.Errorf("the answer that ran: %q %v", body, err)
		}
		if st := r.status(); st.ExitStatus() != 0 {
			t.Errorf("the router ended with %d", st.ExitStatus())
		}
		if strings.Contains(r.log.String(), "cut off") {
			t.Error("requests were cut off")
		}
	})
}

func TestSecondSignalEndsAtOnceOverEachFront(t *testing.T) {
	overEachFront(t, func(t *testing.T, r *runningRouter, client func() *http.Client, url string) {
		r.worker("worker-1")
		r.awaitReady(1)
		begin(t, client(), url+"/hang")
		r.signal(syscall.SIGTERM)
		eventually(t, "it drains", func() bool { return r.ask("/readyz", nil) == http.StatusServiceUnavailable })
		r.awaitLine(`"msg":"still draining; a second signal ends it at once"`)
		r.signal(syscall.SIGTERM)
		if st := r.status(); !st.Signaled() || st.Signal() != syscall.SIGTERM {
			t.Errorf("it ended with %v, want by signal", st)
		}
	})
}

func TestDrainCutsOffOverEachFront(t *testing.T) {
	overEachFront(t, func(t *testing.T, r *runningRouter, client func() *http.Client, url string) {
		r.worker("worker-1")
		r.awaitReady(1)
		c := client()
		var running []*http.Response
		for range 3 {
			running = append(running, begin(t, c, url+"/hang"))
		}
		r.stop()
		for _, resp := range running {
			if rest, err := io.ReadAll(resp.Body); err == nil || len(rest) > 0 {
				t.Errorf("the answer went on with %q and ended with %v", rest, err)
			}
		}
		if log := r.log.String(); !strings.Contains(log, `"requests were cut off at the end of the drain time","requests":3,`) {
			t.Error("the log does not say that three requests were cut off")
		}
	}, "--drain", "50ms")
}

// What is asked before the port closes is answered, over HTTP/2 as well. Its
// clients know from GOAWAY which requests were not served, and may ask again.
func TestRouterSIGTERMUnderLoadOverEachFront(t *testing.T) {
	overEachFront(t, func(t *testing.T, r *runningRouter, client func() *http.Client, url string) {
		r.worker("worker-1")
		r.awaitReady(1)
		var clients sync.WaitGroup
		var served atomic.Int64
		var ending atomic.Bool
		for i := range 8 {
			c := client()
			clients.Go(func() {
				for n := 0; ; n++ {
					resp, err := c.Post(url+"/work", "", strings.NewReader(strings.Repeat("x", n*37%2000)))
					if errors.Is(err, syscall.ECONNREFUSED) && ending.Load() {
						return
					}
					if err != nil {
						t.Errorf("client %d, request %d: %v", i, n, err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Errorf("client %d, request %d: %s %q %v", i, n, resp.Status, body, err)
						return
					}
					served.Add(1)
					if i%2 == 1 {
						c.CloseIdleConnections()
					}
				}
			})
		}
		eventually(t, "answers under load", func() bool { return served.Load() > 500 || t.Failed() })
		ending.Store(true)
		r.stop()
		clients.Wait()
	})
}
