package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/dialmux/dialmux/router"
)

// routerProcess is `dialmux router` on ports of its own.
type routerProcess struct {
	*process
	t     testing.TB
	addr  string // for clients
	port  string // for workers, as host:port
	admin string
	flags []string
}

func (r *routerProcess) endpoint() string { return "tcp://" + r.port }

// startRouter returns when the router answers on its admin port.
func startRouter(t testing.TB, flags ...string) *routerProcess {
	t.Helper()
	for range 5 { // somebody else may take a port between our look and its bind
		ports := freePorts(t, 3)
		r := &routerProcess{t: t, addr: ports[0], port: ports[1], admin: ports[2], flags: flags}
		if r.start() {
			return r
		}
	}
	t.Fatal("the router did not start, on five sets of ports")
	return nil
}

func freePorts(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().String())
	}
	return ports
}

// start returns false if the process ends instead of serving.
func (r *routerProcess) start() bool {
	r.t.Helper()
	path, err := dialmux()
	if err != nil {
		r.t.Fatal(err)
	}
	args := append([]string{"router", "--listen", r.addr, "--workers", r.endpoint(), "--admin", r.admin}, r.flags...)
	r.process = start(r.t, "router", []string{"GODEBUG=http2xconnect=1"}, path, args...)
	up := false
	eventually(r.t, "the router serves", func() bool {
		up = r.ask("/healthz", nil) == nil
		return up || !r.running()
	})
	return up
}

// restart is kill -9 and a new process on the same ports.
func (r *routerProcess) restart() {
	r.t.Helper()
	r.kill()
	eventually(r.t, "the router has its ports again", r.start)
}

var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

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

func (r *routerProcess) workers() (list []router.WorkerStatus) {
	r.t.Helper()
	if err := r.ask("/workers", &list); err != nil {
		r.t.Fatal(err)
	}
	return list
}

// find returns the connection of the worker of this name that is in one of
// these states; any state will do if there is none.
func (r *routerProcess) find(name string, states ...string) *router.WorkerStatus {
	r.t.Helper()
	list := r.workers()
	i := slices.IndexFunc(list, func(w router.WorkerStatus) bool {
		return w.Name == name && (len(states) == 0 || slices.Contains(states, w.State))
	})
	if i < 0 {
		return nil
	}
	return &list[i]
}

// awaitWorkers waits until each of them takes requests.
func (r *routerProcess) awaitWorkers(names ...string) {
	r.t.Helper()
	for _, name := range names {
		eventually(r.t, "worker "+name+" is ready", func() bool { return r.find(name, "ready", "busy") != nil })
	}
}

func (r *routerProcess) streams() (table router.StreamTable) {
	r.t.Helper()
	if err := r.ask("/streams", &table); err != nil {
		r.t.Fatal(err)
	}
	return table
}

// awaitIdle waits until the stream table is empty.
func (r *routerProcess) awaitIdle() {
	r.t.Helper()
	var last router.StreamTable
	defer func() {
		if r.t.Failed() {
			r.t.Logf("stream table: %+v", last)
		}
	}()
	eventually(r.t, "the stream table returns to 0", func() bool {
		last = r.streams()
		return last.Waiting == 0 && last.Open == 0 && len(last.Streams) == 0
	})
}

// besieged is a router with an honest worker, and a client that never stops
// asking, for tests of what comes over the worker port beside them.
type besieged struct {
	*routerProcess
	load   *load
	before router.WorkerStatus
}

const honest = "honest"

func besiege(t testing.TB, flags ...string) *besieged {
	t.Helper()
	r := startRouter(t, flags...)
	startWorker(t, honest, []string{"-token", tokenOf(flags)}, r.endpoint())
	r.awaitWorkers(honest)
	b := &besieged{routerProcess: r, before: *r.find(honest)}
	b.load = startLoad(t, r.addr, crowd{clients: 2, pace: 2 * time.Millisecond}, getNonce)
	b.load.await("the honest worker answers", 10)
	return b
}

func tokenOf(flags []string) string {
	if i := slices.Index(flags, "--token"); i >= 0 {
		return flags[i+1]
	}
	return ""
}

// lift checks that neither the honest worker nor its client noticed anything.
func (b *besieged) lift() {
	b.t.Helper()
	b.load.await("requests go on", 50)
	b.load.stop()
	for _, o := range b.load.odd {
		// An answer that another worker had begun may have broken off with it.
		if other := o.header.Get("Dialmux-Worker"); o.err == nil || other == "" || other == honest {
			b.t.Errorf("meanwhile a request failed: %v", &o)
		}
	}
	if !b.running() {
		b.t.Fatal("the router has ended")
	}
	after := b.find(honest)
	if after == nil || after.Addr != b.before.Addr || !after.Since.Equal(b.before.Since) {
		b.t.Errorf("the honest worker's connection was %+v, and is now %+v", b.before, after)
	}
	b.awaitIdle()
}
