package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sidecar starts dialmux worker for this router.
func (r *runningRouter) sidecar(flags ...string) *program {
	r.t.Helper()
	return start(r.t, "dialmux", append([]string{"worker", "--router", r.workers}, flags...)...)
}

// hold returns the head of an answer whose end its worker holds back.
func (r *runningRouter) hold() *http.Response {
	r.t.Helper()
	c := mustDial(r.t, r.web)
	if err := c.send("GET /hold", ""); err != nil {
		r.t.Fatal(err)
	}
	resp, err := c.head()
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// fetch returns the answer to a request for this host.
func (r *runningRouter) fetch(method, host, path string) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.web+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(body)
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(freeEndpoint(t), "tcp://"))
	return port
}

// load asks for / again and again until stopped, and counts; an answer that is not 200, or not whole, fails the test.
func (r *runningRouter) load(clients int) (served *atomic.Int64, stop func()) {
	served = new(atomic.Int64)
	var ended atomic.Bool
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for !ended.Load() {
				resp, err := http.Get("http://" + r.web + "/")
				if err != nil {
					r.t.Errorf("GET /: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					r.t.Errorf("GET /: %s %q %s %v", resp.Status, body, resp.Header.Get("Proxy-Status"), err)
				}
				served.Add(1)
			}
		})
	}
	return served, func() {
		ended.Store(true)
		all.Wait()
	}
}

func (c *program) awaitLog(part string) {
	c.t.Helper()
	eventually(c.t, part, func() bool { return strings.Contains(c.log.String(), part) })
}

// An app that somebody has, in Python, becomes a worker by one command. It is killed and started again under load, several times,
// and no request fails that may be sent again.
func TestAnAppIsKilledUnderLoad(t *testing.T) {
	r := startRouter(t, "--queue-wait", "60s")
	port := freePort(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	app := func() *program {
		return start(t, "python3", "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", dir)
	}
	python := app()
	w := r.sidecar("--to", "http://127.0.0.1:"+port)
	r.awaitReady(1)
	served, stop := r.load(4)
	for range 3 {
		before := served.Load()
		eventually(t, "requests", func() bool { return served.Load() > before+50 })
		python.signal(syscall.SIGKILL)
		<-python.done
		python = app()
	}
	before := served.Load()
	eventually(t, "requests", func() bool { return served.Load() > before+50 })
	stop()
	w.stop()
	python.signal(syscall.SIGKILL)
}

// switchedApp is an app on one port that can be stopped, and started again.
type switchedApp struct {
	t       *testing.T
	address string
	handler http.Handler
	server  *http.Server
	serving sync.WaitGroup
}

func newSwitchedApp(t *testing.T, h http.Handler) *switchedApp {
	a := &switchedApp{t: t, address: "127.0.0.1:" + freePort(t), handler: h}
	a.start()
	t.Cleanup(a.stop)
	return a
}

func (a *switchedApp) start() {
	a.t.Helper()
	l, err := net.Listen("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.server = &http.Server{Handler: a.handler}
	a.serving.Go(func() { _ = a.server.Serve(l) })
}

func (a *switchedApp) stop() {
	_ = a.server.Close()
	a.serving.Wait()
}

// Of two apps, one falls ill, or stops. Its worker goes, nothing fails, and it comes back.
func TestS2R8ASickAppIsPassedOver(t *testing.T) {
	for _, how := range []string{"ill", "stopped"} {
		t.Run(how, func(t *testing.T) {
			r := startRouter(t)
			var ill atomic.Bool
			var sick, well atomic.Int64
			a := newSwitchedApp(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				switch {
				case req.URL.Path == "/healthz" && ill.Load():
					w.WriteHeader(http.StatusServiceUnavailable)
				case req.URL.Path != "/healthz":
					sick.Add(1)
				}
			}))
			b := newSwitchedApp(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				if req.URL.Path != "/healthz" {
					well.Add(1)
				}
			}))
			down, up := func() { ill.Store(true) }, func() { ill.Store(false) }
			if how == "stopped" {
				down, up = a.stop, a.start
			}
			health := []string{"--health", "/healthz", "--health-interval", "50ms", "--health-timeout", "5s"}
			for _, app := range []*switchedApp{a, b} {
				r.sidecar(append(health, "--to", "http://"+app.address)...)
			}
			r.awaitReady(2)
			_, stop := r.load(2)
			eventually(t, "both at work", func() bool { return sick.Load() > 10 && well.Load() > 10 })
			for range 2 {
				down()
				r.awaitReady(1)
				count := sick.Load()
				more := well.Load() + 50
				eventually(t, "the other one at work", func() bool { return well.Load() > more })
				if n := sick.Load(); n > count+4 { // those that were on their way
					t.Errorf("the sick app had %d requests more", n-count)
				}
				up()
				r.awaitReady(2)
				count = sick.Load()
				eventually(t, "it is back", func() bool { return sick.Load() > count+10 })
			}
			stop()
		})
	}
}

