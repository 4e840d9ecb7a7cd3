package sidecar_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

// echoHead is an app that answers with the head that it got.
func echoHead(nc net.Conn, r *bufio.Reader) {
	for head := readHead(r); head != ""; head = readHead(r) {
		if strings.Contains(head, "Content-Length: 2\r\n") {
			_, _ = r.Discard(2)
		}
		_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(head), head)
	}
}

func TestWhatTheAppIsAsked(t *testing.T) {
	for name, tc := range map[string]struct {
		request string
		strip   []string
		has     []string
		lacks   []string
	}{
		"target as it came":     {"GET /a%2Fb/..;x/%7e//c?q=%zz&;= HTTP/1.1\r\nHost: h\r\n", nil, []string{"GET /a%2Fb/..;x/%7e//c?q=%zz&;= HTTP/1.1\r\n"}, nil},
		"Host as it came":       {"GET / HTTP/1.1\r\nHost: Shop.Example:8080\r\n", nil, []string{"\r\nHost: Shop.Example:8080\r\n"}, nil},
		"fields twice":          {"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: x\r\nX-A: 2\r\nx-a: 3\r\nCookie: a=1\r\nCookie: b=2\r\n", nil, []string{"X-A: 1\r\nX-A: 2\r\nX-A: 3\r\n", "Cookie: a=1\r\nCookie: b=2\r\n"}, nil},
		"what the router says":  {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Proto: https\r\nVia: 1.1 x\r\n", nil, []string{"X-Forwarded-For: 9.9.9.9\r\n", "Forwarded: for=9.9.9.9\r\n", "X-Forwarded-Proto: https\r\n", "Via: 1.1 x\r\n"}, []string{"127.0.0.1"}},
		"no agent of its own":   {"GET / HTTP/1.1\r\nHost: h\r\n", nil, nil, []string{"User-Agent", "Accept-Encoding", "Connection", "Content-Length", "Transfer-Encoding"}},
		"hop-by-hop":            {"GET / HTTP/1.1\r\nHost: h\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nTE: gzip\r\n", nil, []string{"TE: trailers\r\nConnection: TE\r\n"}, []string{"Keep-Alive", "Proxy-Connection", "Upgrade", "Settings", "gzip"}},
		"POST of nothing":       {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n", nil, []string{"Content-Length: 0\r\n"}, nil},
		"POST":                  {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n", nil, []string{"Content-Length: 2\r\n"}, []string{"chunked"}},
		"prefix off":            {"GET /api/x?y HTTP/1.1\r\nHost: h\r\nX-Forwarded-Prefix: /spoofed\r\n", []string{"/api/"}, []string{"GET /x?y HTTP/1.1\r\n", "X-Forwarded-Prefix: /api\r\n"}, []string{"spoofed"}},
		"prefix and no more":    {"GET /api?y HTTP/1.1\r\nHost: h\r\n", []string{"/api"}, []string{"GET /?y HTTP/1.1\r\n", "X-Forwarded-Prefix: /api\r\n"}, nil},
		"the longest prefix":    {"GET /api/v2/x HTTP/1.1\r\nHost: h\r\n", []string{"/api", "/api/v2", "/"}, []string{"GET /x HTTP/1.1\r\n", "X-Forwarded-Prefix: /api/v2\r\n"}, nil},
		"no prefix of it":       {"GET /apiary HTTP/1.1\r\nHost: h\r\nX-Forwarded-Prefix: /spoofed\r\n", []string{"/api"}, []string{"GET /apiary HTTP/1.1\r\n"}, []string{"Prefix"}},
		"another's prefix":      {"GET /x HTTP/1.1\r\nHost: h\r\nX-Forwarded-Prefix: /outer\r\n", nil, []string{"X-Forwarded-Prefix: /outer\r\n"}, nil},
		"two slashes behind it": {"GET /api//evil.test/ HTTP/1.1\r\nHost: h\r\n", []string{"/api"}, []string{"GET //evil.test/ HTTP/1.1\r\n", "Host: h\r\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			app := newRawApp(t, echoHead)
			f := newFront(t, "http://"+app.address, sidecar.Options{StripPrefix: tc.strip})
			body := map[bool]string{true: "hi"}[strings.Contains(tc.request, "Content-Length: 2")]
			_, got, _ := strings.Cut(f.ask(tc.request+"Connection: close\r\n\r\n"+body), "\r\n\r\n")
			for _, part := range tc.has {
				if !strings.Contains(got, part) {
					t.Errorf("%q is missing:\n%s", part, got)
				}
			}
			for _, part := range tc.lacks {
				if strings.Contains(got, part) {
					t.Errorf("%q is there:\n%s", part, got)
				}
			}
		})
	}
}

// A request never chooses who is asked, whatever form it has: it reaches the app, or nobody.
func TestO6TheAppIsNotTheClientsChoice(t *testing.T) {
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			victim := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				t.Errorf("another server was asked: %s %s", r.Method, r.RequestURI)
			}))
			defer victim.Close()
			other := victim.Listener.Addr().String()
			app := goApp(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = fmt.Fprintf(w, "the app: %s %s %s", r.Method, r.Host, r.RequestURI)
			})
			handler, err := sidecar.New(scheme+"://"+app, sidecar.Options{StripPrefix: []string{"/cut"}})
			if err != nil {
				t.Fatal(err)
			}
			defer handler.Close()
			for _, tc := range []struct{ method, host, target, want string }{
				{"GET", other, "/", "the app: GET " + other + " /"},
				{"GET", "169.254.169.254", "/latest/meta-data/", "the app: GET 169.254.169.254 /latest/meta-data/"},
				{"GET", "h", "//" + other + "/x", "the app: GET h //" + other + "/x"},
				{"GET", "h", "/cut//" + other + "/x", "the app: GET h //" + other + "/x"},
				{"GET", "h", "/cut@" + other + "/", "the app: GET h /cut@" + other + "/"},
				{"GET", "h", "/../../etc/passwd", "the app: GET h /../../etc/passwd"},
				{"GET", "h", "/@" + other, "the app: GET h /@" + other},
				{"GET", "h", "http://" + other + "/", "Bad Request\n"},
				{"GET", "h", other, "Bad Request\n"},
				{"GET", "h", "*", "Bad Request\n"},
				{"GET", "h", "/a HTTP/1.1\r\nHost: " + other + "\r\n\r\nGET /", "Bad Request\n"},
				{"CONNECT", other, other, "Method Not Allowed\n"},
				{"CONNECT", other, "/", "Method Not Allowed\n"},
			} {
				r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
				r.Method, r.Host, r.RequestURI = tc.method, tc.host, tc.target
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if got := w.Body.String(); got != tc.want {
					t.Errorf("%s %s of %s: %q, want %q", tc.method, tc.target, tc.host, got, tc.want)
				}
			}
		})
	}
}

