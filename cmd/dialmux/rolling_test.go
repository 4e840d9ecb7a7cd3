package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker"
)

func TestF3RollingRestartOfWorkers(t *testing.T) {
	r := startRouter(t)
	var all []*program
	for i := range 4 {
		all = append(all, r.worker(fmt.Sprint("worker-", i)))
	}
	r.awaitReady(4)
	l := startLoad(t, r.web, 20)
	l.awaitServed(500)
	for i, old := range all {
		old.stop()
		r.worker(fmt.Sprint("worker-", i, "-again"))
		r.awaitReady(4)
		l.awaitServed(500)
	}
	l.end()
	r.awaitStreams(0, 0)
	t.Logf("%d served, %d failed", l.served.Load(), l.failed.Load())
	r.stop()
}

// twoRouters are on fixed ports, so that they can start anew.
type twoRouters struct {
	t       *testing.T
	web     [2]string
	workers [2]string
	running [2]*runningRouter
}

func startTwoRouters(t *testing.T) *twoRouters {
	t.Helper()
	two := &twoRouters{t: t}
	for i := range two.running {
		two.web[i] = strings.TrimPrefix(freeEndpoint(t), "tcp://")
		two.workers[i] = freeEndpoint(t)
		two.start(i)
	}
	return two
}

func (two *twoRouters) start(i int) {
	two.t.Helper()
	two.running[i] = startRouter(two.t, "--listen", two.web[i], "--workers", two.workers[i])
}

// ask asks one router, and the other if the first is not there or did not
// answer: as any client does that knows both.
func (two *twoRouters) ask(c *http.Client, n int) error {
	var last error
	for try := range 20 {
		resp, err := c.Get("http://" + two.web[(n+try)%2] + "/work")
		if err != nil {
			if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			last = err
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || string(body) != "0 bytes\n" {
			return fmt.Errorf("%s %q %w", resp.Status, body, err)
		}
		return nil
	}
	return last
}

// load asks until the function that it returns is called.
func (two *twoRouters) load(clients int) (served *atomic.Int64, end func()) {
	served = new(atomic.Int64)
	var wg sync.WaitGroup
	var stop atomic.Bool
	for i := range clients {
		c := newHTTPClient(two.t, 1, nil)
		wg.Go(func() {
			for n := i; !stop.Load(); n++ {
				if err := two.ask(c, n); err != nil {
					two.t.Errorf("client %d, request %d: %v", i, n, err)
					return
				}
				served.Add(1)
			}
		})
	}
	var once sync.Once
	end = func() {
		once.Do(func() {
			stop.Store(true)
			wg.Wait()
		})
	}
	two.t.Cleanup(end)
	return served, end
}

func (two *twoRouters) more(served *atomic.Int64, n int64) {
	two.t.Helper()
	until := served.Load() + n
	eventually(two.t, "answers under load", func() bool { return served.Load() >= until || two.t.Failed() })
}

func TestF3RollingRestartOfRouters(t *testing.T) {
	two := startTwoRouters(t)
	for i := range 2 {
		start(t, "testworker", fmt.Sprint("worker-", i), two.workers[0], two.workers[1])
	}
	for _, r := range two.running {
		r.awaitReady(2)
	}
	served, end := two.load(8)
	two.more(served, 500)
	for i, r := range two.running {
		r.stop()
		two.more(served, 500)
		two.start(i)
		two.running[i].awaitReady(2)
		two.more(served, 500)
	}
	end()
	t.Logf("%d served", served.Load())
}

// A worker of two routers serves one while the other is dead, is back soon
// after that is, and never runs more than it said in all.
func TestF4WorkerOfTwoRouters(t *testing.T) {
	const concurrency = 3
	two := startTwoRouters(t)
	var running, most, surplus atomic.Int64
	w := worker.Worker{
		Name: "worker-1", Routers: two.workers[:], Concurrency: concurrency,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if n > concurrency {
				surplus.Add(1)
			}
			time.Sleep(time.Millisecond) // that is the work
			_, _ = io.WriteString(w, "0 bytes\n")
		}),
	}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer working.Wait()
	defer stop()
	for _, r := range two.running {
		r.awaitReady(1)
	}
	served, end := two.load(16)
	two.more(served, 500)
	back := time.Hour
	for i, r := range two.running {
		r.signal(syscall.SIGKILL)
		_ = r.status()
		two.more(served, 500) // by the other
		two.start(i)
		began := time.Now()
		two.running[i].awaitReady(1)
		took := time.Since(began)
		if back = min(back, took); took > 2*time.Second && !raced { // with the race detector a machine may be so busy that it holds up one of them
			t.Errorf("it was back after %v", took)
		}
		two.more(served, 500)
	}
	end()
	if back > 2*time.Second {
		t.Errorf("each was back after %v at least", back)
	}
	if surplus.Load() > 0 || most.Load() != concurrency {
		t.Errorf("it ran %d at once, and announced %d", most.Load(), concurrency)
	}
	t.Logf("%d served", served.Load())
}
