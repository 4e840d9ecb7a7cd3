package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

func TestHello(t *testing.T) {
	t.Parallel()
	r := startRouter(t)
	w := start(t, filepath.Join(bin, "hello"), "worker-1", r.workers)
	r.ready(w)
	r.wants("/", "worker-1", "Hello from worker-1\n")
	w.stop()
}

func TestStream(t *testing.T) {
	t.Parallel()
	r := startRouter(t)
	w := start(t, filepath.Join(bin, "stream"), "-every", "10ms", r.workers)
	r.ready(w)
	res := r.do(http.MethodGet, "/", nil)
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type is %q", got)
	}
	lines := bufio.NewScanner(res.Body)
	for n := 1; n <= 3; n++ {
		want := []string{fmt.Sprintf("id: %d", n), "data: ", ""}
		for _, prefix := range want {
			if !lines.Scan() || !strings.HasPrefix(lines.Text(), prefix) {
				t.Fatalf("event %d: line %q, want %q; %v", n, lines.Text(), prefix, lines.Err())
			}
		}
	}
	_ = res.Body.Close() // the client leaves
	w.says("stopped after")
	w.stop()
}

func TestUpload(t *testing.T) {
	t.Parallel()
	r := startRouter(t)
	w := start(t, filepath.Join(bin, "upload"), r.workers)
	r.ready(w)

	// A body whose second half waits until the worker has told of the first.
	const half = 17 << 20
	body := make([]byte, 2*half)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	reader, writer := io.Pipe()
	told := make(chan struct{})
	var sending errgroup.Group
	sending.Go(func() error {
		if _, err := writer.Write(body[:half]); err != nil {
			return err
		}
		<-told
		_, err := writer.Write(body[half:])
		_ = writer.Close()
		return err
	})
	res := r.do(http.MethodPut, "/", reader)
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() || lines.Text() != "16777216 bytes so far" {
		t.Errorf("first line: %q, %v", lines.Text(), lines.Err())
	}
	close(told)
	var last string
	for lines.Scan() {
		last = lines.Text()
	}
	if want := fmt.Sprintf("%d bytes, sha256 %x", len(body), sha256.Sum256(body)); last != want || lines.Err() != nil {
		t.Errorf("last line: %q, %v, want %q", last, lines.Err(), want)
	}
	if err := sending.Wait(); err != nil {
		t.Error(err)
	}
	w.stop()
}

func TestPythonRep(t *testing.T) {
	t.Parallel()
	needsPython(t)
	atMost(t, 10, "python/rep.py")
	r := startRouter(t)
	w := start(t, python, "python/rep.py", "worker-py", r.workers)
	r.ready(w)
	for range 3 {
		r.wants("/", "worker-py", "Hello from worker-py\n")
	}
}

func TestRubyRep(t *testing.T) {
	t.Parallel()
	needs(t, "ruby-ffi-rzmq ruby-msgpack", "ruby", "-e", "require 'ffi-rzmq'; require 'msgpack'")
	r := startRouter(t)
	w := start(t, "ruby", "ruby/rep.rb", "worker-rb", r.workers)
	r.ready(w)
	for range 3 {
		r.wants("/", "worker-rb", "Hello from worker-rb\n")
	}
	if got := r.do(http.MethodGet, "/a?b=c", nil).Header.Get("X-Path"); got != "/a?b=c" {
		t.Errorf("the worker saw the path %q", got)
	}
}

func TestPythonVectors(t *testing.T) {
	t.Parallel()
	needsPython(t)
	out, err := exec.Command(python, "-B", "python/test_vectors.py").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("vectors pass")) {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestPythonWorker(t *testing.T) {
	t.Parallel()
	needsPython(t)
	atMost(t, 100, "python/worker.py")
	for _, socket := range []string{"DEALER", "ROUTER"} {
		t.Run(socket, func(t *testing.T) {
			t.Parallel()
			r := startRouter(t)
			args := []string{"python/worker.py", "worker-py", r.workers}
			if socket == "ROUTER" {
				args = append(args, "--router-socket")
			}
			w := start(t, python, append([]string{"-B"}, args...)...)
			r.ready(w)
			r.wants("/", "worker-py", "Hello from worker-py\n")
			r.wants("/stream?n=3", "worker-py", "0\n1\n2\n")
			echoesAsItComes(t, r)
			echoesMany(t, r)

			leavesBeforeTheAnswer(t, r)
			leavesAmidTheAnswer(t, r)
			w.says("cancelled ")

			// A worker that is told to end finishes what it has begun.
			res := r.do(http.MethodGet, "/stream?n=5", nil)
			w.stop()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "0\n1\n2\n3\n4\n" {
				t.Errorf("across SIGTERM: %q, %v", body, err)
			}
		})
	}
}

// echoesAsItComes sends the second part of a body only after the first came back.
func echoesAsItComes(t *testing.T, r *router) {
	t.Helper()
	reader, writer := io.Pipe()
	var sending errgroup.Group
	back := make(chan struct{})
	sending.Go(func() error {
		_, _ = io.WriteString(writer, "first ")
		<-back
		_, _ = io.WriteString(writer, "second")
		return writer.Close()
	})
	res := r.do(http.MethodPost, "/echo", reader)
	first := make([]byte, len("first "))
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first " {
		t.Errorf("the first part came back as %q, %v", first, err)
	}
	close(back)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "second" {
		t.Errorf("the second part came back as %q, %v", rest, err)
	}
	if err := sending.Wait(); err != nil {
		t.Error(err)
	}
}

