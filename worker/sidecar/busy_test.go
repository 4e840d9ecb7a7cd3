package sidecar_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker/sidecar"
)

// newOneAtATime is an app that serves one connection until it ends, and then the next, as Python's HTTPServer does.
func newOneAtATime(t *testing.T, answer func(target string)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
			for r := bufio.NewReader(nc); ; {
				req, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				answer(req.URL.Path)
				_, _ = io.WriteString(nc, hi)
			}
			stop()
			_ = nc.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		serving.Wait()
	})
	return l.Addr().String()
}

// An app that serves one connection after the other is healthy while it waits for more on one that is kept.
func TestAnAppOfOneConnectionAtATimeStaysHealthy(t *testing.T) {
	app := newOneAtATime(t, func(string) {})
	a, err := sidecar.New("http://"+app, sidecar.Options{Health: "/", Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range 2 {
		ask(t, a, http.MethodGet)
		if err := a.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Nor does a request on a fresh connection wait behind one that is kept, idle or used without an end.
func TestAnAppOfOneConnectionAtATimeServesAll(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "in use": true} {
		t.Run(name, func(t *testing.T) {
			came, hold := make(chan struct{}), make(chan struct{})
			app := newOneAtATime(t, func(target string) {
				if target == "/first" {
					came <- struct{}{}
					<-hold
				}
				time.Sleep(20 * time.Millisecond) // far longer than a connection in use is idle
			})
			f := newFront(t, "http://"+app, sidecar.Options{})
			one, two := f.asker(), f.asker()
			_, _ = io.WriteString(one.nc, strings.Replace(getIt, "/", "/first", 1))
			<-came
			answered := make(chan string, 1)
			go func() { answered <- two.ask(getIt) }()
			time.Sleep(10 * time.Millisecond) // it is on its way, on a connection of its own
			close(hold)
			if got := one.ask(""); got != "200" {
				t.Fatalf("%q", got)
			}
			for busy && len(answered) == 0 {
				if one.ask(getIt) != "200" {
					t.Fatal("what uses the kept connection is not answered")
				}
			}
			if got := <-answered; got != "200" {
				t.Errorf("%q", got)
			}
		})
	}
}

// A check that fails closes what is kept: it may be what holds the app, and is of no use if it is not.
func TestAFailedCheckClosesWhatIsKept(t *testing.T) {
	ended := make(chan struct{})
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if strings.HasPrefix(head, "GET /healthz") {
			_, _ = io.WriteString(nc, "HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(nc, hi)
		readHead(r)
		close(ended)
	})
	a, err := sidecar.New("http://"+app.address, sidecar.Options{Health: "/healthz", Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ask(t, a, http.MethodGet)
	if a.Check(t.Context()) == nil {
		t.Error("it says no, and is healthy")
	}
	<-ended
}

// An app that answers requests and has no time for a check is not ill. One that says no, or fails with every request, is.
func TestABusyAppIsHealthy(t *testing.T) {
	for name, tc := range map[string]struct {
		health, answer string
		stays          bool
	}{
		"no answer to checks":       {"", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", true},
		"says no":                   {"HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n", hi, false},
		"no answer to checks, ails": {"", "HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var checks atomic.Int64
			var up atomic.Bool
			app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
				for head := readHead(r); head != ""; head = readHead(r) {
					switch {
					case !strings.HasPrefix(head, "GET /healthz"):
						_, _ = io.WriteString(nc, tc.answer)
					case !up.Load():
						_, _ = io.WriteString(nc, hi)
					default:
						checks.Add(1)
						_, _ = io.WriteString(nc, tc.health)
					}
				}
			})
			w := watch(t, "http://"+app.address, sidecar.Options{Health: "/healthz", Interval: time.Second, Timeout: 300 * time.Millisecond})
			eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
			up.Store(true)
			for checks.Load() < 5 && w.dialling.Load() == 1 {
				func() {
					defer func() { _ = recover() }() // given away, when the worker has just gone
					w.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
				}()
			}
			if stays := w.dialling.Load() == 1; stays != tc.stays {
				t.Errorf("the worker is there: %v, want %v", stays, tc.stays)
			}
			eventually(t, "its end", func() bool { return w.dialling.Load() == 0 }) // none of its requests is answered now
		})
	}
}
