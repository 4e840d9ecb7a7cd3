package worker

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/dialmux/dialmux/frame"
)

func TestSurplusIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRouter(t)
		r.start(Worker{Concurrency: 2, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-release
			w.WriteHeader(http.StatusNoContent)
		})})
		l := r.join()
		l.get(1, "/")
		l.get(2, "/")
		l.get(3, "/")
		l.want(`RST_STREAM 3 REFUSED_STREAM all slots are taken`)
		l.send(dataHead(3), []byte("for the refused one"))
		l.wantQuiet()
		release <- struct{}{}
		l.next()
		l.get(4, "/")
		l.wantQuiet()
		close(release)
		got := map[string]bool{show(l.next()): true, show(l.next()): true}
		if !got[`HEADERS 4 [:status: 204] END 0`] || len(got) != 2 {
			t.Errorf("got %v", got)
		}
	})
}

// A router may send the next request as soon as it has read the last frame of one, so the slot is free before that frame is even
// queued: here the queue is full, and takes it only when the router reads again.
func TestSlotIsFreeBeforeTheLastFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const slots = 50
		a, nc := newGate()
		r := newRouter(t)
		begun := make(chan string, 2)
		r.start(Worker{Concurrency: slots, Dial: once(a), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/big" {
				begun <- r.URL.Path
				return
			}
			_, _ = w.Write(make([]byte, 250<<10))
			<-r.Context().Done()
		})})
		l := serveLink(t, nc, zmtpDefaults, nil)
		l.welcome(welcome1)
		l.wantJoin(1)
		nc.shut()
		for id := range uint64(slots - 1) {
			l.get(id+1, "/big")
		}
		synctest.Wait()
		l.get(slots, "/last-but-one")
		synctest.Wait()
		l.get(slots+1, "/last")
		synctest.Wait()
		if len(begun) != 2 {
			t.Error("the slot of an answer that is complete is still taken")
		}
		nc.open()
		for ended := 0; ended < 2; {
			f := l.next()
			if f.Type == frame.RSTStream {
				t.Fatalf("got %s", show(f))
			}
			if f.End() {
				ended++
			}
		}
	})
}

func TestResetKeepsTheSlotUntilTheHandlerReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRouter(t)
		r.start(Worker{Concurrency: 1, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			<-release
		})})
		l := r.join()
		l.get(1, "/")
		l.wantQuiet()
		l.cancel(1)
		l.wantQuiet()
		l.get(2, "/")
		l.want(`RST_STREAM 2 REFUSED_STREAM all slots are taken`)
		close(release)
		l.want(`RST_STREAM 1 CANCEL `)
		l.get(3, "/")
		l.cancel(3)
		l.want(`RST_STREAM 3 CANCEL `)
	})
}

func TestManyRoutersShareOneSemaphore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		routers := map[string]*router{"a": newRouter(t), "b": newRouter(t), "c": newRouter(t)}
		release := make(chan struct{})
		routers["a"].start(Worker{
			Concurrency: 4,
			Routers:     []string{"a", "b", "c"},
			Dial: func(ctx context.Context, endpoint string) (net.Conn, error) {
				return routers[endpoint].listen.Dial(ctx)
			},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				<-release
				w.WriteHeader(http.StatusNoContent)
			}),
		})
		links := map[string]*routerLink{}
		for name, r := range routers {
			l := r.accept()
			l.welcome(welcome1)
			j := l.wantJoin(1)
			if j.Concurrency != 2 {
				t.Errorf("announces %d, want 2: four over three, rounded up", j.Concurrency)
			}
			links[name] = l
		}
		for _, name := range []string{"a", "b"} {
			links[name].get(1, "/")
			links[name].get(2, "/")
		}
		synctest.Wait()
		links["c"].get(1, "/")
		links["c"].want(`RST_STREAM 1 REFUSED_STREAM all slots are taken`)
		release <- struct{}{}
		synctest.Wait()
		links["c"].get(2, "/")
		links["c"].wantQuiet()
		close(release)
		links["c"].want(`HEADERS 2 [:status: 204] END 0`)
	})
}
