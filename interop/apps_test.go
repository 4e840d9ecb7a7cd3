package interop

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
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// webApp is an app that is not made for Dialmux. It listens on a port of loopback.
type webApp struct {
	name    string
	scheme  string                                            // of dialmux worker --to
	command func(t *testing.T, address, port string) []string // that starts it
	says    string                                            // to GET /

	address string
	process *process
	asking  interface { // its clients
		await(what string, n int)
		stop()
	}
}

var webApps = []webApp{
	{name: "flask", scheme: "http", says: "Hello from Flask\n", command: func(t *testing.T, _, port string) []string {
		need(t, "python3-flask", python, "-c", "import flask")
		return []string{python, "-B", "-m", "flask", "--app", "testdata/apps/flask_hello.py", "run", "--port", port}
	}},
	{name: "rack", scheme: "http", says: "Hello from Rack\n", command: func(t *testing.T, address, _ string) []string {
		need(t, "puma", puma, "--version")
		return []string{puma, "--quiet", "--bind", "tcp://" + address, "testdata/apps/hello.ru"}
	}},
	{name: "python", scheme: "http", says: "Hello from Python\n", command: func(t *testing.T, _, port string) []string {
		need(t, "python3", python, "--version")
		return []string{python, "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", folder(t, "Hello from Python\n")}
	}},
	{name: "nginx", scheme: "http", says: "Hello from nginx\n", command: nginxCommand},
	{name: "grpc", scheme: "h2c", command: func(t *testing.T, address, _ string) []string {
		program := filepath.Join(scratch, "grpc-server")
		if out, err := exec.Command("go", "build", "-C", "../examples/grpc", "-o", program, "./server").CombinedOutput(); err != nil {
			t.Fatalf("building examples/grpc/server: %v\n%s", err, out)
		}
		return []string{program, address}
	}},
}

const (
	puma  = "/usr/bin/puma"
	nginx = "/usr/sbin/nginx"
)

// folder is one with an index.html.
func folder(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func nginxCommand(t *testing.T, address, _ string) []string {
	need(t, "nginx-light", nginx, "-v")
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // nobody may not read what is root's
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, `%s
daemon off;
pid %s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[2]s;
	proxy_temp_path %[2]s;
	fastcgi_temp_path %[2]s;
	uwsgi_temp_path %[2]s;
	scgi_temp_path %[2]s;
	server {
		listen %[3]s;
		root %[4]s;
	}
}
`, user, dir, address, folder(t, "Hello from nginx\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{nginx, "-e", "stderr", "-c", config}
}

// TestAnyAppIsAWorker makes workers of apps in several languages, each by one command, and finds each by its Host. Each is killed in turn, and
// started again, while all are asked. No request fails that may be sent again.
func TestAnyAppIsAWorker(t *testing.T) {
	r := startRouter(t, "--queue-wait", "1m") // an interpreter takes its time to start on a machine that is busy
	path, err := dialmux()
	if err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, len(webApps))
	var commands [][]string
	for i := range webApps {
		_, port, _ := net.SplitHostPort(ports[i])
		commands = append(commands, webApps[i].command(t, ports[i], port))
	}
	apps := make([]*webApp, len(webApps))
	for i, a := range webApps {
		a.address = ports[i]
		start(t, a.name+"'s worker", nil, path, "worker", "--router", r.endpoint(), "--to", a.scheme+"://"+a.address, "--host", a.host(), "--name", a.name)
		a.start(t, commands[i])
		apps[i] = &a
	}
	for _, a := range apps {
		r.awaitWorkers(a.name)
		if a.scheme == "h2c" {
			a.asking = startCalls(t, r.addr, a.host())
		} else {
			a.asking = startLoad(t, r.addr, crowd{clients: 4, pace: 50 * time.Millisecond}, func(string) request {
				return request{method: http.MethodGet, target: "/", host: a.host(), want: []byte(a.says)}
			})
		}
	}
	for i, a := range apps {
		a.asking.await(a.name+" answers", 20)
		a.process.kill()
		eventually(t, a.name+"'s worker leaves", func() bool { return r.find(a.name, "ready", "busy") == nil })
		a.start(t, commands[i])
		a.asking.await(a.name+" answers again", 20)
	}
	for _, a := range apps {
		a.asking.stop()
		l, ok := a.asking.(*load)
		if !ok {
			continue
		}
		brokeOff := 0
		for i := range l.odd {
			if o := &l.odd[i]; o.status == http.StatusOK && o.err != nil {
				brokeOff++ // it had begun
			} else {
				t.Errorf("%s: %v %q", a.name, o, o.header["Proxy-Status"])
			}
		}
		t.Logf("%s: %d requests, and %d answers broke off that had begun", a.name, l.total, brokeOff)
	}
}

func (a *webApp) host() string { return a.name + ".test" }

func (a *webApp) start(t *testing.T, command []string) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // nginx has children
	a.process = startCommand(t, a.name, cmd)
}

// calls is clients that make one gRPC call after the other, in HTTP/2. None may be sent again that may have begun.
type calls struct {
	t         *testing.T
	clients   sync.WaitGroup
	transport http.Transport
	ending    atomic.Bool
	good      atomic.Int64
	lost      atomic.Int64 // UNAVAILABLE, which is status 502 in gRPC's mapping
}

const callers = 2

func startCalls(t *testing.T, addr, host string) *calls {
	c := &calls{t: t}
	c.transport.Protocols = new(http.Protocols)
	c.transport.Protocols.SetUnencryptedHTTP2(true)
	for range callers {
		c.clients.Go(func() {
			for !c.ending.Load() {
				switch err := c.call(addr, host); {
				case errors.Is(err, errUnavailable):
					c.lost.Add(1)
				case err != nil:
					c.t.Errorf("a gRPC call failed: %v", err)
					return
				default:
					c.good.Add(1)
				}
				time.Sleep(50 * time.Millisecond) // the load is not what is tested
			}
		})
	}
	t.Cleanup(c.stop)
	return c
}

var errUnavailable = errors.New("UNAVAILABLE")

// call is EmptyCall of gRPC's own test service.
func (c *calls) call(addr, host string) error {
	empty := make([]byte, 5) // a message of no bytes, which are not compressed
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/grpc.testing.TestService/EmptyCall", bytes.NewReader(empty))
	if err != nil {
		return err
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusBadGateway && strings.Contains(resp.Header.Get("Proxy-Status"), "connection_terminated"):
		return errUnavailable
	case resp.StatusCode != http.StatusOK || resp.Trailer.Get("Grpc-Status") != "0" || !bytes.Equal(body, empty):
		return fmt.Errorf("%s %q %q %q", resp.Status, body, resp.Header, resp.Trailer)
	}
	return nil
}

func (c *calls) await(what string, n int) {
	c.t.Helper()
	until := c.good.Load() + int64(n)
	eventually(c.t, what, func() bool { return c.good.Load() >= until || c.t.Failed() })
}

// stop wants no more calls to be lost than ran when the one server was killed.
func (c *calls) stop() {
	if c.ending.Swap(true) {
		return
	}
	c.clients.Wait()
	c.transport.CloseIdleConnections()
	c.t.Logf("gRPC: %d calls, and %d were lost", c.good.Load(), c.lost.Load())
	if c.lost.Load() > callers {
		c.t.Errorf("%d calls were lost by %d clients, and the server was killed once", c.lost.Load(), callers)
	}
}
