package router_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

// exhausted is a listener that has no descriptor now and then.
type exhausted struct {
	*testpipe.Listener

	mu    sync.Mutex
	out   bool
	asked int // while it was out
}

func (l *exhausted) Accept() (net.Conn, error) {
	l.mu.Lock()
	out := l.out
	if out {
		l.asked++
	}
	l.mu.Unlock()
	if out {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func (l *exhausted) run(out bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = out
}

// Out of descriptors, again and again: clients wait, the router does not spin,
// and says it once for each time.
func TestF7OutOfDescriptors(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		k := w.join("w1", 8)
		l := &exhausted{Listener: testpipe.NewListener()}
		w.clients = l.Listener
		c := w.r.Clients(router.Port{IdleTimeout: -1})
		w.wg.Go(func() { _ = c.Serve(l) })
		defer func() {
			l.run(false)
			_ = l.Close()
			now, cancel := context.WithCancel(context.Background())
			cancel()
			c.Shutdown(now, 0)
		}()
		for episode := range 3 {
			for range 4 { // it flaps
				w.settle() // Accept has begun, and sees that it is out only once it is called again
				l.run(true)
				w.open(k) // wakes Accept, and is the last that it had a descriptor for
				p := w.raw(ask)
				time.Sleep(10 * time.Second)
				k.silent()
				l.run(false)
				k.request().answer(200, "served")
				wantsRaw(w.t, p.nc, "served")
			}
			w.logged("cannot accept", episode+1)
			time.Sleep(10 * time.Second)
			w.open(k)
			w.logged("accepting again", episode+1)
		}
		if l.asked > 12*20 {
			w.t.Errorf("in 120 s it was tried %d times", l.asked)
		}
		if log := w.log.String(); strings.Count(log, "level=ERROR") != 3 {
			w.t.Errorf("the log: %s", log)
		}
	})
}
