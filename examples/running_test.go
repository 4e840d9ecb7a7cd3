package examples_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const python = "/usr/bin/python3"

// bin holds the router and the Go examples, built by TestMain.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dialmux-examples-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "../cmd/dialmux", "./cache", "./hello", "./stream", "./upload")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the router and the examples:", err)
		return 1
	}
	return m.Run()
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   output
	ended chan struct{}
	err   error // of cmd.Wait, once ended is closed
}

// start runs a program until the test ends; what it wrote is shown if the test failed.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	})
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		wait.Wait()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", filepath.Base(name), p.out.String())
		}
	})
	return p
}

// stop sends SIGTERM, and wants the process to end with exit code 0.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		p.t.Errorf("after SIGTERM: %v, want exit code 0", p.err)
	}
}

// says waits until the process has written s.
func (p *process) says(s string) {
	p.t.Helper()
	for !strings.Contains(p.out.String(), s) {
		p.pause("waiting for it to say " + s)
	}
}

// pause is one turn of a loop that polls.
func (p *process) pause(what string) {
	p.t.Helper()
	select {
	case <-p.ended:
		p.t.Fatalf("%s: it ended: %v", what, p.err)
	case <-p.t.Context().Done():
		p.t.Fatal(what)
	case <-time.After(10 * time.Millisecond):
	}
}

// router is a Dialmux router of its own process.
type router struct {
	*process
	url, workers, admin string
}

func startRouter(t *testing.T) *router {
	t.Helper()
	front, workers, admin := freeAddr(t), freeAddr(t), freeAddr(t)
	r := &router{url: "http://" + front, workers: "tcp://" + workers, admin: "http://" + admin}
	r.process = start(t, filepath.Join(bin, "dialmux"), "router", "--listen", front, "--workers", r.workers, "--admin", admin)
	return r
}

// ready waits until the router has a worker; w is the one that should come.
func (r *router) ready(w *process) {
	r.t.Helper()
	for {
		if res, err := http.Get(r.admin + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		r.pause("waiting for a worker")
		w.pause("waiting for it to join")
	}
}

// freeAddr is an address that nobody listened on a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// do sends one request and returns the answer's head.
func (r *router) do(method, path string, body io.Reader) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		r.t.Fatalf("%s %s: %s: %s", method, path, res.Status, b)
	}
	return res
}

// wants sends a GET and compares the whole answer, and who gave it.
func (r *router) wants(path, worker, body string) {
	r.t.Helper()
	res := r.do(http.MethodGet, path, nil)
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != body {
		r.t.Errorf("GET %s: %q, %v, want %q", path, got, err, body)
	}
	if got := res.Header.Get("Dialmux-Worker"); got != worker {
		r.t.Errorf("GET %s: Dialmux-Worker is %q, want %q", path, got, worker)
	}
}

// needs skips the test where an interpreter or its packages are missing; in CI
// that is a failure.
func needs(t *testing.T, packages, name string, probe ...string) {
	t.Helper()
	out, err := exec.Command(name, probe...).CombinedOutput()
	if err == nil {
		return
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) && !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	why := fmt.Sprintf("%v: %s\nInstall Debian's packages: apt-get install %s", err, bytes.TrimSpace(out), packages)
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needsPython(t *testing.T) {
	t.Helper()
	needs(t, "python3-zmq python3-msgpack", python, "-c", "import zmq, msgpack")
}
