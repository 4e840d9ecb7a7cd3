package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is a process of its own.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  buffer
	done chan struct{} // closed when it has ended
}

// start runs dialmux, testworker or get.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	return startCommand(t, exec.Command(name, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{t: t, cmd: cmd, done: make(chan struct{})}
	p.cmd.Stdout = &p.log
	p.begin()
	return p
}

// begin starts p, whose stderr becomes the log if it is not set.
func (p *program) begin() {
	p.t.Helper()
	if p.cmd.Stderr == nil {
		p.cmd.Stderr = &p.log
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer close(p.done)
		_ = p.cmd.Wait() // ProcessState tells
	})
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		waiting.Wait()
		if p.t.Failed() {
			p.t.Logf("%s\n%s", strings.Join(p.cmd.Args, " "), p.log.String())
		}
	})
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// status waits for the end.
func (p *program) status() syscall.WaitStatus {
	<-p.done
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// stop ends p gently.
func (p *program) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if st := p.status(); st.ExitStatus() != 0 {
		p.t.Errorf("%s ended with %d after SIGTERM", p.cmd.Path, st.ExitStatus())
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eventually polls.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for said := time.Now(); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			t.Logf("still waiting: %s", what)
		}
	}
}

// runningRouter is a dialmux router on ports of its own.
type runningRouter struct {
	*program
	web, workers, admin string // host:port, endpoint, host:port
}

// startRouter returns when the ports are open. Flags given come last.
func startRouter(t *testing.T, flags ...string) *runningRouter {
	t.Helper()
	args := []string{"router", "--listen", "127.0.0.1:0", "--workers", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0"}
	return awaitPorts(t, start(t, "dialmux", append(args, flags...)...))
}

func awaitPorts(t *testing.T, p *program) *runningRouter {
	t.Helper()
	r := &runningRouter{program: p}
	eventually(t, "the router's ports", func() bool {
		select {
		case <-r.done:
			t.Fatalf("the router ended: %s", r.log.String())
		default:
		}
		r.web, r.workers, r.admin = r.logged("HTTP port open", "address"), r.logged("worker port open", "endpoint"), r.logged("admin port open", "address")
		return r.web != "" && r.workers != "" && r.admin != ""
	})
	return r
}

// logged returns a value of the first line with this message.
func (p *program) logged(msg, key string) string {
	d := json.NewDecoder(strings.NewReader(p.log.String()))
	for {
		var line map[string]any
		if err := d.Decode(&line); err != nil {
			return "" // the last line may be half
		}
		if v, ok := line[key].(string); ok && line["msg"] == msg {
			return v
		}
	}
}

func (r *runningRouter) worker(name string) *program { return startWorker(r.t, name, r.workers) }

func startWorker(t *testing.T, name, endpoint string) *program {
	t.Helper()
	return start(t, "testworker", name, endpoint)
}

// ask reads what the admin port says, and returns the status.
func (r *runningRouter) ask(path string, into any) int {
	r.t.Helper()
	resp, err := http.Get("http://" + r.admin + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			r.t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// awaitReady waits for as many workers, all of them ready.
func (r *runningRouter) awaitReady(n int) {
	r.t.Helper()
	eventually(r.t, "ready workers", func() bool {
		var all []struct{ State string }
		r.ask("/workers", &all)
		ready := 0
		for _, w := range all {
			if w.State == "ready" {
				ready++
			}
		}
		return ready == n && len(all) == n
	})
}

func (r *runningRouter) awaitStreams(waiting, open int) {
	r.t.Helper()
	eventually(r.t, "streams", func() bool {
		var s struct{ Waiting, Open int }
		r.ask("/streams", &s)
		return s.Waiting == waiting && s.Open == open
	})
}

// get returns the body of a 200.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %q %v", url, resp.Status, body, err)
	}
	return string(body)
}
