package interop

import (
	"net/http"
	"sync"
	"testing"
)

// TestF8AHandlerThatFailsCostsItsOwnRequest: 500 from a Go worker, 502 from a
// Python one that gives the request up, a visible end if the answer had begun;
// the worker lives on, on the same connection, and answers what else it had.
func TestF8AHandlerThatFailsCostsItsOwnRequest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		join   func(t *testing.T, endpoint string) *process
		status int
	}{
		"Go":     {func(t *testing.T, endpoint string) *process { return startWorker(t, "w", nil, endpoint) }, http.StatusInternalServerError},
		"DEALER": {func(t *testing.T, endpoint string) *process { return startPython(t, dealer, "w", nil, endpoint) }, http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRouter(t)
			w := tc.join(t, r.endpoint())
			r.awaitWorkers("w")
			since := r.find("w").Since
			broken := 0
			var others sync.WaitGroup
			for range 8 {
				nonce := newNonce()
				others.Go(func() {
					if a := once(r.addr, get("/late?n="+nonce)); a.status != 200 || string(a.body) != string(proof(nonce)) {
						t.Errorf("a request beside those that fail: %+v", a)
					}
				})
			}
			for range 20 {
				if a := once(r.addr, get("/panic?n=boom")); a.status != tc.status || a.err != nil {
					t.Errorf("before the answer began: %+v, want %d", a, tc.status)
				}
				// 502 if the router had not sent the head on before it was reset.
				if a := once(r.addr, get("/panic?n=boom&begun=1")); (a.status != 200 || a.err == nil || a.hung()) && a.status != http.StatusBadGateway {
					t.Errorf("after it began: %+v, want a visible end", a)
				} else if a.status == 200 {
					broken++
				}
			}
			others.Wait()
			if broken == 0 {
				t.Error("no answer broke off after it began")
			}
			nonce := newNonce()
			if a := once(r.addr, getNonce(nonce)); a.status != 200 || string(a.body) != string(proof(nonce)) {
				t.Errorf("the next request: %+v", a)
			}
			if is := r.find("w"); !w.running() || is == nil || !is.Since.Equal(since) {
				t.Errorf("the worker is %+v", is)
			}
			r.awaitIdle()
		})
	}
}
