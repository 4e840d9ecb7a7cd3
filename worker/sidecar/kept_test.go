package sidecar_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

// A connection is used again and again, and one that the app has closed meanwhile costs no request.
func TestConnectionsAreKept(t *testing.T) {
	closeIdle := make(chan bool)
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			if <-closeIdle {
				_ = nc.Close()
				closeIdle <- true // it is closed
				return
			}
		}
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	nc, r := f.send("") // one connection: a request comes when the one before is over
	post := func() {
		t.Helper()
		_, _ = io.WriteString(nc, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			t.Fatalf("%q", head)
		}
		_, _ = r.Discard(2)
	}
	for range 5 {
		post()
		closeIdle <- false
	}
	if n := app.conns.Load(); n != 1 {
		t.Errorf("%d connections for 5 requests", n)
	}
	post()
	closeIdle <- true
	<-closeIdle
	post()
	closeIdle <- false
	if n := app.conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

const hi = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

// dropper is an app that answers the first request of each connection, and closes it when the next one comes: what a client sees of one that
// closes connections which it said it would keep, and a request is on its way to it.
func dropper(t *testing.T) (app *rawApp, heads chan string) {
	heads = make(chan string, 100)
	return newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if strings.Contains(head, "Content-Length: 2\r\n") {
			_, _ = r.Discard(2)
		}
		heads <- head
		_, _ = io.WriteString(nc, hi)
		if head = readHead(r); head != "" {
			heads <- head
		}
	}), heads
}

// asker is a client that sends requests one after the other.
type asker struct {
	f  *front
	nc net.Conn
	r  *bufio.Reader
}

func (f *front) asker() *asker {
	nc, r := f.send("")
	return &asker{f, nc, r}
}

// ask returns the answer's status, "" if the connection ends.
func (a *asker) ask(request string) string {
	_, _ = io.WriteString(a.nc, request)
	res, err := http.ReadResponse(a.r, nil)
	if err != nil {
		return ""
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Status[:3]
}

const (
	getIt  = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	postIt = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
)

// What is safe to repeat, and met the end of a connection that was kept, goes again on a fresh one: the client sees nothing of it, and the app is
// not taken for sick.
func TestARequestThatMeetsTheEndOfAKeptConnectionGoesAgain(t *testing.T) {
	for name, request := range map[string]string{
		"GET":                       "GET /again HTTP/1.1\r\nHost: h\r\n\r\n",
		"OPTIONS":                   "OPTIONS /again HTTP/1.1\r\nHost: h\r\n\r\n",
		"DELETE":                    "DELETE /again HTTP/1.1\r\nHost: h\r\n\r\n",
		"PUT of nothing":            "PUT /again HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST with Idempotency-Key": "POST /again HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nIdempotency-Key: \"x\"\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			app, heads := dropper(t)
			f := newFront(t, "http://"+app.address, sidecar.Options{})
			client := f.asker()
			client.ask(getIt)
			if got := client.ask(request); got != "200" {
				t.Errorf("the client got %q", got)
			}
			<-heads
			first, again := <-heads, <-heads
			if method, _, _ := strings.Cut(request, "\r\n"); first != again || !strings.HasPrefix(first, method) {
				t.Errorf("the app got\n%s, and then\n%s", first, again)
			}
			if n := app.conns.Load(); n != 2 || len(heads) > 0 || len(f.gave) > 0 {
				t.Errorf("%d connections, want 2; %d more requests, %d given away", n, len(heads), len(f.gave))
			}
		})
	}
}

// What may not be repeated, or cannot since its body is gone, is lost: at once, for the app is well. From then on such requests get fresh
// connections, and nothing more is lost.
func TestWhatCannotGoAgainIsLostOnce(t *testing.T) {
	for name, request := range map[string]string{
		"POST":                              postIt,
		"POST with a body":                  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
		"POST with an empty key":            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nIdempotency-Key: \"\"\r\n\r\n",
		"PATCH":                             "PATCH / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"PUT, which the router sends again": "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
	} {
		t.Run(name, func(t *testing.T) {
			app, heads := dropper(t)
			f := newFront(t, "http://"+app.address, sidecar.Options{})
			client := f.asker()
			client.ask(getIt)
			if got := client.ask(request); got != "" {
				t.Errorf("the client got %q", got)
			}
			f.wantGiven(worker.ErrLost)
			if n := app.conns.Load(); n != 1 || len(heads) != 2 {
				t.Errorf("%d connections, want 1; %d requests, want 2", n, len(heads))
			}
			client = f.asker()
			for range 5 {
				client.ask(getIt) // leaves a connection that is not to be had
				if got := client.ask(request); got != "200" {
					t.Errorf("then the client got %q", got)
				}
			}
		})
	}
}

// An app that is lost twice with a request, once on a fresh connection, is lost.
func TestARequestGoesAgainOnce(t *testing.T) {
	heads := make(chan string, 100)
	var ill atomic.Bool
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			heads <- head
			if ill.Load() {
				return
			}
			_, _ = io.WriteString(nc, hi)
		}
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	client := f.asker()
	client.ask(getIt)
	ill.Store(true)
	client.ask(getIt)
	f.wantGiven(worker.ErrLost)
	if n := len(heads); n != 3 {
		t.Errorf("the app got %d requests, want 3", n)
	}
}