// twoCookies sets them, and says what it sees.
var twoCookies = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
	w.Header()["Set-Cookie"] = []string{"a=1; Path=/", "b=2"}
	_, _ = fmt.Fprintf(w, "%s %s %q %q %q", req.Host, req.RequestURI, req.Header["X-Forwarded-For"], req.Header["X-Forwarded-Prefix"], req.Header["Forwarded"])
})

func checkCookies(t *testing.T, resp *http.Response) {
	t.Helper()
	if got := resp.Header["Set-Cookie"]; !slices.Equal(got, []string{"a=1; Path=/", "b=2"}) {
		t.Errorf("Set-Cookie: %q", got)
	}
}

// Two Set-Cookie arrive as two, and the app sees the client's Host: over whatever the client and the app speak, and at a second worker when the
// first one's app has died with the request.
func TestS2R6CookiesAndHostOnEveryPath(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "app.sock")
	for _, to := range []string{"http://", "h2c://", "unix:" + socket} {
		t.Run(strings.Split(to, ":")[0], func(t *testing.T) {
			r := startRouter(t)
			app := httptest.NewUnstartedServer(twoCookies)
			if strings.HasPrefix(to, "unix:") {
				_ = app.Listener.Close()
				var err error
				if app.Listener, err = net.Listen("unix", socket); err != nil {
					t.Fatal(err)
				}
			}
			app.Config.Protocols = new(http.Protocols)
			app.Config.Protocols.SetHTTP1(true)
			app.Config.Protocols.SetUnencryptedHTTP2(true)
			app.Start()
			defer app.Close()
			var dies atomic.Int64
			dying := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				dies.Add(1)
				panic(http.ErrAbortHandler)
			}))
			defer dying.Close()
			if strings.HasSuffix(to, "//") {
				to += app.Listener.Addr().String()
			}
			r.sidecar("--to", to)
			r.sidecar("--to", dying.URL)
			r.awaitReady(2)
			for range 4 { // half of them come to the second
				for name, protocols := range map[string]func(*http.Protocols){
					"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
					"HTTP/2":   func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
				} {
					client := &http.Transport{Protocols: new(http.Protocols)}
					protocols(client.Protocols)
					req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.web+"/x", http.NoBody)
					req.Host = "Shop.Example.test:8080"
					resp, err := client.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					body, _ := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					client.CloseIdleConnections()
					if checkCookies(t, resp); !strings.HasPrefix(string(body), req.Host+" /x ") {
						t.Errorf("%s: %s %q", name, resp.Status, body)
					}
				}
			}
			if dies.Load() == 0 {
				t.Error("no request was sent again")
			}
		})
	}
}

// An app that hangs is given half of the interval to answer, twice, and its worker goes: after two intervals at most.
func TestAnAppThatHangsIsWithdrawn(t *testing.T) {
	r := startRouter(t)
	var hangs atomic.Bool
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if hangs.Load() {
			<-req.Context().Done()
		}
	}))
	defer app.Close()
	w := r.sidecar("--to", app.URL, "--health", "/healthz", "--health-interval", "500ms", "--log-format", "json")
	r.awaitReady(1)
	hangs.Store(true)
	began := time.Now()
	w.awaitLog(`"why":"/healthz: no answer within 250ms"`)
	t.Logf("it took %v", time.Since(began))
	r.awaitReady(0)
	hangs.Store(false)
	r.awaitReady(1)
}

// What is taken off the path, and who asks, is told in fields of their own.
func TestS2R6WhatTheAppSees(t *testing.T) {
	r := startRouter(t)
	app := httptest.NewServer(twoCookies)
	defer app.Close()
	w := r.sidecar("--to", app.URL, "--service", "shop", "--host", "shop.test", "--path", "/api", "--strip-prefix", "--name", "shop-1")
	r.awaitReady(1)
	resp, body := r.fetch("GET", "shop.test:8080", "/api/cart?x=%2F")
	if checkCookies(t, resp); resp.Header.Get("Dialmux-Worker") != "shop-1" {
		t.Errorf("%q", resp.Header)
	}
	if want := `shop.test:8080 /cart?x=%2F ["127.0.0.1"] ["/api"] ["for=127.0.0.1;host=\"shop.test:8080\";proto=http"]`; body != want {
		t.Errorf("the app saw %s\nwant        %s", body, want)
	}
	w.stop()
}

