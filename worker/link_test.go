package worker

import (
	"context"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

func hello(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte("hello " + r.URL.Path))
}

const helloHead = ":status: 200, content-type: text/plain; charset=utf-8"

func TestJoinAnnouncesTheWorker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		r.start(Worker{
			Handler: http.HandlerFunc(hello), Name: "w-1", Concurrency: 7, Token: "secret", Service: "shop", AppVersion: "v2",
			Zone: "eu", Hosts: []string{"a.example"}, Paths: []string{"/cart"}, Weight: 3, Tags: map[string]string{"k": "v"},
		})
		l := r.accept()
		l.wantQuiet() // the router speaks first
		l.get(1, "/too-early")
		l.welcome(frame.WelcomeInfo{Connection: 42})
		got := l.wantJoin(42)
		if len(got.Instance) < 16 {
			t.Errorf("instance %q is too short to be unique", got.Instance)
		}
		want := frame.JoinInfo{
			Protocol: 1, Connection: 42, Instance: got.Instance, Name: "w-1", Concurrency: 7, Token: "secret", Service: "shop",
			AppVersion: "v2", Zone: "eu", Hosts: []string{"a.example"}, Paths: []string{"/cart"}, Weight: 3, Tags: map[string]string{"k": "v"},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		l.wantQuiet() // what came before JOIN was dropped
	})
}

func TestEachLinkHasItsInstance(t *testing.T) {
	bubble(t, func(t *testing.T) {
		routers := map[string]*router{"a": newRouter(t), "b": newRouter(t)}
		w := Worker{Routers: []string{"a", "b"}, Handler: http.HandlerFunc(hello), Dial: func(ctx context.Context, endpoint string) (net.Conn, error) {
			return routers[endpoint].listen.Dial(ctx)
		}}
		instances := map[string]string{}
		for range 3 { // processes, or Runs
			run := routers["a"].start(w)
			own := map[string]string{}
			for try := range 3 {
				for name, r := range routers {
					l := r.accept()
					l.welcome(welcome1)
					got := l.wantJoin(1).Instance
					if had, ok := own[name]; ok && had != got {
						t.Errorf("the link to %s was %q and is %q after a reconnect", name, had, got)
					}
					own[name] = got
					l.welcome(frame.WelcomeInfo{Connection: 2})
					if again := l.wantJoin(2).Instance; again != got {
						t.Errorf("the link to %s was %q and is %q after another WELCOME", name, got, again)
					}
					if try < 2 { // the last connection lasts until the Run ends: no other waits for the next Run's router
						_ = l.Close()
					}
				}
			}
			for name, instance := range own {
				if other, taken := instances[instance]; taken {
					t.Errorf("the links to %s and %s both announce %q", name, other, instance)
				}
				instances[instance] = name
			}
			if err := run.stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestSecondWelcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		causes := make(chan error, 2)
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				<-r.Context().Done()
				causes <- context.Cause(r.Context())
			}
			hello(w, r)
		})
		l.get(1, "/wait")
		l.wantQuiet()
		l.welcome(frame.WelcomeInfo{Connection: 1, Routers: []string{"tcp://another:8000"}})
		l.wantQuiet() // the same connection only updates
		if len(causes) > 0 {
			t.Fatal("the stream was voided")
		}
		l.welcome(frame.WelcomeInfo{Connection: 2})
		l.wantJoin(2)
		if err := <-causes; err == nil || !strings.Contains(err.Error(), "the router began anew") {
			t.Errorf("the voided stream's context ended with %v", err)
		}
		l.wantQuiet() // a voided stream is owed nothing
		l.get(2, "/again")
		l.want(`HEADERS 2 [` + helloHead + `, content-length: 12] END 12 "hello /again"`)
	})
}

// dialTimes counts calls of Dial, and refuses them until open.
type dialTimes struct {
	mu    sync.Mutex
	times []time.Time
	open  bool
	dial  func(context.Context, string) (net.Conn, error)
}

