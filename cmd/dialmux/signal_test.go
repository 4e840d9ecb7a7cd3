package main_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
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
	resp := r.hold()
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
			r.awaitLine(`"msg":"still draining; a second signal ends it at once"`)
			r.signal(s)
			if st := r.status(); !st.Signaled() || st.Signal() != s {
				t.Errorf("it ended with %v, want by signal", st)
			}
		})
	}
}

// timeout(1) signals the process that it started, and then the group of both: that is asking once, whatever runs.
func TestASignalAndItsEchoAreOne(t *testing.T) {
	for name, begin := range map[string]func(*runningRouter) (asked, answers *program){
		"router": func(r *runningRouter) (asked, answers *program) { return r.program, r.worker("worker-1") },
		"worker": func(r *runningRouter) (asked, answers *program) {
			port := freePort(r.t)
			app := start(r.t, "testapp", port)
			return r.sidecar("--to", "http://127.0.0.1:"+port), app
		},
		"run": func(r *runningRouter) (asked, answers *program) {
			p := r.run("--", "testapp", "$PORT")
			return p, p
		},
	} {
		t.Run(name, func(t *testing.T) {
			for echoed := false; !echoed; {
				r := startRouter(t)
				asked, answers := begin(r)
				r.awaitReady(1)
				c := mustDial(t, r.web)
				if err := c.send("GET /hold", ""); err != nil {
					t.Fatal(err)
				}
				resp, err := c.head()
				if err != nil {
					t.Fatal(err)
				}
				first := time.Now()
				asked.signal(syscall.SIGTERM)
				asked.awaitLine(`"msg":"draining`) // else the kernel may make one of them
				asked.signal(syscall.SIGTERM)
				if echoed = time.Since(first) < 50*time.Millisecond; !echoed {
					continue // the machine is slow, and that is none
				}
				answers.signal(syscall.SIGUSR1)
				if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "begun\nended\n" {
					t.Errorf("the answer that ran: %q %v", body, err)
				}
				if st := asked.status(); st.ExitStatus() != 0 {
					t.Errorf("it ended with %v", st)
				}
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

// Whoever is used to other proxies asks by SIGHUP for files to be read again: it cuts no request.
func TestSIGHUPEndsNothing(t *testing.T) {
	r := startRouter(t)
	port := freePort(t)
	app := start(t, "testapp", port)
	w := r.sidecar("--to", "http://127.0.0.1:"+port)
	r.awaitReady(1)
	resp := r.hold()
	for _, p := range []*program{w, r.program} {
		p.signal(syscall.SIGHUP)
		eventually(t, "it says what SIGHUP does", func() bool {
			select {
			case <-p.done:
				t.Fatal("it has ended")
			default:
			}
			return strings.Contains(p.log.String(), `"msg":"SIGHUP changes nothing: `)
		})
	}
	app.signal(syscall.SIGUSR1)
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "begun\nended\n" {
		t.Errorf("the answer that ran: %q %v", body, err)
	}
	w.stop()
	r.stop()
}
