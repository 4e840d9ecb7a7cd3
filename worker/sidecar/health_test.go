package sidecar_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

func TestCheck(t *testing.T) {
	app := goApp(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			if r.Header.Get("User-Agent") != "dialmux-health" {
				t.Errorf("%v", r.Header)
			}
		case "/moved":
			w.WriteHeader(http.StatusFound)
		case "/stuck":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	for _, scheme := range []string{"http", "h2c"} {
		for path, want := range map[string]string{"": "", "/healthz": "", "/moved": "", "/down": "/down answers with status 503", "/stuck": "/stuck: no answer within 20ms"} {
			var o sidecar.Options
			if o.Health = path; path == "/stuck" {
				o.Interval = 40 * time.Millisecond
			}
			a, err := sidecar.New(scheme+"://"+app, o)
			if err != nil {
				t.Fatal(err)
			}
			err = a.Check(t.Context())
			if (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("%s %q: %v", scheme, path, err)
			}
			a.Close()
		}
	}
	a, err := sidecar.New("http://127.0.0.1:1", sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Check(t.Context()) == nil {
		t.Error("nobody listens, and it is healthy")
	}
}

// An answer to a check is read, and not broken off: the app would see that, and complain.
func TestAnAnswerToACheckIsRead(t *testing.T) {
	ended := make(chan error, 1)
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		_, err := io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 1_000_000))
		if err == nil {
			_, err = r.ReadByte()
		}
		ended <- err
	})
	a, err := sidecar.New("http://"+app.address, sidecar.Options{Health: "/", Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the app saw %v, want a connection that ends", err)
	}
}

// watched is a sidecar that runs, and whether it has a worker.
type watched struct {
	*sidecar.App
	dialling atomic.Int64 // workers that are there: each dials, and hangs there
}

func watch(t *testing.T, target string, o sidecar.Options) *watched {
	t.Helper()
	app, err := sidecar.New(target, o)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{App: app}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		err := app.Run(ctx, worker.Worker{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			w.dialling.Add(1)
			defer w.dialling.Add(-1)
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

// The worker is there while the app is healthy, goes when it is not, and comes back, as often as that happens.
func TestTheWorkerComesAndGoesWithTheApp(t *testing.T) {
	var ill atomic.Bool
	ill.Store(true)
	app := goApp(t, func(w http.ResponseWriter, _ *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	w := watch(t, "http://"+app, sidecar.Options{Health: "/healthz", Interval: 10 * time.Millisecond, Timeout: 5 * time.Second})
	for range 3 {
		if w.dialling.Load() != 0 {
			t.Error("a worker is there, and the app is ill")
		}
		ill.Store(false)
		eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
		ill.Store(true)
		eventually(t, "its end", func() bool { return w.dialling.Load() == 0 })
	}
}

// One failure is none: two in a row are.
func TestThresholds(t *testing.T) {
	var asked atomic.Int64
	app := goApp(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := asked.Add(1); n > 3 && n%2 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	w := watch(t, "http://"+app, sidecar.Options{Health: "/", Interval: 2 * time.Millisecond, Timeout: 5 * time.Second, Up: 3})
	eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
	if n := asked.Load(); n < 3 {
		t.Errorf("healthy after %d answers, want 3", n)
	}
	eventually(t, "many checks", func() bool { return asked.Load() > 40 })
	if w.dialling.Load() != 1 {
		t.Error("the worker went at the first failure")
	}
}

// A connection that the app refuses while it is asked something withdraws the worker at once.
func TestARefusedConnectionCountsAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, "http://"+l.Addr().String(), sidecar.Options{Interval: time.Hour})
	eventually(t, "a worker", func() bool { return w.dialling.Load() == 1 })
	_ = l.Close()
	func() {
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, worker.ErrRefused) {
				t.Errorf("%v", err)
			}
		}()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.RequestURI = "/"
		w.ServeHTTP(nil, r)
	}()
	eventually(t, "its end", func() bool { return w.dialling.Load() == 0 })
}

func TestOptionsThatAreWrong(t *testing.T) {
	for _, tc := range []struct {
		o    sidecar.Options
		want string
	}{
		{sidecar.Options{Health: "healthz"}, "begins with /"},
		{sidecar.Options{Health: "/a b"}, "begins with /"},
		{sidecar.Options{Interval: -1}, "above 0"},
		{sidecar.Options{Down: -1}, "1 or more"},
		{sidecar.Options{StripPrefix: []string{"api"}}, "begins with /"},
	} {
		if _, err := sidecar.New("http://app", tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.o, err)
		}
	}
	a, err := sidecar.New("http://app", sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context(), worker.Worker{Name: "a b"}); err == nil {
		t.Error("a worker of a bad name runs")
	}
}
