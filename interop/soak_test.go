package interop

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// TestO7Soak: rounds of thousands of requests of every kind, of clients that
// leave among them, leave neither descriptors nor memory behind: the last
// rounds take no more than the first.
func TestO7Soak(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own; this runs in the plain pass")
	}
	r := startRouter(t)
	startWorker(t, "go", nil, r.endpoint())
	startPython(t, dealer, "dealer", nil, r.endpoint())
	r.awaitWorkers("go", "dealer")
	descriptors := func() int {
		list, err := os.ReadDir("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := descriptors()
	var rss []int64
	for range 6 {
		l := startLoad(t, r.addr, crowd{clients: 16}, mixed)
		var leaving sync.WaitGroup
		for range 8 {
			leaving.Go(func() {
				for range 10 {
					leaveEarly(r.addr)
				}
			})
		}
		l.await("requests of every kind are answered", 500)
		leaving.Wait()
		l.stop()
		if bad := l.notOK(); len(bad) > 0 {
			t.Errorf("%d requests failed: %s", len(bad), bad[0])
		}
		r.awaitIdle()
		eventually(t, "the descriptors return to their baseline", func() bool { return descriptors() <= before+1 })
		rss = append(rss, r.memory(t, "VmRSS")>>20)
	}
	t.Logf("the router's memory after each round, in MiB: %v", rss)
	if first, last := slices.Max(rss[:3]), slices.Min(rss[3:]); last > first+8 {
		t.Errorf("the router's memory grows: %v MiB", rss)
	}
}

// leaveEarly asks for what takes long, or sends what takes long, and leaves.
func leaveEarly(addr string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	for _, ask := range []string{"GET /wait?n=1 HTTP/1.1\r\nHost: h\r\n\r\n", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nsome", "GET / HT"} {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return
		}
		_, _ = nc.Write([]byte(ask))
		_ = nc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = nc.Read(make([]byte, 100))
		_ = nc.Close()
	}
}

// TestW16WorkerThatTakesNothing: uploads to a worker that gives no credit cost
// the router no more than their windows, and end with it.
func TestW16WorkerThatTakesNothing(t *testing.T) {
	const uploads, window = 128, 64 << 10
	r := startRouter(t)
	worker := joinFake(t, r, frame.JoinInfo{Name: "greedy", Concurrency: uploads})
	var clients sync.WaitGroup
	measured(t, uploads*(window+64<<10)+(16<<20), func() {
		for range uploads {
			c := newClient(r.addr)
			t.Cleanup(c.close)
			if err := c.send(request{method: http.MethodPost, target: "/sink"}, 1<<30); err != nil {
				t.Fatal(err)
			}
			_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
			clients.Go(func() { _, _ = c.conn.Write(make([]byte, 16<<20)) }) // until nothing more goes
		}
		clients.Wait()
		eventually(t, "all uploads run", func() bool { return r.find("greedy").Busy == uploads })
	}, r.process)
	_ = worker.Close()
	r.awaitIdle()
}
