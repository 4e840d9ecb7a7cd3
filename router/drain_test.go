package router_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// stopped waits for Run's end.
func (w *world) stopped() {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(10 * time.Minute):
		w.t.Fatal("Run goes on")
	}
}

func TestARouterThatStopsFinishesItsRequests(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		w.stop()
		k.refused(http2.ErrCodeNo, "drains")
		late := w.raw("GET /late HTTP/1.1\r\nHost: h\r\n\r\n") // still gets in: it is the front's to close
		k.request().answer(200, "late")
		if got := late.all(); !strings.Contains(got, "Connection: close\r\n") || !strings.HasSuffix(got, "late") {
			t.Errorf("the late client got %q", got)
		}
		begin := time.Now()
		time.Sleep(20 * time.Second)
		c.answer(200, "served")
		if got := client.all(); !strings.Contains(got, "Connection: close\r\n") || !strings.HasSuffix(got, "served") {
			t.Errorf("the client got %q", got)
		}
		k.gone()
		w.stopped()
		if took := time.Since(begin); took > 22*time.Second {
			t.Errorf("Run ended after %v", took)
		}
	})
}

func TestADrainHasALimit(t *testing.T) {
	for _, drain := range []time.Duration{0, -1, 7 * time.Second} {
		t.Run(drain.String(), func(t *testing.T) {
			story(t, router.Config{Drain: drain}, func(w *world) {
				k := w.join("w1", 1)
				begun := w.get("/begun")
				c := k.request()
				c.head(200)
				c.data("half")
				begun.head()
				waits := w.get("/waits")
				w.settle()
				begin := time.Now()
				w.stop()
				w.stopped()
				want := map[time.Duration]time.Duration{0: router.DefaultDrain, -1: 0}[drain]
				if drain > 0 {
					want = drain
				}
				if took := time.Since(begin); took < want || took > want+2*time.Second {
					t.Errorf("Run ended after %v, want %v", took, want)
				}
				begun.breaks()
				waits.wants(503, "")
			})
		})
	}
}

func TestAnIdleRouterStopsAtOnce(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		begin := time.Now()
		w.stop()
		k.gone()
		w.stopped()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("Run ended after %v", took)
		}
		if f := k.next(); f.Type != frame.GoAway {
			t.Errorf("the worker got %v, want GOAWAY", f.Type)
		}
		w.get("/").wants(503, "stopped")
	})
}

func TestAWorkerThatComesToADrainingRouter(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		p := w.get("/waits")
		w.settle()
		w.stop()
		w.settle()
		k := w.join("w1", 1) // serves what the router has
		if f := k.next(); f.Type != frame.GoAway || f.Code != http2.ErrCodeNo {
			t.Errorf("the worker got %v %v, want GOAWAY NO_ERROR", f.Type, f.Code)
		}
		k.request().answer(200, "in time")
		p.wants(200, "in time")
		w.stopped()
	})
}

// brokenListener fails once.
type brokenListener struct {
	net.Listener
	fail chan error
}

func (l brokenListener) Accept() (net.Conn, error) { return nil, <-l.fail }

func TestAListenerThatFailsEndsRun(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := brokenListener{first, make(chan error, 2)}
	r, err := router.New(router.Config{Listeners: []net.Listener{broken, second}})
	if err != nil {
		t.Fatal(err)
	}
	broken.fail <- errors.New("out of descriptors") // this one passes
	broken.fail <- net.ErrClosed
	if err := r.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if _, err := second.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the other listener: %v", err)
	}
}

func TestAPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	r, err := router.New(router.Config{Workers: []string{"tcp://127.0.0.1:0", "tcp://" + l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run: %v; one line that names the port is right", err)
	}
}

// W13
func TestWhatNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  router.Config
		want string // "": it is fine
	}{
		"zero":                  {router.Config{}, ""},
		"all addresses":         {router.Config{Workers: []string{"tcp://127.0.0.1:8000", "tcp://*:8000"}}, "tcp://*:8000 can be reached from other machines"},
		"with a token":          {router.Config{Workers: []string{"tcp://*:8000"}, Token: "secret"}, ""},
		"insecure":              {router.Config{Workers: []string{"tcp://*:8000"}, InsecureWorkers: true}, ""},
		"a bad endpoint":        {router.Config{Workers: []string{"http://x"}}, "http://x"},
		"too long a token":      {router.Config{Token: strings.Repeat("x", 256)}, "255"},
		"as long as it can get": {router.Config{Token: strings.Repeat("x", 255)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := router.New(tc.cfg)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("New: %v, want %q", err, tc.want)
			}
		})
	}
}
