package main_test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// freeEndpoint is for a router that starts after its workers.
func freeEndpoint(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "tcp://" + l.Addr().String()
}

// It works when 1.
func TestWorkersTakeTurns(t *testing.T) {
	t.Run("router first", func(t *testing.T) {
		r := startRouter(t)
		r.worker("worker-1")
		r.worker("worker-2")
		r.awaitReady(2)
		checkTurns(t, "http://"+r.web+"/")
	})
	t.Run("workers first", func(t *testing.T) {
		endpoint := freeEndpoint(t)
		startWorker(t, "worker-1", endpoint)
		startWorker(t, "worker-2", endpoint)
		r := startRouter(t, "--workers", endpoint)
		r.awaitReady(2)
		checkTurns(t, "http://"+r.web+"/")
	})
	t.Run("demo", func(t *testing.T) {
		d := start(t, "dialmux", "demo", "--listen", "127.0.0.1:0", "--workers", "tcp://127.0.0.1:0", "--admin", "")
		var url string
		eventually(t, "what to try", func() bool {
			_, after, found := strings.Cut(d.log.String(), "curl ")
			url, _, _ = strings.Cut(after, "\n")
			return found && strings.HasSuffix(d.log.String(), "Ctrl-C ends it.\n")
		})
		checkTurns(t, url)
		d.stop()
	})
}

func checkTurns(t *testing.T, url string) {
	t.Helper()
	var got []string
	for range 6 {
		got = append(got, get(t, url))
	}
	one, two := "Hello from worker-1\n", "Hello from worker-2\n"
	if want := []string{one, two, one, two, one, two, one}; !slices.Equal(got, want[:6]) && !slices.Equal(got, want[1:]) {
		t.Errorf("six requests got %q", got)
	}
}

// It works when 2.
func TestMoreWorkersComeAndGo(t *testing.T) {
	r := startRouter(t)
	r.worker("worker-1")
	r.worker("worker-2")
	r.awaitReady(2)
	var more []*program
	for i := range 5 {
		more = append(more, r.worker(fmt.Sprintf("worker-%d", i+3)))
	}
	r.awaitReady(7)
	counts := map[string]int{}
	for range 70 {
		counts[strings.TrimSpace(get(t, "http://"+r.web+"/"))]++
	}
	for name, n := range counts {
		if n < 9 || n > 11 {
			t.Errorf("%s: %d of 70", name, n)
		}
	}
	if len(counts) != 7 {
		t.Errorf("%d workers served: %v", len(counts), counts)
	}

	l := startLoad(t, r.web, 4)
	for _, w := range more {
		l.awaitServed(100)
		w.stop()
	}
	l.awaitServed(100)
	l.end()
	r.awaitReady(2)
}

// It works when 4.
func TestRequestsWaitForAWorker(t *testing.T) {
	r := startRouter(t)
	c := mustDial(t, r.web)
	if err := c.send("GET /", ""); err != nil {
		t.Fatal(err)
	}
	r.awaitStreams(1, 0)
	if status := r.ask("/readyz", nil); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d without a worker", status)
	}
	w := r.worker("worker-1")
	if resp, body, err := c.whole(); err != nil || resp.StatusCode != http.StatusOK || body != "Hello from worker-1\n" {
		t.Errorf("what waited got %v %q %v", resp, body, err)
	}
	w.stop()

	began := time.Now()
	if err := c.send("GET /", ""); err != nil {
		t.Fatal(err)
	}
	resp, body, err := c.whole()
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("without a worker: %v %q %v", resp, body, err)
	}
	if waited := time.Since(began); waited < 5*time.Second {
		t.Errorf("503 came after %v, before --queue-wait was over", waited)
	}
	r.stop()
}

// It works when 4, the limit.
func TestWaitingRoomIsLimited(t *testing.T) {
	r := startRouter(t, "--queue-wait", "1h", "--drain", "0s")
	for range 1024 {
		if err := mustDial(t, r.web).send("GET /", ""); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitStreams(1024, 0)
	c := mustDial(t, r.web)
	if err := c.send("GET /", ""); err != nil {
		t.Fatal(err)
	}
	if resp, body, err := c.whole(); err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the 1,025th: %v %q %v", resp, body, err)
	}
	r.awaitStreams(1024, 0)
	r.stop()
}

// It works when 5, in Go.
func TestClientLeaves(t *testing.T) {
	r := startRouter(t, "--queue-wait", "1h")

	// While it waits.
	waits := mustDial(t, r.web)
	if err := waits.send("GET /never", ""); err != nil {
		t.Fatal(err)
	}
	r.awaitStreams(1, 0)
	_ = waits.Close()
	r.awaitStreams(0, 0)

	// Mid-response.
	r.worker("worker-1")
	r.awaitReady(1)
	begun := mustDial(t, r.web)
	if err := begun.send("GET /hang", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := begun.head(); err != nil {
		t.Fatal(err)
	}
	r.awaitStreams(0, 1)
	_ = begun.Close()
	eventually(t, "the handler's context ended", func() bool { return get(t, "http://"+r.web+"/seen") == "left" })
	r.awaitStreams(0, 0)

	get(t, "http://"+r.web+"/last")
	if seen := get(t, "http://"+r.web+"/seen"); seen != "left\n/last" {
		t.Errorf("the worker saw %q; /never had gone before it came", seen)
	}
	r.stop()
}
