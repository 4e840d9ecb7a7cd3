package interop

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestFiveKindsSideBySide: each kind of worker answers its share, rightly.
func TestFiveKindsSideBySide(t *testing.T) {
	needRuby(t)
	r := startRouter(t)
	startWorker(t, "go", nil, r.endpoint())
	startPython(t, rep, "py-rep", nil, r.endpoint())
	startPython(t, dealer, "py-dealer", nil, r.endpoint())
	startPython(t, routed, "py-router", nil, r.endpoint())
	// It greets, and says in a field what path it was asked for.
	start(t, "rb-rep", nil, ruby, "../examples/ruby/rep.rb", "rb-rep", r.endpoint())
	names := []string{"go", "py-rep", "py-dealer", "py-router", "rb-rep"}
	r.awaitWorkers(names...)

	var mu sync.Mutex
	served := map[string]int{}
	var g errgroup.Group
	for range 10 {
		g.Go(func() error {
			c := newClient(r.addr)
			defer c.close()
			for range 60 {
				nonce := newNonce()
				q := getNonce(nonce)
				a := c.do(q)
				name := a.header.Get("Dialmux-Worker")
				right := bytes.Equal(a.body, proof(nonce))
				if name == "rb-rep" {
					right = string(a.body) == "Hello from rb-rep\n" && a.header.Get("X-Path") == q.target
				}
				if a.err != nil || a.status != http.StatusOK || !right {
					return fmt.Errorf("worker %q answered %+v", name, a)
				}
				mu.Lock()
				served[name]++
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("served: %v", served)
	for _, name := range names {
		if served[name] == 0 {
			t.Errorf("%s served none of %v", name, served)
		}
	}
	r.awaitIdle()
}

// TestRouterSocketWithTwoRouters: one ROUTER socket answers each router's
// requests at the right place, also while the other one is restarted.
func TestRouterSocketWithTwoRouters(t *testing.T) {
	a, b := startRouter(t), startRouter(t)
	startPython(t, routed, "py", nil, a.endpoint(), b.endpoint())
	a.awaitWorkers("py")
	b.awaitWorkers("py")
	who := crowd{clients: 12, pace: time.Millisecond}
	atA, atB := startLoad(t, a.addr, who, mixed), startLoad(t, b.addr, who, mixed)
	atA.await("the first router's requests are answered", 200)
	atB.await("the second router's requests are answered", 200)
	atB.stop()
	if bad := atB.notOK(); len(bad) > 0 {
		t.Errorf("%d requests at the second router failed: %s", len(bad), bad[0])
	}
	atB = startLoad(t, b.addr, who, quick) // a router that is killed cannot break HTTP/1.0 off visibly
	atB.await("the second router has requests again", 50)
	b.restart()
	b.awaitWorkers("py")
	atB.await("the second router's requests are answered after its restart", 200)
	atA.await("the first router's requests go on", 200)
	atA.stop()
	atB.stop()
	if bad := atA.notOK(); len(bad) > 0 {
		t.Errorf("%d requests at the first router failed: %s", len(bad), bad[0])
	}
	a.awaitIdle()
	b.awaitIdle()
}
