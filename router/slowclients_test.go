package router_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

// late is how long after its deadline a connection may be closed.
const late = 150 * time.Millisecond

// slowWorker never answers POST, answers /large with more than a pipe holds,
// and everything else at once.
func slowWorker(w *world, k *worker) {
	w.wg.Go(func() {
		for {
			select {
			case <-k.done:
				return
			case <-k.inbox.arrive:
			}
			for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
				f := parse(w.t, parts)
				c := &call{worker: k, Frame: f}
				switch {
				case f.Type == frame.RSTStream:
					c.reset(http2.ErrCodeCancel)
				case f.Type != frame.Headers || c.get(":method") == http.MethodPost:
				case c.get(":path") == "/large":
					c.head(200, "content-length", fmt.Sprint(1<<20))
					c.data(strings.Repeat("y", 48<<10))
					c.data(strings.Repeat("y", 48<<10))
				default:
					c.answer(200, "swift")
				}
			}
		}
	})
}

// closedAt expects nc to end between due and late after it, and what came
// before the end to begin with want.
func closedAt(t *testing.T, nc net.Conn, who string, due time.Time, want string) {
	_ = nc.SetReadDeadline(due.Add(time.Hour))
	got, err := io.ReadAll(nc)
	if after := time.Since(due); err != nil || after < 0 || after > late {
		t.Errorf("%s: closed %v after its deadline (%v), want 0 to %v", who, after, err, late)
	}
	if !strings.HasPrefix(string(got), want) || !strings.Contains(string(got), "Connection: close\r\n") {
		t.Errorf("%s got %q, want %q", who, got, want)
	}
}

func TestH11SlowClientsAreClosedAtTheirDeadlines(t *testing.T) {
	const each = 667
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		for _, name := range []string{"w1", "w2", "w3"} {
			slowWorker(w, w.join(name, 1024))
		}
		w.port(router.Port{})
		w.settle()
		heap := heapInUse()
		goroutines, _ := w.goroutines()

		dial := func() net.Conn {
			nc, err := w.clients.Dial(w.t.Context())
			if err != nil {
				w.t.Error(err)
				nc, _ = testpipe.New()
			}
			return nc
		}
		// trickle writes to nc now and then, until it is closed.
		trickle := func(nc net.Conn, pieces int, every time.Duration, piece string) {
			w.wg.Go(func() {
				for range pieces {
					time.Sleep(every)
					if _, err := io.WriteString(nc, piece); err != nil {
						return
					}
				}
			})
		}
		clients := make(chan struct{}, 3*each)
		slow := func(begin time.Duration, serve func(nc net.Conn)) {
			w.wg.Go(func() {
				time.Sleep(begin)
				nc := dial()
				serve(nc)
				_ = nc.Close()
				clients <- struct{}{}
			})
		}
		for i := range each {
			begin := time.Duration(i+1) * 1777 * time.Microsecond // between the beats of any clock
			slow(begin, func(nc net.Conn) {
				due := time.Now().Add(router.DefaultHeadTimeout)
				_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: h\r\n")
				trickle(nc, 100, 700*time.Millisecond, "X-More: x\r\n")
				closedAt(w.t, nc, "who trickles its head", due, "HTTP/1.1 408 ")
			})
			slow(begin, func(nc net.Conn) { // a byte puts it off: it is the silence that counts
				_, _ = io.WriteString(nc, "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
				const pieces, every = 4, 7 * time.Second
				due := time.Now().Add(pieces*every + router.DefaultBodyTimeout)
				trickle(nc, pieces, every, "x")
				closedAt(w.t, nc, "who trickles its body", due, "HTTP/1.1 408 ")
			})
			slow(begin, func(nc net.Conn) {
				_, _ = io.WriteString(nc, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
				time.Sleep(router.DefaultWriteTimeout - time.Millisecond)
				gone := nc.(interface{ PeerClosed() bool }).PeerClosed
				if gone() {
					w.t.Error("who does not read was closed before its deadline")
				}
				time.Sleep(time.Millisecond + late)
				if !gone() {
					w.t.Error("who does not read is not closed at its deadline")
					return
				}
				got, _ := io.ReadAll(nc)
				if !strings.HasPrefix(string(got), "HTTP/1.1 200 ") || len(got) >= 96<<10 {
					w.t.Errorf("who does not read got %d bytes: %.100q", len(got), got)
				}
			})
		}

		// Meanwhile the others are served as if alone.
		swift := w.raw("")
		const ask = "GET /swift HTTP/1.1\r\nHost: h\r\n\r\n"
		most := 0
		for range 200 {
			time.Sleep(501 * time.Millisecond)
			most = max(most, w.r.Streams().Open)
			fresh := w.raw("")
			for _, c := range []*raw{swift, fresh} {
				begin := time.Now()
				c.write(ask)
				resp := make([]byte, 4096)
				n, err := c.nc.Read(resp)
				if got := string(resp[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "swift") {
					w.t.Fatalf("another client got %q, %v", got, err)
				}
				if took := time.Since(begin); took > 0 {
					w.t.Errorf("another client waited %v", took)
				}
			}
			_ = fresh.nc.Close()
		}
		for range 3 * each {
			<-clients
		}
		if most < 2*each {
			w.t.Errorf("at most %d streams were open at once; %d clients have a request", most, 2*each)
		}
		time.Sleep(5 * time.Second) // connections linger
		w.settle()
		for _, st := range w.r.Workers() {
			if st.Busy != 0 {
				w.t.Errorf("/workers: %+v", st)
			}
		}
		if n, stacks := w.goroutines(); n > goroutines+1 { // swift's
			w.t.Errorf("%d goroutines before, %d after:\n%s", goroutines, n, stacks)
		}
		if now := heapInUse(); now > heap+8<<20 {
			w.t.Errorf("the heap held %d bytes before, %d after", heap, now)
		}
	})
}

// heapInUse is what lives, without what pools keep.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
