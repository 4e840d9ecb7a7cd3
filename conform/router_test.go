package conform

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

const mirrorToken = "a token of the test"

// serveRouter runs our router on loopback, behind net/http, until the test ends.
// front may stand around it.
func serveRouter(t *testing.T, front func(http.Handler) http.Handler) (url, workers string) {
	t.Helper()
	r, clients, workers := startRouter(t)
	handler := http.Handler(r)
	if front != nil {
		handler = front(r)
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(clients) })
	t.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
	})
	return "http://" + clients.Addr().String(), workers
}

// servePort is serveRouter with the router's own front.
func servePort(t *testing.T) (url, workers string) {
	t.Helper()
	r, l, workers := startRouter(t)
	clients := r.Clients(router.Port{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = clients.Serve(l) })
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		clients.Shutdown(now, 0)
	})
	return "http://" + l.Addr().String(), workers
}

// startRouter runs a router until the test ends, and opens a port for clients.
func startRouter(t *testing.T) (r *router.Router, clients net.Listener, workers string) {
	t.Helper()
	port, err := zmtp.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	clients, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, err = router.New(router.Config{Listeners: []net.Listener{port}, Token: mirrorToken})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return r, clients, zmtp.Bound(port)
}

// Our router passes every case, and is allowed to skip those that are not must.
func TestRouter(t *testing.T) {
	slow := func(name string) bool { return strings.HasPrefix(name, "ping/") }
	names := map[string]bool{}
	for _, c := range routerCases() {
		if names[c.name] {
			t.Errorf("two cases are called %s", c.name)
		}
		names[c.name] = true
	}
	quick := func(name string) bool { return !slow(name) }
	behindHTTP := func(t *testing.T) (url, workers string) { return serveRouter(t, nil) }
	for _, test := range []struct {
		name  string
		serve func(t *testing.T) (url, workers string)
		only  func(name string) bool
	}{
		{"pings", servePort, slow}, // take ten seconds each
		{"port", servePort, quick},
		{"handler", behindHTTP, quick},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, workers := test.serve(t)
			kit := RouterKit{HTTP: url, Workers: workers, Token: mirrorToken, Only: test.only}
			err := kit.Run(t.Context(), func(r Result) {
				t.Logf("%-4s %s %.2fs %s", r.Verdict, r.Case, r.Duration, r.Why)
				if r.Verdict != Pass && (r.Must || r.Verdict == Fail) {
					t.Errorf("%s: %s (%s): %s\n\t%s", r.Case, r.Verdict, r.Checks, r.Why, strings.Join(r.Frames, "\n\t"))
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRouterURL(t *testing.T) {
	for url, want := range map[string]string{"": "127.0.0.1:9000", "http://h": "h:80", "http://[::1]:9": "[::1]:9", "https://h": "", "h:80": "", "http://": ""} {
		if got, err := addressOf(url); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q (%v), want %q", url, got, err, want)
		}
	}
}

// The kit's own client takes no bytes that another might take otherwise.
func TestAnswersThatAreNone(t *testing.T) {
	for what, raw := range map[string]string{
		"both lengths":          "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two lengths":           "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
		"a list of lengths":     "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
		"no number":             "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
		"bare LF":               "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
		"bare CR":               "HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n",
		"NUL":                   "HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n",
		"space in a name":       "HTTP/1.1 200 OK\r\nX a: b\r\n\r\n",
		"space after a name":    "HTTP/1.1 200 OK\r\nX : b\r\n\r\n",
		"no colon":              "HTTP/1.1 200 OK\r\nX\r\n\r\n",
		"folded":                "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"status 099":            "HTTP/1.1 099 \r\n\r\n",
		"status 600":            "HTTP/1.1 600 \r\n\r\n",
		"status 1000":           "HTTP/1.1 1000 \r\n\r\n",
		"no status line":        "hidden\r\n\r\n",
		"a chunk that is none":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhidden\r\n",
		"a chunk without end":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxxx0\r\n\r\n",
		"a trailer that is bad": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\x00\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			r := run("", "", true, &transcript{}, func() { parseAnswer([]byte(raw), "GET", true) })
			if r.Verdict != Fail {
				t.Errorf("%q passes", raw)
			}
		})
	}
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
	} {
		for n := range raw {
			if a := parseAnswer([]byte(raw[:n]), "GET", true); a.whole {
				t.Errorf("%q passes for whole", raw[:n])
			}
		}
		if a := parseAnswer([]byte(raw+"rest"), "GET", false); !a.whole || string(a.body) != "abc" || a.size != len(raw) {
			t.Errorf("%q is %+v", raw, a)
		}
	}
}
