package interop

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// webApp is an app that is not made for Dialmux. It listens on a port of loopback.
type webApp struct {
	name    string
	command func(t *testing.T) []string // what follows dialmux run; $PORT is the port
	says    string                      // to GET /; "": it speaks gRPC

	run     []string
	process *process // dialmux run
	asked   int      // by clients that are done
	asking  interface {
		await(what string, n int)
		stop() (requests int)
	}
}

var webApps = []webApp{
	{name: "flask", says: "Hello from Flask\n", command: func(t *testing.T) []string {
		need(t, "python3-flask", python, "-c", "import flask")
		return []string{python, "-B", "-m", "flask", "--app", "testdata/apps/flask_hello.py", "run", "--port", "$PORT"}
	}},
	{name: "rack", says: "Hello from Rack\n", command: func(t *testing.T) []string {
		need(t, "puma", puma, "--version")
		return []string{puma, "--quiet", "--bind", "tcp://127.0.0.1:$PORT", "testdata/apps/hello.ru"}
	}},
	{name: "python", says: "Hello from Python\n", command: func(t *testing.T) []string {
		need(t, "python3", python, "--version")
		return []string{python, "-m", "http.server", "$PORT", "--bind", "127.0.0.1", "--directory", folder(t, t.TempDir(), "Hello from Python\n")}
	}},
	{name: "nginx", says: "Hello from nginx\n", command: func(t *testing.T) []string {
		need(t, "nginx-light", nginx, "-v")
		user := ""
		if os.Geteuid() == 0 {
			user = " -g 'user root;'" // nobody may not read what is root's
		}
		dir := t.TempDir()
		folder(t, filepath.Join(dir, "html"), "Hello from nginx\n")
		return []string{"sh", "-c", "sed s/PORT/$PORT/ testdata/apps/nginx.conf >" + dir + "/nginx.conf; exec " + nginx + " -e stderr -p " + dir + " -c nginx.conf" + user}
	}},
	{name: "grpc", command: func(t *testing.T) []string {
		program := filepath.Join(scratch, "grpc-server")
		if out, err := exec.Command("go", "build", "-C", "../examples/grpc", "-o", program, "./server").CombinedOutput(); err != nil {
			t.Fatalf("building examples/grpc/server: %v\n%s", err, out)
		}
		return []string{program, "127.0.0.1:$PORT"}
	}},
}

const (
	puma  = "/usr/bin/puma"
	nginx = "/usr/sbin/nginx"
)

