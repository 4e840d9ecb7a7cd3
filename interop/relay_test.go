package interop

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// relay stands between a worker and a router's worker port. It counts
// connections, and can go deaf: a half-open path.
type relay struct {
	listener net.Listener
	target   string
	dialled  atomic.Int64 // connections that workers made
	said     atomic.Int64 // bytes from workers
	deaf     atomic.Bool  // what comes on older connections is swallowed

	mu      sync.Mutex
	open    []net.Conn
	closed  bool
	running sync.WaitGroup
}

func startRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		r.closed = true
		for _, c := range r.open {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

func (r *relay) endpoint() string { return "tcp://" + r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.dialled.Add(1)
		far, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		r.mu.Lock()
		r.open = append(r.open, near, far)
		if r.closed {
			_, _ = near.Close(), far.Close()
		}
		r.mu.Unlock()
		cut := &atomic.Bool{}
		r.running.Go(func() { r.pass(far, near, cut, &r.said) })
		r.running.Go(func() { r.pass(near, far, cut, nil) })
	}
}

// pass carries bytes until the path is cut. From then on neither end hears
// anything, not even that the other has gone.
func (r *relay) pass(to, from net.Conn, cut *atomic.Bool, count *atomic.Int64) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if r.deaf.Load() {
			cut.Store(true)
		}
		if err != nil {
			if !cut.Load() {
				_ = to.Close()
			}
			return
		}
		if cut.Load() {
			continue
		}
		if count != nil {
			count.Add(int64(n))
		}
		if _, err := io.Writer(to).Write(buf[:n]); err != nil {
			_ = from.Close()
			return
		}
	}
}
