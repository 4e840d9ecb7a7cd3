package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// deaf is a process whose stderr a test reads for a while, and then no more.
type deaf struct {
	*program
	read, write *os.File
	lines       *bufio.Reader
	seen        []map[string]any
}

func startDeaf(t *testing.T, args ...string) *deaf {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{program: &program{t: t, cmd: exec.Command("dialmux", args...), done: make(chan struct{})}, read: read, write: write, lines: bufio.NewReader(read)}
	d.cmd.Stderr = write
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer close(d.done)
		_ = d.cmd.Wait()
	})
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		waiting.Wait()
		_ = read.Close()
		_ = write.Close()
	})
	return d
}

// await takes a line with this message, and returns a value of it. Lines may come in any order.
func (d *deaf) await(msg, key string) string {
	d.t.Helper()
	for at := 0; ; at++ {
		if at == len(d.seen) {
			text, err := d.lines.ReadBytes('\n')
			if err != nil {
				d.t.Fatalf("no %q: %v", msg, err)
			}
			var line map[string]any
			_ = json.Unmarshal(text, &line)
			d.seen = append(d.seen, line)
		}
		if line := d.seen[at]; line["msg"] == msg {
			d.seen = slices.Delete(d.seen, at, at+1)
			value, _ := line[key].(string)
			return value
		}
	}
}

// The two ways in which a reader of stderr stops.
var deafness = map[string]func(d *deaf){
	"nobody reads": func(d *deaf) {
		var filling sync.WaitGroup
		filling.Go(func() { _, _ = d.write.WriteString(strings.Repeat("x\n", 1<<20)) }) // blocks in the middle
		d.t.Cleanup(func() {
			_ = d.read.Close() // ends it
			filling.Wait()
		})
		eventually(d.t, "a full pipe", func() bool { return !takes(d.t, d.write) })
	},
	"its reader has gone": func(d *deaf) { _ = d.read.Close() },
}

func TestO3RouterWithADeafStderr(t *testing.T) {
	for name, stop := range deafness {
		t.Run(name, func(t *testing.T) {
			d := startDeaf(t, "router", "--listen", "127.0.0.1:0", "--workers", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "debug")
			r := &runningRouter{program: d.program}
			r.workers = d.await("worker port open", "endpoint")
			r.web = d.await("HTTP port open", "address")
			r.admin = d.await("admin port open", "address")
			stop(d)
			for n := range 3 {
				w := r.worker(fmt.Sprint("worker-", n)) // it joins, is asked, and leaves: each is a line
				r.awaitReady(1)
				get(t, "http://"+r.web+"/")
				w.stop()
				r.awaitReady(0)
			}
			r.worker("worker-9")
			r.awaitReady(1)
			long := strings.Repeat("x", 4<<10)
			var clients []*client
			for range 600 {
				c := mustDial(t, r.web)
				if err := c.send("GET /hang?"+long, ""); err != nil {
					t.Fatal(err)
				}
				if _, err := c.head(); err != nil {
					t.Fatal(err)
				}
				clients = append(clients, c)
			}
			for _, c := range clients { // each leaves a line, together more than may wait
				_ = c.Close()
			}
			r.awaitStreams(0, 0)
			get(t, "http://"+r.web+"/")
			d.stop()
		})
	}
}

func TestO3WorkersWithADeafStderr(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "app") }))
	t.Cleanup(app.Close)
	for name, stop := range deafness {
		for command, args := range map[string][]string{
			"worker": {"--to", app.URL},
			"run":    {"--", "testapp", "$PORT"},
		} {
			t.Run(command+", "+name, func(t *testing.T) {
				first, second := startRouter(t), startRouter(t)
				d := startDeaf(t, append([]string{command, "--router", first.workers, "--router", second.workers}, args...)...)
				for range 2 {
					d.await("joined", "id")
				}
				second.awaitReady(1)
				stop(d)
				first.stop() // that is several lines
				get(t, "http://"+second.web+"/")
				d.stop()
				second.awaitReady(0)
			})
		}
	}
}

// takes reports whether a write to f would be done at once.
func takes(t *testing.T, f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLOUT}}
	if _, err := unix.Poll(fds, 0); err != nil && !errors.Is(err, unix.EINTR) {
		t.Fatal(err)
	}
	return fds[0].Revents&unix.POLLOUT != 0
}