// folder makes one with an index.html.
func folder(t *testing.T, dir, text string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAnyAppIsAWorker makes workers of apps in several languages, each by one command, and finds each by its Host. While all are asked, each
// app is killed in turn, twice, and started again by its command; then that is killed with its app, and started again. No request fails that
// may be sent again, and no answer breaks off: all are so small that they leave whole.
func TestAnyAppIsAWorker(t *testing.T) {
	r := startRouter(t, "--queue-wait", "1m") // an interpreter takes its time to start on a machine that is busy
	path, err := dialmux()
	if err != nil {
		t.Fatal(err)
	}
	apps := make([]*webApp, len(webApps))
	for i, a := range webApps {
		a.run = []string{path, "run", "--router", r.endpoint(), "--name", a.name, "--host", a.host()}
		if a.says == "" {
			a.run = append(a.run, "--h2c")
		}
		a.run = append(append(a.run, "--"), a.command(t)...)
		a.start(t)
		apps[i] = &a
	}
	for _, a := range apps {
		r.awaitWorkers(a.name)
		a.ask(t, r)
	}
	for _, a := range apps {
		for range 2 {
			a.under(t, r, func() { kill(a.pid()) })
		}
		a.under(t, r, func() {
			pid := a.pid()
			a.process.kill()
			kill(pid) // nginx has children
			a.start(t)
		})
	}
	for _, a := range apps {
		a.asked += a.asking.stop()
		t.Logf("%s: %d requests", a.name, a.asked)
		a.process.signal(syscall.SIGTERM)
		<-a.process.ended
	}
}

// ask starts clients.
func (a *webApp) ask(t *testing.T, r *routerProcess) {
	if a.says == "" {
		a.asking = startCalls(t, r.addr, a.host())
		return
	}
	a.asking = &gets{startLoad(t, r.addr, crowd{clients: 4, pace: pace}, func(string) request {
		return request{method: http.MethodGet, target: "/", host: a.host(), want: []byte(a.says)}
	})}
}

// under does something amid requests, and returns when all that ran then have their answers. (One that is killed with two workers is not given
// to a third, and apps do not serve in order.)
func (a *webApp) under(t *testing.T, r *routerProcess, do func()) {
	a.asking.await(a.name+" answers", 20)
	time.Sleep(rand.N(60 * time.Millisecond)) // clients fall into step
	do()
	a.asking.await(a.name+" answers again", 20)
	a.asked += a.asking.stop()
	a.ask(t, r)
}

// pace is how long each client pauses: the load is not what is tested.
const pace = 10 * time.Millisecond

// gets is a load that wants every answer.
type gets struct{ *load }

func (g *gets) stop() int {
	g.load.stop()
	for i := range g.odd {
		g.t.Errorf("%v %q", &g.odd[i], g.odd[i].header["Proxy-Status"])
	}
	return g.total
}

func (a *webApp) host() string { return a.name + ".test" }

func (a *webApp) start(t *testing.T) {
	p := start(t, a.name, nil, a.run[0], a.run[1:]...)
	a.process = p
	t.Cleanup(func() {
		p.kill()
		for _, pid := range started(p) {
			kill(pid)
		}
	})
}

var startedLine = regexp.MustCompile(`"msg":"started",.*"pid":(\d+)`)

// started are the apps that dialmux run has started, one after the other.
func started(run *process) (pids []int) {
	for _, m := range startedLine.FindAllStringSubmatch(run.log.String(), -1) {
		pid, _ := strconv.Atoi(m[1])
		pids = append(pids, pid)
	}
	return pids
}

func (a *webApp) pid() int { pids := started(a.process); return pids[len(pids)-1] }

// kill is kill -9 of an app and its children.
func kill(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // it may have ended

// calls is clients that make one gRPC call after the other, in HTTP/2. gRPC's are POST, whatever they do: that one may be sent again is said
// by metadata.
type calls struct {
	t         *testing.T
	clients   sync.WaitGroup
	transport http.Transport
	ending    atomic.Bool
	good      atomic.Int64
}

func startCalls(t *testing.T, addr, host string) *calls {
	c := &calls{t: t}
	c.transport.Protocols = new(http.Protocols)
	c.transport.Protocols.SetUnencryptedHTTP2(true)
	for range 4 {
		c.clients.Go(func() {
			for !c.ending.Load() {
				if err := c.call(addr, host); err != nil {
					c.t.Errorf("a gRPC call failed: %v", err)
					return
				}
				c.good.Add(1)
				time.Sleep(pace)
			}
		})
	}
	t.Cleanup(func() { c.stop() })
	return c
}

// A request for one message after 50 ms, so that whoever kills the server kills it amid a call, and the message. Before each stand five bytes:
// it is not compressed, and so long.
const (
	callAsks = "\x00\x00\x00\x00\x06" + "\x12\x04" + "\x10\xd0\x86\x03" // response_parameters: {interval_us: 50000}
	callGets = "\x00\x00\x00\x00\x02" + "\x0a\x00"                      // payload: {}
)

// call is StreamingOutputCall of gRPC's own test service.
func (c *calls) call(addr, host string) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/grpc.testing.TestService/StreamingOutputCall", strings.NewReader(callAsks))
	if err != nil {
		return err
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("Idempotency-Key", strconv.Quote(newNonce()))
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || resp.Trailer.Get("Grpc-Status") != "0" || string(body) != callGets:
		return fmt.Errorf("%s %q %q %q", resp.Status, body, resp.Header, resp.Trailer)
	}
	return nil
}

func (c *calls) await(what string, n int) {
	c.t.Helper()
	until := c.good.Load() + int64(n)
	eventually(c.t, what, func() bool { return c.good.Load() >= until || c.t.Failed() })
}

func (c *calls) stop() int {
	c.ending.Store(true)
	c.clients.Wait()
	c.transport.CloseIdleConnections()
	return int(c.good.Load())
}
