package main_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
)

// It works when 10, first half.
func TestRouterSIGTERMUnderLoad(t *testing.T) {
	r := startRouter(t)
	r.worker("worker-1")
	r.worker("worker-2")
	r.awaitReady(2)
	l := startLoad(t, r.web, 20)
	l.awaitServed(3000)
	l.ending.Store(true)
	r.stop()
	l.clients.Wait() // each has seen that nobody listens
	t.Logf("%d served, %d failed", l.served.Load(), l.failed.Load())
}

// It works when 10, second half.
func TestWorkerSIGTERMUnderLoad(t *testing.T) {
	r := startRouter(t)
	first := r.worker("worker-1")
	r.worker("worker-2")
	r.awaitReady(2)
	l := startLoad(t, r.web, 20)
	l.awaitServed(2000)
	first.stop()
	l.awaitServed(1000)
	l.end()
	r.awaitStreams(0, 0)
	t.Logf("%d served, %d failed", l.served.Load(), l.failed.Load())
	r.stop()
}

func TestSIGTERMFinishesWhatRuns(t *testing.T) {
	r := startRouter(t)
	w := r.worker("worker-1")
	r.awaitReady(1)
	c := mustDial(t, r.web)
	if err := c.send("GET /hold", ""); err != nil {
		t.Fatal(err)
	}
	resp, err := c.head()
	if err != nil {
		t.Fatal(err)
	}
	if resp.Close {
		t.Error("Connection: close before anything stops")
	}
	if status := r.ask("/readyz", nil); status != http.StatusOK {
		t.Errorf("/readyz is %d before SIGTERM", status)
	}

	r.signal(syscall.SIGTERM)
	eventually(t, "the HTTP port closed", func() bool {
		nc, err := net.Dial("tcp", r.web)
		if err == nil {
			_ = nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if status := r.ask("/readyz", nil); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d while the router drains", status)
	}
	w.signal(syscall.SIGUSR1)
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "begun\nended\n" {
		t.Errorf("the answer that ran: %q %v", body, err)
	}
	if st := r.status(); st.ExitStatus() != 0 {
		t.Errorf("the router ended with %d", st.ExitStatus())
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			r := startRouter(t)
			r.worker("worker-1")
			r.awaitReady(1)
			c := mustDial(t, r.web)
			if err := c.send("GET /hang", ""); err != nil {
				t.Fatal(err)
			}
			if _, err := c.head(); err != nil {
				t.Fatal(err)
			}
			r.signal(s)
			eventually(t, "it drains", func() bool { return r.ask("/readyz", nil) == http.StatusServiceUnavailable })
			r.signal(s)
			if st := r.status(); !st.Signaled() || st.Signal() != s {
				t.Errorf("it ended with %v, want by signal", st)
			}
		})
	}
}

func TestDrainIsLimited(t *testing.T) {
	r := startRouter(t, "--drain", "50ms")
	r.worker("worker-1")
	r.awaitReady(1)
	c := mustDial(t, r.web)
	if err := c.send("GET /hang", ""); err != nil {
		t.Fatal(err)
	}
	resp, err := c.head()
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an answer that was cut looks whole")
	}
}