func (d *dialTimes) Dial(ctx context.Context, endpoint string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.times = append(d.times, time.Now())
	if !d.open {
		return nil, syscall.ECONNREFUSED
	}
	return d.dial(ctx, endpoint)
}

func TestRedialTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		d := &dialTimes{dial: r.dial}
		run := r.start(Worker{Handler: http.HandlerFunc(hello), Dial: d.Dial})
		time.Sleep(time.Minute)
		synctest.Wait()
		d.mu.Lock()
		longest := []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}
		distinct := map[time.Duration]bool{}
		for i := 1; i < len(d.times); i++ {
			most := time.Second
			if i <= len(longest) {
				most = longest[i-1]
			}
			pause := d.times[i].Sub(d.times[i-1])
			if distinct[pause] = true; pause < most/4 || pause > most {
				t.Errorf("pause %d is %v, want from %v to %v", i, pause, most/4, most)
			}
		}
		if n := len(d.times); n < 60 || n > 240 || len(distinct) < n/2 {
			t.Errorf("%d attempts in a minute with %d different pauses", n, len(distinct))
		}
		d.open = true
		d.mu.Unlock()
		if n := run.logs.count("no link to the router"); n != 1 {
			t.Errorf("logged %d times that there is no link, want once:\n%s", n, run.logs)
		}

		l := r.join() // waits a second at most
		time.Sleep(time.Minute)
		_ = l.Close()
		lost := time.Now()
		r.join()
		if after := time.Since(lost); after > 200*time.Millisecond {
			t.Errorf("back after %v, want 200 ms at most: the link had joined", after)
		}
		synctest.Wait()
		if n := run.logs.count("msg=joined"); n != 2 {
			t.Errorf("logged joining %d times, want twice:\n%s", n, run.logs)
		}
	})
}

func TestRedialSpreadsWorkers(t *testing.T) {
	slices := map[time.Duration]int{}
	for range 1000 {
		slices[jitter(lastRetry)/(100*time.Millisecond)]++
	}
	for slice, n := range slices {
		if n > 250 {
			t.Errorf("%d of 1,000 workers redial in the same tenth of a second, the one from %v", n, slice*100*time.Millisecond)
		}
	}
}

func TestRouterThatDropsEachLinkIsNotHammered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		d := &dialTimes{dial: r.dial, open: true}
		run := r.start(Worker{Handler: http.HandlerFunc(hello), Dial: d.Dial})
		began := time.Now()
		for range 20 {
			_ = r.join().Close()
		}
		if took := time.Since(began); took < 5*time.Second {
			t.Errorf("20 links in %v, want at least 5 s", took)
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestRouterVanishes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cause := make(chan error, 1)
		r := newRouter(t)
		r.start(Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			cause <- context.Cause(r.Context())
			if _, err := w.Write([]byte("late")); err == nil {
				t.Error("Write succeeds without a router")
			}
		})})
		l := r.join()
		l.get(1, "/")
		l.want(`HEADERS 1 [:status: 200]`)
		_ = l.Close()
		if err := <-cause; err == nil || !strings.Contains(err.Error(), "the router is gone") {
			t.Errorf("the context ended with %v", err)
		}
		r.join().wantQuiet()
	})
}

func TestFrozenRouterIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		frozen := make(chan struct{})
		dials := 0
		r.start(Worker{Handler: http.HandlerFunc(hello), Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			if dials++; dials == 2 {
				close(frozen)
			}
			return r.listen.Dial(ctx)
		}})
		nc, err := r.listen.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := zmtp.Accept(nc, zmtp.Options{}); err != nil { // and then nothing reads or writes
			t.Fatal(err)
		}
		began := time.Now()
		<-frozen
		if after := time.Since(began); after > 10*time.Second {
			t.Errorf("left after %v", after)
		}
		r.join()
	})
}

func TestNoWelcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		run := r.start(Worker{Handler: http.HandlerFunc(hello)})
		began := time.Now()
		r.accept().wantClosed()
		if after := time.Since(began); after != 5*time.Second {
			t.Errorf("left after %v, want 5 s", after)
		}
		synctest.Wait()
		if run.logs.count("is this the worker port of a Dialmux router?") != 1 {
			t.Errorf("log does not say what is wrong:\n%s", run.logs)
		}
	})
}

func TestOtherProtocol(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		run := r.start(Worker{Handler: http.HandlerFunc(hello)})
		l := r.accept()
		l.send(frame.AppendWelcome(nil, frame.WelcomeInfo{Protocol: 2, Connection: 1}), nil)
		l.want(`GOAWAY 0 last 0 PROTOCOL_ERROR WELCOME speaks protocol 2, this worker speaks 1: upgrade the older of the two`)
		l.wantClosed()
		r.accept()
		if run.logs.count("upgrade the older of the two") != 1 {
			t.Errorf("log does not say what is wrong:\n%s", run.logs)
		}
	})
}

func TestGarbageFromRouter(t *testing.T) {
	for name, parts := range map[string][]string{
		"no msgpack":    {"garbage"},
		"three parts":   {"\x93\x00\x01\x00", "", ""},
		"trailing byte": {"\x96\x07\x00\x00\x00\x00\xa0\x00"},
		"no map":        {"\x94\x40\x00\x00\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cause := make(chan error, 1)
				r := newRouter(t)
				r.start(Worker{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					cause <- context.Cause(r.Context())
				})})
				l := r.join()
				l.get(5, "/")
				l.wantQuiet()
				raw := make([][]byte, len(parts))
				for i, p := range parts {
					raw[i] = []byte(p)
				}
				if _, err := l.Send(0, zmtp.Ordinary, raw...); err != nil {
					t.Fatal(err)
				}
				if f := l.next(); f.Type != frame.GoAway || f.Last != 5 || f.Code == http2.ErrCodeNo {
					t.Errorf("got %s, want GOAWAY with the error", show(f))
				}
				l.wantClosed()
				<-cause
				r.join() // the worker goes on
			})
		})
	}
}

func TestParkedWorkerStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		d := &dialTimes{dial: r.dial, open: true}
		run := r.start(Worker{Handler: http.HandlerFunc(hello), Dial: d.Dial})
		r.refuses(func(frame.JoinInfo) string { return "wrong token" })
		l := r.join()
		time.Sleep(time.Hour)
		l.wantQuiet()
		if len(d.times) != 1 {
			t.Errorf("dialled %d times while parked, want once", len(d.times))
		}
		for range 5 {
			_ = l.Close()
			l = r.join()
		}
		synctest.Wait()
		if n := run.logs.count(`level=ERROR msg="the router refuses this worker"`); n != 1 || run.logs.count("wrong token") != 1 {
			t.Errorf("logged the refusal %d times, want once with its reason:\n%s", n, run.logs)
		}
		_ = l.Close()
		r.heard = nil
		l = r.join()
		synctest.Wait()
		if n := run.logs.count("msg=joined"); n != 1 {
			t.Errorf("logged joining %d times, want one when the router took it:\n%s", n, run.logs)
		}
		l.get(1, "/x")
		l.next()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestRouterDrains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRouter(t)
		run := r.start(Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-release
			hello(w, r)
		})})
		l := r.join()
		l.get(1, "/a")
		l.send(frame.AppendGoAway(nil, 0, http2.ErrCodeNo, "router stops"), nil)
		time.Sleep(time.Minute)
		l.wantQuiet()
		close(release)
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 8] END 8 "hello /a"`)
		time.Sleep(time.Minute)
		l.wantQuiet() // the connection is the router's to close
		_ = l.Close()
		r.join()
		if run.logs.count("the router sends no more requests") != 1 {
			t.Errorf("log:\n%s", run.logs)
		}
	})
}