// Nobody there is 503, never 200 with the words of an error: before any worker has come, when its app is dead, and when it has gone.
func TestS2R7NobodyThereIs503(t *testing.T) {
	r := startRouter(t, "--queue-wait", "200ms")
	check := func(when string) {
		t.Helper()
		for _, method := range []string{"GET", "POST"} { // which was not sent: it waits for another worker, and none comes
			resp, body := r.fetch(method, "shop.test", "/")
			if resp.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(resp.Header.Get("Proxy-Status"), "dialmux; error=destination_unavailable") {
				t.Errorf("%s, %s: %s %q %q", when, method, resp.Status, resp.Header.Get("Proxy-Status"), body)
			}
		}
	}
	check("before a worker has come")
	app := newSwitchedApp(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := r.sidecar("--to", "http://"+app.address, "--service", "shop", "--host", "shop.test")
	r.awaitReady(1)
	if resp, body := r.fetch("GET", "shop.test", "/"); resp.StatusCode != http.StatusOK {
		t.Errorf("%s %q", resp.Status, body)
	}
	app.stop()
	check("its app is dead")
	w.awaitLog("the app is not healthy")
	if resp, _ := r.fetch("GET", "other.test", "/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("nobody announced other.test: %s", resp.Status)
	}
	w.stop()
	check("it has gone")
}

// An app that dies with a POST that it has: 502, for it may have been carried out.
func TestAnAppThatDiesWithAPost(t *testing.T) {
	r := startRouter(t)
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer app.Close()
	r.sidecar("--to", app.URL)
	r.awaitReady(1)
	resp, _ := r.fetch("POST", "", "/")
	if resp.StatusCode != http.StatusBadGateway || !strings.Contains(resp.Header.Get("Proxy-Status"), "not sent again") {
		t.Errorf("%s %q", resp.Status, resp.Header.Get("Proxy-Status"))
	}
	if resp, _ = r.fetch("GET", "", "/"); resp.StatusCode != http.StatusBadGateway || !strings.Contains(resp.Header.Get("Proxy-Status"), "was lost twice") {
		t.Errorf("%s %q", resp.Status, resp.Header.Get("Proxy-Status"))
	}
}

// Of two apps one speaks no HTTP: a GET gets the other one's answer, a POST hears what was wrong, and the router sets the worker aside.
func TestAnAppThatTalksNonsenseIsSetAside(t *testing.T) {
	r := startRouter(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ssh sync.WaitGroup
	ssh.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(nc, "SSH-2.0-OpenSSH_9.2\r\n")
			ssh.Go(func() {
				_, _ = io.Copy(io.Discard, nc)
				_ = nc.Close()
			})
		}
	})
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer app.Close()
	bad := r.sidecar("--to", "http://"+l.Addr().String(), "--name", "bad")
	r.sidecar("--to", app.URL, "--name", "good")
	r.awaitReady(2)
	failed := 0
	eventually(t, "the worker aside", func() bool {
		if resp, body := r.fetch("GET", "", "/"); resp.StatusCode != http.StatusOK {
			t.Errorf("GET: %s %q", resp.Status, body)
		}
		if resp, body := r.fetch("POST", "", "/"); resp.StatusCode != http.StatusOK {
			failed++
			if got := resp.Header["Proxy-Status"]; len(got) != 1 || !strings.HasPrefix(got[0], "dialmux-sidecar; error=http_protocol_error; details=") || !strings.Contains(body, "cannot be forwarded") {
				t.Errorf("POST: %s %q %q", resp.Status, got, body)
			}
		}
		return strings.Contains(r.log.String(), "worker set aside")
	})
	if failed > 5 {
		t.Errorf("%d POSTs failed", failed)
	}
	bad.stop()
	_ = l.Close()
	ssh.Wait()
}