// A request that an app died of was begun, though nobody listens when it goes again: it counts as lost, or it would go from app to app.
func TestARequestThatTakesTheAppDownIsLost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var app sync.WaitGroup
	app.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = nc.Close() }()
		r := bufio.NewReader(nc)
		readHead(r)
		_, _ = io.WriteString(nc, hi)
		readHead(r)
		_ = l.Close()
	})
	f := newFront(t, "http://"+l.Addr().String(), sidecar.Options{})
	client := f.asker()
	client.ask(getIt)
	client.ask(getIt)
	app.Wait()
	f.wantGiven(worker.ErrLost)
}

// An app that goes while the client is still sending is lost; it is not the client who broke off.
func TestAnAppThatGoesAmidABodyIsLost(t *testing.T) {
	for name, length := range map[string]int64{"of known length": 10, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			app := newRawApp(t, func(_ net.Conn, r *bufio.Reader) { readHead(r) })
			handler, err := sidecar.New("http://"+app.address, sidecar.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer handler.Close()
			body, feed := io.Pipe() // of which nothing comes
			defer func() { _ = feed.Close() }()
			r := httptest.NewRequest(http.MethodPut, "/", body)
			r.ContentLength = length
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, worker.ErrLost) {
					t.Errorf("given away with %v", err)
				}
			}()
			handler.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}

// An app that was seen closing a connection that it kept, though no request was lost by it, gets what cannot go again over fresh ones.
func TestAnAppThatClosesEarlyIsRemembered(t *testing.T) {
	closed := make(chan struct{})
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			_, _ = io.WriteString(nc, hi)
			if strings.HasPrefix(head, "DELETE") {
				_ = nc.Close()
				closed <- struct{}{}
			}
		}
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	client := f.asker()
	conns := func(request string, want int64) {
		t.Helper()
		if got := client.ask(request); got != "200" {
			t.Fatalf("the client got %q", got)
		}
		if n := app.conns.Load(); n != want {
			t.Errorf("%d connections, want %d", n, want)
		}
	}
	conns(postIt, 1)
	conns(postIt, 1)
	conns("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", 1)
	<-closed
	conns(getIt, 2)
	conns(postIt, 3)
	conns(postIt, 4)
	conns(getIt, 4)
	conns(postIt, 5)
}

// It is remembered until the app comes back from being ill: it may be another one.
func TestAnAppThatComesBackIsNotWhatItWas(t *testing.T) {
	var ill, drops atomic.Bool
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		for i, head := 0, readHead(r); head != ""; i, head = i+1, readHead(r) {
			switch {
			case strings.HasPrefix(head, "GET /healthz") && ill.Load():
				_, _ = io.WriteString(nc, "HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n")
				continue
			case i > 0 && drops.Load():
				return
			}
			_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nX-Port: %s\r\nContent-Length: 0\r\n\r\n", nc.RemoteAddr())
		}
	})
	drops.Store(true)
	w := watch(t, "http://"+app.address, sidecar.Options{Health: "/healthz", Interval: 20 * time.Millisecond, Timeout: 5 * time.Second})
	eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
	port := func(method string) string { return ask(t, w.App, method).Header().Get("X-Port") }
	port("GET")
	port("GET") // and goes again
	if one, two := port("POST"), port("POST"); one == two {
		t.Error("a connection is trusted that the app may close")
	}
	drops.Store(false)
	ill.Store(true)
	eventually(t, "its end", func() bool { return w.dialling.Load() == 0 })
	ill.Store(false)
	eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
	if one, two := port("POST"), port("POST"); one != two {
		t.Error("connections are not kept")
	}
}

// An app that closes each connection a moment after its answer, and does not say so: no GET is lost, and no more than the first POST that met it.
func TestAnAppThatClosesInSilence(t *testing.T) {
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(nc, hi)
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	lost := 0
	client := f.asker()
	for range 500 {
		if got := client.ask(getIt); got != "200" {
			t.Fatalf("GET: %q", got)
		}
		if client.ask(postIt) != "200" {
			lost++
			client = f.asker()
		}
	}
	if lost > 1 {
		t.Errorf("%d of 500 POSTs were lost", lost)
	}
}

// A GET whose answer broke off amid its body does not go again, not even if its connection was kept: the client has a part of it.
func TestAnAnswerThatBrokeOffIsNotAskedForAgain(t *testing.T) {
	heads := make(chan string, 100)
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			heads <- head
			if strings.HasPrefix(head, "GET /half ") {
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"+strings.Repeat("x", 5000))
				return
			}
			_, _ = io.WriteString(nc, hi)
		}
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	client := f.asker()
	client.ask(getIt)
	_, _ = io.WriteString(client.nc, strings.Replace(getIt, "/", "/half", 1))
	all, _ := io.ReadAll(client.r)
	if n := strings.Count(string(all), "x"); n != 5000 {
		t.Errorf("the client got %d bytes of it, want 5000", n)
	}
	f.wantGiven(worker.ErrLost)
	if n := len(heads); n != 2 {
		t.Errorf("the app got %d requests, want 2", n)
	}
}

// A connection that the app has ended is closed when the app is looked after, though no request comes.
func TestAConnectionThatTheAppHasEndedIsClosed(t *testing.T) {
	closed := make(chan struct{})
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		if readHead(r) == "" {
			return // a check
		}
		_, _ = io.WriteString(nc, hi)
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = r.ReadByte()
		close(closed)
	})
	w := watch(t, "http://"+app.address, sidecar.Options{Interval: 20 * time.Millisecond, Timeout: 5 * time.Second})
	eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
	ask(t, w.App, http.MethodGet)
	<-closed
}
