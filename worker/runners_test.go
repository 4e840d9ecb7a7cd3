package worker

import (
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// However many handlers wait, for each other or for anything else, the next request begins at once.
func TestHandlersThatWaitHoldNoOthersUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const requests = 3 * maxParked
		var begun [requests + 1]chan struct{}
		r := newRouter(t)
		r.start(Worker{Concurrency: requests, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var i int
			_, _ = fmt.Sscanf(r.URL.Path, "/%d", &i)
			close(begun[i])
			<-begun[i+1] // each for the one that came after it
			w.WriteHeader(http.StatusNoContent)
		})})
		l := r.join()
		id := uint64(0)
		for range 3 { // with new runners, then with some that were parked
			for i := range requests {
				begun[i] = make(chan struct{})
			}
			begun[requests] = make(chan struct{})
			for i := range requests {
				id++
				l.get(id, fmt.Sprintf("/%d", i))
			}
			synctest.Wait()
			close(begun[requests])
			for range requests {
				if f := l.next(); !f.End() {
					t.Fatalf("got %s", show(f))
				}
			}
			synctest.Wait()
		}
	})
}

// A burst of slow handlers leaves no more goroutines behind than it is worth, and a quiet worker answers as before.
func TestBurstLeavesFewGoroutines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const requests = 10 * maxParked
		release := make(chan struct{})
		r := newRouter(t)
		r.start(Worker{Concurrency: requests, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			<-release
			w.WriteHeader(http.StatusNoContent)
		})})
		l := r.join()
		before := runtime.NumGoroutine()
		for id := range uint64(requests) {
			l.get(id+1, "/")
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n < requests {
			t.Errorf("%d requests run in %d goroutines", requests, n)
		}
		close(release)
		for range requests {
			l.next()
		}
		synctest.Wait()
		n := runtime.NumGoroutine() - before
		for range 100_000 { // one that has ended counts until the scheduler has put it away
			if n <= maxParked {
				break
			}
			runtime.Gosched()
			n = runtime.NumGoroutine() - before
		}
		if n > maxParked {
			t.Errorf("%d goroutines are left, want at most %d", n, maxParked)
		}
		l.get(requests+1, "/")
		l.want(fmt.Sprintf("HEADERS %d [:status: 204] END 0", requests+1))
	})
}

// A handler that ends its goroutine takes nobody's turn along.
func TestGoexitTakesNoOthersAlong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/exit" {
				runtime.Goexit()
			}
			w.WriteHeader(http.StatusNoContent)
		})
		statuses := map[string]int{}
		for id := range uint64(DefaultConcurrency) {
			l.get(id+1, []string{"/", "/exit"}[id%2])
		}
		for range DefaultConcurrency {
			f := l.next()
			statuses[string(f.Fields.Get(":status"))]++
		}
		if statuses["204"] != DefaultConcurrency/2 || statuses["500"] != DefaultConcurrency/2 {
			t.Errorf("got %v", statuses)
		}
	})
}

// What a handler keeps is its own for ever, however many requests come after it.
func TestKeptRequestsAndHeadersStay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type kept struct {
			path     string
			request  *http.Request
			header   http.Header
			response http.Header
		}
		var mu sync.Mutex
		var all []kept
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Path", r.URL.Path)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, kept{r.RequestURI, r, r.Header, w.Header()})
		})
		const requests = 200
		for id := range uint64(requests) {
			path := fmt.Sprintf("/%d", id)
			l.get(id+1, path, "user-agent", path, "x-own", path, "x-forwarded-for", fmt.Sprintf("10.0.0.%d", id))
			l.want(fmt.Sprintf("HEADERS %d [:status: 200, x-path: %s, content-length: 0] END 0", id+1, path))
		}
		synctest.Wait() // a context ends after the answer has left
		for i, k := range all {
			path := fmt.Sprintf("/%d", i)
			r := k.request
			if k.path != path || r.URL.Path != path || r.RequestURI != path || r.Header.Get("User-Agent") != path || k.header.Get("X-Own") != path ||
				k.response.Get("X-Path") != path || r.RemoteAddr != fmt.Sprintf("10.0.0.%d:0", i) || r.Context().Err() == nil {
				t.Fatalf("request %d became %s %s %v, its answer's header %v", i, r.Method, r.URL, r.Header, k.response)
			}
		}
	})
}

// A queue that is never empty keeps its order, and no more memory than what waits needs.
func TestQueueOfRequestsStaysSmall(t *testing.T) {
	r := runners{told: true} // none starts
	var next, want uint64
	add := func() {
		next++
		r.serve(&exchange{stream: stream{id: next}})
	}
	add()
	for range 10_000 {
		add()
		want++
		r.mu.Lock()
		x := r.take()
		r.mu.Unlock()
		if x.stream.id != want {
			t.Fatalf("request %d came when it was the turn of %d", x.stream.id, want)
		}
	}
	if n := cap(r.queue); n > 16 {
		t.Errorf("two that wait take room for %d", n)
	}
}
