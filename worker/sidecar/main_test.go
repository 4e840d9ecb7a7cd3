package sidecar_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialmux/dialmux/worker/sidecar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// front stands where the worker's SDK does: a server whose handler is a sidecar.
type front struct {
	t      *testing.T
	server *httptest.Server
	gave   chan error // what the sidecar gave requests away with
}

func newFront(t *testing.T, target string, o sidecar.Options) *front {
	t.Helper()
	app, err := sidecar.New(target, o)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t: t, gave: make(chan error, 100)}
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		if r.Body != http.NoBody {
			r.Body = body{r.Body, control}
		}
		defer func() {
			if panicked := recover(); panicked != nil {
				f.gave <- panicked.(error)
				panic(http.ErrAbortHandler)
			}
		}()
		app.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.server.Close()
		app.Close()
	})
	return f
}

// body can be closed while it is read, as the SDK's.
type body struct {
	io.Reader
	control *http.ResponseController
}

func (b body) Close() error { return b.control.SetReadDeadline(time.Now()) }

// send writes a request as it stands, and returns the connection.
func (f *front) send(request string) (net.Conn, *bufio.Reader) {
	f.t.Helper()
	nc, err := net.Dial("tcp", f.server.Listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = nc.Close() })
	if _, err := io.WriteString(nc, request); err != nil {
		f.t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

// ask returns all that comes back until the connection closes.
func (f *front) ask(request string) string {
	f.t.Helper()
	_, r := f.send(request)
	all, _ := io.ReadAll(r)
	return string(all)
}

// ask sends an app a request that has to be answered with 200.
func ask(t *testing.T, a *sidecar.App, method string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	a.ServeHTTP(recorder, httptest.NewRequest(method, "/", http.NoBody))
	if recorder.Code != http.StatusOK {
		t.Errorf("%s: %d", method, recorder.Code)
	}
	return recorder
}

func get(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n"
}

// wantGiven fails unless the sidecar gave the request away like this.
func (f *front) wantGiven(want error) {
	f.t.Helper()
	if got := <-f.gave; !errors.Is(got, want) {
		f.t.Errorf("given away with %v, want %v", got, want)
	}
}

// goApp is an app on net/http that speaks HTTP/1.1 and, in the clear, HTTP/2.
func goApp(t *testing.T, h http.HandlerFunc) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveApp(t, l, h)
	return l.Addr().String()
}

func serveApp(t *testing.T, l net.Listener, h http.Handler) {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: h, Protocols: &protocols}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
}

// rawApp is an app whose every byte a test says: one call for each connection.
type rawApp struct {
	address  string
	listener net.Listener
	conns    atomic.Int64
}

func newRawApp(t *testing.T, serve func(nc net.Conn, r *bufio.Reader)) *rawApp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &rawApp{address: l.Addr().String(), listener: l}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			a.conns.Add(1)
			all.Go(func() {
				defer func() { _ = nc.Close() }()
				defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
				serve(nc, bufio.NewReader(nc))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		all.Wait()
	})
	return a
}

// readHead returns a request's head, "" at the connection's end.
func readHead(r *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return ""
		}
		b.WriteString(line)
		if line == "\r\n" {
			return b.String()
		}
	}
}

// answers is a raw app that gives every request this answer.
func answers(t *testing.T, answer string) *rawApp {
	t.Helper()
	return newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			if _, err := io.WriteString(nc, strings.TrimSuffix(answer, closes)); err != nil {
				return
			}
			if strings.HasSuffix(answer, closes) {
				return
			}
		}
	})
}

func readAll(res *http.Response) (string, error) {
	all, err := io.ReadAll(res.Body)
	return string(all), err
}

// closes ends an answer after which the app closes the connection.
const closes = "\x00"

// eventually polls.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for said := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			t.Logf("still waiting: %s", what)
		}
	}
}