// echoesMany sends 100 bodies at once, more than the worker takes at a time, and one of many windows.
func echoesMany(t *testing.T, r *router) {
	t.Helper()
	var requests errgroup.Group
	for n := range 100 {
		size := 100 + 1000*n
		if n == 0 {
			size = 3 << 20
		}
		requests.Go(func() error { return r.echoes(size, byte(n)) })
	}
	if err := requests.Wait(); err != nil {
		t.Error(err)
	}
}

// echoes posts so many bytes, made from a seed, and wants them back.
func (r *router) echoes(size int, seed byte) error {
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(body)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/echo", bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("echo of %d bytes: %w", size, err)
	}
	if res.StatusCode != http.StatusOK || !bytes.Equal(got, body) {
		return fmt.Errorf("echo of %d bytes: %s, %d bytes that are not those (%.80q)", size, res.Status, len(got), got)
	}
	return nil
}

// leavesBeforeTheAnswer has a client go away once the router has found it a worker.
func leavesBeforeTheAnswer(t *testing.T, r *router) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	var client errgroup.Group
	client.Go(func() error {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			return fmt.Errorf("GET /slow: %s before the client left", res.Status)
		}
		return nil
	})
	for r.open() == 0 {
		r.pause("waiting for the request to go to the worker")
	}
	cancel()
	if err := client.Wait(); err != nil {
		t.Error(err)
	}
	for r.open() > 0 {
		r.pause("waiting for the stream to end")
	}
}

// leavesAmidTheAnswer has a client go away once it has heard from the handler, which therefore runs.
func leavesAmidTheAnswer(t *testing.T, r *router) {
	t.Helper()
	res := r.do(http.MethodGet, "/stream?n=1000000", nil)
	if first, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || first != "0\n" {
		t.Errorf("first line: %q, %v", first, err)
	}
	_ = res.Body.Close()
	for r.open() > 0 {
		r.pause("waiting for the stream to end")
	}
}

// open is how many streams the router has open on workers.
func (r *router) open() int {
	r.t.Helper()
	res, err := http.Get(r.admin + "/streams")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var table struct{ Open int }
	if err := json.NewDecoder(res.Body).Decode(&table); err != nil {
		r.t.Fatal(err)
	}
	return table.Open
}

// One ROUTER socket, two routers: what came from one goes back to it, also when both ask at the same time.
func TestPythonRouterSocketServesTwoRouters(t *testing.T) {
	t.Parallel()
	needsPython(t)
	one, two := startRouter(t), startRouter(t)
	w := start(t, python, "-B", "python/worker.py", "--router-socket", "worker-py", one.workers, two.workers)
	one.ready(w)
	two.ready(w)
	var requests errgroup.Group
	requests.SetLimit(20)
	for n := range 200 {
		r := one
		if n%2 == 1 {
			r = two
		}
		requests.Go(func() error { return r.echoes(2000+n, byte(n)) })
	}
	if err := requests.Wait(); err != nil {
		t.Error(err)
	}
	w.stop()
}

func TestPythonWebSocket(t *testing.T) {
	t.Parallel()
	needsPython(t)
	atMost(t, 165, "python/websocket.py")
	r := startRouter(t)
	w := start(t, python, "-B", "python/websocket.py", "worker-py", r.workers)
	r.ready(w)
	c, res, err := websocket.Dial(t.Context(), r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if got := res.Header.Get("Dialmux-Worker"); got != "worker-py" {
		t.Errorf("Dialmux-Worker is %q", got)
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if kind, got, err := c.Read(t.Context()); err != nil || kind != websocket.MessageText || string(got) != "hello" {
		t.Errorf("the echo of hello: %v %q, %v", kind, got, err)
	}

	// A worker that is told to end closes what is open.
	var closed errgroup.Group
	closed.Go(func() error {
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			return fmt.Errorf("across SIGTERM: %w, want close 1001", err)
		}
		return nil
	})
	w.stop()
	if err := closed.Wait(); err != nil {
		t.Error(err)
	}
}

// atMost holds the examples to the length that is promised of them.
func atMost(t *testing.T, lines int, path string) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(src, []byte("\n")); n > lines {
		t.Errorf("%s has %d lines, more than %d", path, n, lines)
	}
}
