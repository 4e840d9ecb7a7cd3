package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// Row 8 of what http-ringpop works like, and 8 of the sidecar's: of two, one falls ill. Its worker goes, nothing fails, and it comes back.
func TestASickAppIsPassedOver(t *testing.T) {
	r := startRouter(t)
	var ill atomic.Bool
	var sick, well atomic.Int64
	a := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/healthz" && ill.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case req.URL.Path != "/healthz":
			sick.Add(1)
		}
	}))
	defer a.Close()
	b := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/healthz" {
			well.Add(1)
		}
	}))
	defer b.Close()
	health := []string{"--health", "/healthz", "--health-interval", "50ms", "--health-timeout", "5s"}
	for _, app := range []*httptest.Server{a, b} {
		r.sidecar(append(health, "--to", app.URL)...)
	}
	r.awaitReady(2)
	_, stop := r.load(2)
	eventually(t, "both at work", func() bool { return sick.Load() > 10 && well.Load() > 10 })
	for range 2 {
		ill.Store(true)
		r.awaitReady(1)
		count := sick.Load()
		more := well.Load() + 50
		eventually(t, "the other one at work", func() bool { return well.Load() > more })
		if n := sick.Load(); n > count+4 { // those that were on their way
			t.Errorf("the sick app had %d requests more", n-count)
		}
		ill.Store(false)
		r.awaitReady(2)
		count = sick.Load()
		eventually(t, "it is back", func() bool { return sick.Load() > count+10 })
	}
	stop()
}

// Row 6: two Set-Cookie arrive as two, and the app sees the client's Host. Row 7: nobody there is 503.
func TestWhatTheClientAndTheAppSee(t *testing.T) {
	r := startRouter(t, "--queue-wait", "200ms")
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		_, _ = fmt.Fprintf(w, "%s %s %q %q %q", req.Host, req.RequestURI, req.Header["X-Forwarded-For"], req.Header["X-Forwarded-Prefix"], req.Header["Forwarded"])
	}))
	w := r.sidecar("--to", app.URL, "--service", "shop", "--host", "shop.test", "--path", "/api", "--strip-prefix", "--name", "shop-1")
	r.awaitReady(1)
	resp, body := r.fetch("GET", "shop.test:8080", "/api/cart?x=%2F")
	if got := resp.Header["Set-Cookie"]; len(got) != 2 || resp.Header.Get("Dialmux-Worker") != "shop-1" {
		t.Errorf("%q", resp.Header)
	}
	if want := `shop.test:8080 /cart?x=%2F ["127.0.0.1"] ["/api"] ["for=127.0.0.1;host=\"shop.test:8080\";proto=http"]`; body != want {
		t.Errorf("the app saw %s\nwant        %s", body, want)
	}
	app.CloseClientConnections()
	app.Close()
	resp, body = r.fetch("POST", "shop.test", "/api/") // which was not sent: it waits for another worker, and none comes
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(resp.Header.Get("Proxy-Status"), "dialmux; error=") {
		t.Errorf("%s %q %q", resp.Status, resp.Header.Get("Proxy-Status"), body)
	}
	w.awaitLog("the app is not healthy")
	if resp, _ = r.fetch("GET", "other.test", "/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("nobody announced other.test: %s", resp.Status)
	}
	w.stop()
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
	if resp, _ = r.fetch("GET", "", "/"); resp.StatusCode != http.StatusBadGateway || !strings.Contains(resp.Header.Get("Proxy-Status"), "two workers") {
		t.Errorf("%s %q", resp.Status, resp.Header.Get("Proxy-Status"))
	}
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

// Rows 8 and 10 of scrimplb's: a file that appears is routed, one that changes is routed anew, one that goes withdraws. scrimplb's own files
// work as they are.
func TestAppsDir(t *testing.T) {
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

	began := time.Now()
	writeApp(t, dir, "app2.scrimp.json", scrimp("app2"))
	writeApp(t, dir, "ours", `{"to": "`+app.URL+`", "hosts": ["ours.test"]}`)
	for _, host := range []string{"app2.example.com", "ours.test"} {
		eventually(t, host, func() bool { _, body := r.fetch("GET", host, "/"); return body == "for "+host })
	}
	t.Logf("two files were routed %v after they had appeared", time.Since(began))

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

// Row 2 of scrimplb's: 200 applications on one machine, and 20 KB of announcement from one of them.
func Test200Apps(t *testing.T) {
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
	for _, host := range []string{"app0.example.com", "app123.example.com", "app199.example.com", hosts[0], hosts[299]} {
		if resp, body := r.fetch("GET", host, "/"); body != "for "+host {
			t.Errorf("%s: %s %q", host, resp.Status, body)
		}
	}
}
