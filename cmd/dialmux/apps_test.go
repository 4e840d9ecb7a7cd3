package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dialmux/dialmux/router"
)

// named is how often the log says that a file is of no use, and the last line that does.
func (c *program) named(file string) (n int, last string) {
	for line := range strings.Lines(c.log.String()) {
		if strings.Contains(line, "is of no use") && strings.Contains(line, file+`"`) {
			n, last = n+1, line
		}
	}
	return n, last
}

func saysHost(who string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, who+" for "+req.Host) }))
}

// A file that has never been of use is named too, whatever keeps it from that: once for each state that it stays in.
func TestNewFilesOfNoUseAreNamed(t *testing.T) {
	r := startRouter(t)
	app := saysHost("app")
	defer app.Close()
	dir := t.TempDir()
	writeApp(t, dir, "good.json", `{"to": "`+app.URL+`", "host": "good.test"}`)
	w := r.sidecar("--apps-dir", dir)
	serves := func() {
		t.Helper()
		eventually(t, "the good one", func() bool { _, body := r.fetch("GET", "good.test", "/"); return body == "app for good.test" })
	}
	serves()
	writeApp(t, dir, "empty.json", "")
	writeApp(t, dir, "large.json", strings.Repeat(" ", 256<<10+1))
	if err := os.Symlink("nowhere", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "more.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	wants := map[string]string{
		"pipe.json":  `"err":"it is no regular file: one in JSON is right"`,
		"more.json":  `"err":"it is no regular file: one in JSON is right"`,
		"empty.json": `"line":1,"err":"the file ends before the JSON object does"`,
		"large.json": `"err":"it has 262145 bytes, at most 262144 are read: one file is one app"`,
		"link.json":  `link.json: no such file or directory"`,
	}
	if os.Getuid() != 0 { // who may read all
		writeApp(t, dir, "secret.json", "{}")
		if err := os.Chmod(filepath.Join(dir, "secret.json"), 0); err != nil {
			t.Fatal(err)
		}
		wants["secret.json"] = `secret.json: permission denied"`
	}
	for file, want := range wants {
		eventually(t, file, func() bool { n, _ := w.named(file); return n > 0 })
		if _, line := w.named(file); !strings.Contains(line, want) {
			t.Errorf("%s\nwant %s", line, want)
		}
	}
	writeApp(t, dir, "empty.json", "{\n]")
	eventually(t, "another state", func() bool { n, _ := w.named("empty.json"); return n > 1 })
	if _, line := w.named("empty.json"); !strings.Contains(line, `"line":2,`) {
		t.Error(line)
	}
	writeApp(t, dir, "empty.json", "") // and back
	eventually(t, "a state that was there before", func() bool { n, _ := w.named("empty.json"); return n > 2 })
	for file := range wants {
		want := 1
		if file == "empty.json" {
			want = 3
		}
		if n, _ := w.named(file); n != want {
			t.Errorf("%s was named %d times, want %d", file, n, want)
		}
	}
	writeApp(t, dir, "large.json", `{"to": "`+app.URL+`", "host": "large.test"}`)
	eventually(t, "a file that was mended", func() bool { _, body := r.fetch("GET", "large.test", "/"); return body == "app for large.test" })
	serves()
	w.stop()
}

// A file that says other things of the same app changes what its worker announces, in one step: requests go on, though there is no grace, and
// what it does not say any more is 404 at once.
func TestAChangedFileKeepsItsConnection(t *testing.T) {
	r := startRouter(t, "--queue-wait", "300ms")
	began := time.Now()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/echo" { // line by line
			_ = http.NewResponseController(w).EnableFullDuplex()
			lines := bufio.NewScanner(req.Body)
			for lines.Scan() {
				_, _ = fmt.Fprintln(w, lines.Text())
				_ = http.NewResponseController(w).Flush()
			}
		}
		_, _ = io.WriteString(w, "for "+req.Host)
	}))
	defer app.Close()
	dir := t.TempDir()
	writeApp(t, dir, "app.json", `{"to": "`+app.URL+`", "host": "old.test"}`)
	w := r.sidecar("--apps-dir", dir, "--grace", "0")
	eventually(t, "the app", func() bool { _, body := r.fetch("GET", "old.test", "/"); return body == "for old.test" })
	addr := func() string {
		var workers []router.WorkerStatus
		if r.ask("/workers", &workers); len(workers) != 1 {
			t.Fatalf("%+v", workers)
		}
		return workers[0].Addr
	}
	was := addr()

	body, lines := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.web+"/echo", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "old.test"
	write := func(s string) { go func() { _, _ = io.WriteString(lines, s) }() }
	write("one\n")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := bufio.NewReader(resp.Body)
	if got, err := answer.ReadString('\n'); got != "one\n" {
		t.Fatalf("%q %v", got, err)
	}
	time.Sleep(time.Until(began.Add(400 * time.Millisecond))) // until the router knows what is not there
	for i, change := range []string{
		`"host": ["new.test", "newer.test"], "weight": 3`,
		`"name": "called", "host": "newer.test"`,
	} {
		gone, host := []string{"old.test", "new.test"}[i], "newer.test"
		writeApp(t, dir, "app.json", `{"to": "`+app.URL+`", `+change+`}`)
		eventually(t, change, func() bool {
			_, body := r.fetch("GET", host, "/")
			return body == "for "+host && (i == 0 || strings.Contains(get(t, "http://"+r.admin+"/services"), `"called"`))
		})
		if resp, _ := r.fetch("GET", gone, "/"); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s is %s, want 404: nobody says it any more", gone, resp.Status)
		}
	}
	if now := addr(); now != was {
		t.Errorf("the worker came from %s, and has a new connection from %s", was, now)
	}
	write("two\n")
	if got, err := answer.ReadString('\n'); got != "two\n" {
		t.Errorf("the request did not go on: %q %v", got, err)
	}
	_ = lines.Close()
	if rest, err := io.ReadAll(answer); string(rest) != "for old.test" {
		t.Errorf("%q %v", rest, err)
	}
	w.stop()
}

