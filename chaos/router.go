package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dialmux/dialmux/router"
)

// routerProcess is `dialmux router` on ports that it keeps when it is started anew.
type routerProcess struct {
	*process
	s                    *stage
	name                 string
	clients, port, admin string
	queue                int // --queue-limit
	log                  string
}

func (r *routerProcess) endpoint() string { return "tcp://" + r.port }

// start returns when the admin port answers. stderr is where the log goes.
func (r *routerProcess) start(ctx context.Context, stderr string) (err error) {
	// The one before may have had connections: their ports are free a moment later at the latest.
	r.process, err = launch("router "+r.name, stderr, nil, r.s.dialmux, "router", "--listen", r.clients, "--workers", r.endpoint(),
		"--admin", r.admin, "--queue-limit", strconv.Itoa(r.queue), "--log-level", "info",
		"--sticky", "header:"+keyField, "--sticky-fallback", "round-robin", "--sticky-bound", "16")
	if err != nil {
		return err
	}
	return r.await(ctx, startLimit, func() error { return r.ask("/healthz", nil) })
}

var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

func (r *routerProcess) ask(path string, answer any) error {
	resp, err := adminClient.Get("http://" + r.admin + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// settled fails while somebody is missing or too many, or a request waits.
func (r *routerProcess) settled(names map[string]int) error {
	var list []router.WorkerStatus
	var table router.StreamTable
	if err := r.ask("/workers", &list); err != nil {
		return err
	}
	if err := r.ask("/streams", &table); err != nil {
		return err
	}
	there := map[string]int{}
	for _, w := range list {
		there[w.Name]++
		if w.State != "ready" && w.State != "busy" {
			return fmt.Errorf("router %s: worker %s is %s", r.name, w.Name, w.State)
		}
	}
	for name := range names {
		if there[name] != 1 {
			return fmt.Errorf("router %s has worker %s %d times, want once", r.name, name, there[name])
		}
	}
	if len(there) != len(names) {
		return fmt.Errorf("router %s has workers %v, want %v", r.name, there, names)
	}
	for _, st := range table.Streams {
		if st.State == "waiting" { // those whose bodies are gathered wait for their clients
			return fmt.Errorf("router %s lets %d requests wait", r.name, table.Waiting)
		}
	}
	return nil
}

// limitDescriptors leaves room for so many more than it has now, and returns
// how many that makes, and what takes the limit away.
func (r *routerProcess) limitDescriptors(room int) (limit int, restore func() error, err error) {
	pid := r.cmd.Process.Pid
	open, err := r.descriptors()
	if err != nil {
		return 0, nil, err
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, nil, err
	}
	var hard string
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if f := strings.Fields(rest); len(f) > 1 {
				hard = f[1]
			}
		}
	}
	set := func(soft string) error {
		out, err := exec.Command("prlimit", "--pid", strconv.Itoa(pid), "--nofile="+soft+":").CombinedOutput() //nolint:gosec // numbers
		if err != nil {
			return fmt.Errorf("prlimit (of util-linux): %w: %s", err, out)
		}
		return nil
	}
	limit = open + room
	return limit, func() error { return set(hard) }, set(strconv.Itoa(limit))
}

// descriptors counts those that are open.
func (r *routerProcess) descriptors() (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
	return len(open), err
}

// workerProcess is a worker, or the backend of another proxy.
type workerProcess struct {
	*process
	s        *stage
	name     string
	args     []string // the program first
	drains   bool     // SIGTERM is gentle
	relays   []*relay // on its way to the routers; none: it dials them itself
	routers  []*routerProcess
	ready    func() error // of a backend: nil when it serves
	restarts int
}

func (w *workerProcess) start() error {
	w.restarts++
	incarnation := fmt.Sprintf("%s.%d", w.name, w.restarts)
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	w.process, err = launch(incarnation, filepath.Join(w.s.dir, w.name+".log"), []*os.File{in}, w.args[0], w.args[1:]...)
	if err != nil {
		_ = out.Close()
		return err
	}
	w.waiter.Go(func() {
		defer out.Close()
		readRecord(out, func(what event, number uint32, at time.Time) { w.s.book.notes(incarnation, what, number, at) })
	})
	return nil
}

// freeze is SIGSTOP.
func (w *workerProcess) freeze() { w.signal(syscall.SIGSTOP) }

func (w *workerProcess) thaw() { w.signal(syscall.SIGCONT) }

// freeAddresses are of loopback, with ports that were free just now. They are
// below those that the kernel gives to connections, which would take them while a
// router is away.
func freeAddresses(count int) (list []string, err error) {
	for port := 20000 + os.Getpid()%5000; len(list) < count; port++ {
		if port > 32000 {
			return nil, fmt.Errorf("no %d free ports of loopback below 32000", count)
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		_ = l.Close()
		list = append(list, address)
	}
	return list, nil
}