// writeApp puts a file in place as editors and deployments do: whole, by its name at the end.
func writeApp(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+".tmp"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, name+".tmp"), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// A file that appears is routed, one that changes is routed anew, one that goes withdraws.
func TestS3R8AppsDir(t *testing.T) {
	r := startRouter(t, "--queue-wait", "500ms", "--forget", "100ms")
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, "for "+req.Host) }))
	defer app.Close()
	_, port, _ := net.SplitHostPort(app.Listener.Addr().String())
	dir := t.TempDir()
	scrimp := func(name string) string {
		return "{\n\t\"name\": \"" + name + "\",\n\t\"listen-port\": \"443\",\n\t\"application-port\": \"" + port + "\",\n\t\"domains\": [\"" + name + ".example.com\"],\n\t\"protocol\": \"http\"\n}\n"
	}
	writeApp(t, dir, "app1.scrimp.json", scrimp("app1"))
	w := r.sidecar("--apps-dir", dir)
	eventually(t, "the first", func() bool { _, body := r.fetch("GET", "app1.example.com", "/"); return body == "for app1.example.com" })

	// Within two seconds, on a machine that is not busy with something else the whole time.
	for i, took := 0, time.Hour; took > 2*time.Second; i++ {
		if i == 10 {
			t.Fatalf("none of ten files was routed within two seconds; the last one took %v", took)
		}
		began, host := time.Now(), fmt.Sprintf("soon%d.test", i)
		writeApp(t, dir, fmt.Sprintf("soon%d", i), fmt.Sprintf(`{"to": %q, "host": %q}`, app.URL, host))
		eventually(t, host, func() bool { _, body := r.fetch("GET", host, "/"); return body == "for "+host })
		took = time.Since(began)
	}
	writeApp(t, dir, "app2.scrimp.json", scrimp("app2"))
	writeApp(t, dir, "ours", `{"to": "`+app.URL+`", "hosts": ["ours.test"]}`)
	for _, host := range []string{"app2.example.com", "ours.test"} {
		eventually(t, host, func() bool { _, body := r.fetch("GET", host, "/"); return body == "for "+host })
	}

	writeApp(t, dir, "ours", `{"to": "`+app.URL+`", "hosts": ["changed.test"]}`)
	eventually(t, "the change", func() bool { _, body := r.fetch("GET", "changed.test", "/"); return body == "for changed.test" })
	eventually(t, "the end of what it said before", func() bool { resp, _ := r.fetch("GET", "ours.test", "/"); return resp.StatusCode != http.StatusOK })
	if err := os.Remove(filepath.Join(dir, "app2.scrimp.json")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool {
		resp, _ := r.fetch("GET", "app2.example.com", "/")
		return resp.StatusCode == http.StatusNotFound
	})

	// A file that is wrong is named, once, and leaves the others alone; one that was right goes on as it was.
	writeApp(t, dir, "bad.json", "{\n\"namme\": \"x\"\n}")
	w.awaitLog(`"line":2,"err":"there is no key \"namme\"; did you mean \"name\"?"`)
	writeApp(t, dir, "ours", `{"to": "`+app.URL+`"`)
	w.awaitLog("the worker goes on as it was")
	if _, body := r.fetch("GET", "changed.test", "/"); body != "for changed.test" {
		t.Errorf("%q", body)
	}
	if _, body := r.fetch("GET", "app1.example.com", "/"); body != "for app1.example.com" {
		t.Errorf("%q", body)
	}
	if n := strings.Count(w.log.String(), "namme"); n != 1 {
		t.Errorf("the bad file was named %d times", n)
	}

	// Half a file is none yet: nobody is told of it.
	half, err := os.Create(filepath.Join(dir, "slow.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	_, _ = half.WriteString(`{"to": "` + app.URL + `", `)
	_, _ = half.WriteString(`"host": "slow.test"}`)
	eventually(t, "the rest of a file", func() bool { _, body := r.fetch("GET", "slow.test", "/"); return body == "for slow.test" })
	w.stop()
}

// 200 applications on one machine, and 20 KB of announcement from one of them.
func TestS3R2ManyApps(t *testing.T) {
	r := startRouter(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, "for "+req.Host) }))
	defer app.Close()
	dir := t.TempDir()
	for i := range 200 {
		writeApp(t, dir, fmt.Sprintf("app%d.json", i), fmt.Sprintf(`{"name": "app%d", "to": %q, "domains": ["app%d.example.com"]}`, i, app.URL, i))
	}
	r.sidecar("--apps-dir", dir)
	r.awaitReady(200)
	var hosts []string
	for i := range 300 {
		hosts = append(hosts, fmt.Sprintf("%s-%d.example.com", strings.Repeat("x", 55), i))
	}
	if n := len(strings.Join(hosts, "")); n < 20_000 {
		t.Fatalf("%d bytes are no 20 KB", n)
	}
	r.sidecar("--to", app.URL, "--host", strings.Join(hosts, ","))
	r.awaitReady(201)
	for i := range 200 {
		hosts = append(hosts, fmt.Sprintf("app%d.example.com", i))
	}
	for _, host := range hosts {
		if resp, body := r.fetch("GET", host, "/"); body != "for "+host {
			t.Errorf("%s: %s %q", host, resp.Status, body)
		}
	}
}