// A file that speaks of another app has that one come before the old one goes: nothing fails, and the old domain is 404 at once.
func TestAChangedFileFailsNoRequest(t *testing.T) {
	r := startRouter(t, "--queue-wait", "300ms")
	one, two := saysHost("one"), saysHost("two")
	defer one.Close()
	defer two.Close()
	dir := t.TempDir()
	said := func(app *httptest.Server, more string) string {
		return `{"to": "` + app.URL + `", "hosts": ["127.0.0.1", ` + more + `]}`
	}
	writeApp(t, dir, "app.json", said(one, `"one.test"`))
	w := r.sidecar("--apps-dir", dir)
	eventually(t, "the first", func() bool { _, body := r.fetch("GET", "one.test", "/"); return body == "one for one.test" })
	served, stop := r.load(4)
	for range 3 {
		before := served.Load()
		writeApp(t, dir, "app.json", said(two, `"two.test"`))
		eventually(t, "the second", func() bool { _, body := r.fetch("GET", "two.test", "/"); return body == "two for two.test" })
		eventually(t, "the end of the first", func() bool { resp, _ := r.fetch("GET", "one.test", "/"); return resp.StatusCode == http.StatusNotFound })
		writeApp(t, dir, "app.json", said(one, `"one.test"`))
		eventually(t, "the first", func() bool { _, body := r.fetch("GET", "one.test", "/"); return body == "one for one.test" })
		eventually(t, "the end of the second", func() bool { resp, _ := r.fetch("GET", "two.test", "/"); return resp.StatusCode == http.StatusNotFound })
		eventually(t, "requests", func() bool { return served.Load() > before+50 })
	}
	stop()
	w.stop()
}