func TestTargetsOfAllKinds(t *testing.T) {
	for target, want := range map[string]string{
		"http://127.0.0.1:1": "", "http://localhost": "", "http://[::1]:80/": "", "h2c://app:50051": "", "unix:/run/app.sock": "", "unix:///run/app.sock": "",
		"https://app": "is right", "app:3000": "is right", "http://": "is right", "unix:": "is right", "http://u:p@app": "is right", "http://app?x": "is right",
		"http://app/base":  "the path is the request's",
		"http://app:65535": "", "http://127.0.0.1:99999": "the port 99999: 1 to 65535 is right", "h2c://app:65536": "the port 65536: 1 to 65535 is right",
		"http://app:0": "the port 0: 1 to 65535 is right", "http://app:http": "is right",
		"unix:run/app.sock": "", "unix:./app.sock": "", "unix://": "unix:/path/to/socket is right",
		"unix://run/app.sock": "unix:/run/app.sock (absolute) or unix:run/app.sock (relative) is right",
		"unix://app.sock":     "unix:/app.sock (absolute) or unix:app.sock (relative) is right",
	} {
		_, err := sidecar.New(target, sidecar.Options{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	f := newFront(t, "unix:"+path, sidecar.Options{})
	f.ask(get("/"))
	f.wantGiven(worker.ErrRefused)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveApp(t, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "from a socket, for "+r.Host) }))
	if got := f.ask(get("/")); !strings.HasSuffix(got, "from a socket, for example.test") {
		t.Errorf("%q", got)
	}
}

// Nobody listens: the request was not begun, whatever its method, and its body is left alone.
func TestADeadAppRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	for _, scheme := range []string{"http", "h2c"} {
		f := newFront(t, scheme+"://"+address, sidecar.Options{})
		f.ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
		if got := <-f.gave; !errors.Is(got, worker.ErrRefused) || !errors.Is(got, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v", scheme, got)
		}
	}
}

// A request that died with the app is not given to a connection that the dying app has not closed yet: there it would be lost again.
func TestADeadAppsConnectionsAreNotUsed(t *testing.T) {
	listeners := make(chan net.Listener, 1)
	dying := make(chan struct{})
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		if strings.HasPrefix(readHead(r), "GET /dies ") {
			<-dying
			_ = (<-listeners).Close()
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 204 No Content\r\n\r\n")
		if head := readHead(r); head != "" {
			t.Errorf("asked again: %q", head)
		}
	})
	listeners <- app.listener
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	_, lost := f.send(get("/dies"))
	eventually(t, "the app has it", func() bool { return app.conns.Load() == 1 })
	f.ask(get("/"))
	close(dying)
	_, _ = lost.ReadByte()
	f.wantGiven(worker.ErrLost)
	f.ask(get("/"))
	f.wantGiven(worker.ErrRefused)
}