// A change that the token does not allow fails no request: what was announced before stays, by whatever app. Once it is allowed it is made.
func TestAChangedFileThatIsRefused(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	allow := func(more string) {
		t.Helper()
		if err := os.WriteFile(tokens+".tmp", []byte("sesame host=127.0.0.1,old.test"+more+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tokens+".tmp", tokens); err != nil {
			t.Fatal(err)
		}
	}
	allow("")
	r := startRouter(t, "--token-file", tokens, "--queue-wait", "300ms")
	one, two := saysHost("one"), saysHost("two")
	defer one.Close()
	defer two.Close()
	dir := t.TempDir()
	change := func(to *httptest.Server, hosts string) {
		t.Helper()
		writeApp(t, dir, "app.json", `{"to": "`+to.URL+`", "hosts": ["127.0.0.1", `+hosts+`]}`)
	}
	serves := func(who, host string) {
		t.Helper()
		eventually(t, who+" for "+host, func() bool { _, body := r.fetch("GET", host, "/"); return body == who+" for "+host })
	}
	change(one, `"old.test"`)
	w := r.sidecar("--apps-dir", dir, "--token", "sesame")
	serves("one", "old.test")
	served, stop := r.load(2)
	going := func() {
		t.Helper()
		before := served.Load()
		eventually(t, "requests", func() bool { return served.Load() > before+50 })
		if _, body := r.fetch("GET", "old.test", "/"); body != "one for old.test" {
			t.Errorf("%q", body)
		}
	}
	change(one, `"old.test", "evil.test"`)
	why := `the host \"evil.test\" is not its token's, which is for 127.0.0.1, old.test: add host=evil.test to its token's line, or do not announce it`
	w.awaitLog(`goes on with what it announced before","file":"` + filepath.Join(dir, "app.json") + `","router":"` + r.workers + `","reason":"` + why)
	r.awaitLog(why)
	going()
	allow(",evil.test")
	serves("one", "evil.test")
	going()
	change(two, `"bad.test"`)
	w.awaitLog(`the router refuses this worker`)
	time.Sleep(3 * time.Second) // while nobody may take it for announced
	going()
	allow(",evil.test,bad.test")
	serves("two", "bad.test")
	eventually(t, "the end of the first", func() bool {
		resp, _ := r.fetch("GET", "evil.test", "/")
		return resp.StatusCode == http.StatusNotFound
	})
	stop()
	w.stop()
}

// While the app that a file now speaks of is not there, the one before serves, whatever else the file says in between.
func TestAChangedFileWaitsForItsApp(t *testing.T) {
	r := startRouter(t, "--queue-wait", "300ms")
	old := saysHost("old")
	defer old.Close()
	dir := t.TempDir()
	later := freePort(t)
	writeApp(t, dir, "app.json", `{"to": "`+old.URL+`", "host": "old.test"}`)
	w := r.sidecar("--apps-dir", dir)
	serves := func(who, host string) {
		t.Helper()
		eventually(t, host, func() bool { _, body := r.fetch("GET", host, "/"); return body == who+" for "+host })
	}
	gone := func(host string) {
		t.Helper()
		eventually(t, "the end of "+host, func() bool { resp, _ := r.fetch("GET", host, "/"); return resp.StatusCode == http.StatusNotFound })
	}
	serves("old", "old.test")
	change := func(to, host string) {
		t.Helper()
		n := strings.Count(w.log.String(), "an app's file was read")
		writeApp(t, dir, "app.json", `{"to": "`+to+`", "host": "`+host+`"}`)
		eventually(t, "the change", func() bool { return strings.Count(w.log.String(), "an app's file was read") > n })
	}
	change("http://127.0.0.1:"+later, "new.test")
	w.awaitLog("waiting for the app")
	serves("old", "old.test")
	change("http://127.0.0.1:"+freePort(t), "wrong.test") // nor is another one
	serves("old", "old.test")
	change(old.URL, "older.test") // back to the one that is there
	serves("old", "older.test")
	gone("old.test")
	change("http://127.0.0.1:"+later, "new.test")
	serves("old", "older.test")
	change("http://127.0.0.1:"+later, "newer.test")
	serves("old", "older.test")

	l, err := net.Listen("tcp", "127.0.0.1:"+later)
	if err != nil {
		t.Fatal(err)
	}
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, "new for "+req.Host) }))
	_ = app.Listener.Close()
	app.Listener = l
	app.Start()
	defer app.Close()
	serves("new", "newer.test")
	gone("older.test")
	gone("new.test")
	r.awaitReady(1)
	w.stop()
}

// Two files of one service are two workers whose names outlive the process: with sticky routing two routers agree on their owners, also after a
// restart, and after an app was changed for another.
func TestWorkersOfFilesHaveStableNames(t *testing.T) {
	a, b := startRouter(t), startRouter(t)
	app, other := saysHost("app"), saysHost("other")
	defer app.Close()
	defer other.Close()
	dir := t.TempDir()
	for _, file := range []string{"one.json", "two.json"} {
		writeApp(t, dir, file, `{"to": "`+app.URL+`", "name": "shop", "sticky": "path"}`)
	}
	owners := func() (all string) {
		t.Helper()
		eventually(t, "two workers by their names", func() bool {
			var seen []string
			for _, r := range []*runningRouter{a, b} {
				for key := range 20 {
					resp, _ := r.fetch("GET", "h", fmt.Sprintf("/%d", key))
					seen = append(seen, resp.Header.Get("Dialmux-Worker"))
				}
			}
			all = strings.Join(seen[:20], " ")
			return all == strings.Join(seen[20:], " ") && strings.Contains(all, "web-one.json") && strings.Contains(all, "web-two.json") &&
				!strings.Contains(all, ";")
		})
		return all
	}
	worker := func() *program {
		return start(t, "dialmux", "worker", "--apps-dir", dir, "--name", "web", "--router", a.workers, "--router", b.workers)
	}
	w := worker()
	a.awaitReady(2)
	b.awaitReady(2)
	first := owners()
	w.stop()
	w = worker()
	a.awaitReady(2)
	b.awaitReady(2)
	if again := owners(); again != first {
		t.Errorf("after a restart the owners are\n%s, and were\n%s", again, first)
	}
	writeApp(t, dir, "one.json", `{"to": "`+other.URL+`", "name": "shop", "sticky": "path"}`)
	eventually(t, "the other app", func() bool {
		_, body := a.fetch("GET", "h", "/"+strings.Repeat("x", int(time.Now().UnixNano()%50)))
		return body == "other for h"
	})
	a.awaitReady(2)
	b.awaitReady(2)
	if again := owners(); again != first {
		t.Errorf("after a change the owners are\n%s, and were\n%s", again, first)
	}
	w.stop()
}
