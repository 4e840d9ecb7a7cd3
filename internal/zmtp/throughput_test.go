package zmtp

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// loopback connects two of us over TCP and runs both; received counts what the second one gets.
func loopback(t testing.TB, o Options) (c *Conn, received *atomic.Int64, arrived <-chan struct{}) {
	t.Helper()
	l, err := Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := Dial(t.Context(), Bound(l))
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var accepted *Conn
	var acceptErr error
	wg.Go(func() { accepted, acceptErr = Accept(far, o) })
	connected, err := Connect(near, Options{})
	wg.Wait()
	if err != nil || acceptErr != nil {
		t.Fatal(err, acceptErr)
	}
	received = new(atomic.Int64)
	signal := make(chan struct{}, 1)
	wg.Go(func() { _ = accepted.Run(func([][]byte) error { return nil }) })
	wg.Go(func() {
		_ = connected.Run(func([][]byte) error {
			received.Add(1)
			select {
			case signal <- struct{}{}:
			default:
			}
			return nil
		})
	})
	t.Cleanup(func() {
		_, _ = accepted.Close(), connected.Close()
		wg.Wait()
	})
	return accepted, received, signal
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "64 KiB": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			c, received, arrived := loopback(t, Options{})
			head, payload := make([]byte, 60), make([]byte, size)
			const messages = 20
			sent := int64(0)
			burst := func() {
				for i := range messages {
					class := Ordinary
					if i%5 == 0 {
						class = Urgent
					}
					if _, err := c.Send(uint64(i), class, head, payload); err != nil {
						t.Fatal(err)
					}
				}
				sent += messages
				for received.Load() < sent {
					<-arrived
				}
			}
			for range 50 {
				burst() // until all buffers have their size
			}
			least := testing.AllocsPerRun(20, burst)
			for range 99 { // on a machine that stalls, connections are quiet between bursts, and give their buffers back
				if least < 1 {
					return
				}
				least = min(least, testing.AllocsPerRun(20, burst))
			}
			t.Errorf("%v allocations for %d messages", least, messages)
		})
	}
}

// A quiet connection keeps little of what a busy one needed.
func TestBuffersAreGivenBack(t *testing.T) {
	if b := reuse(make([]byte, 100, largeBuffer+1)); b != nil {
		t.Errorf("a buffer of %d bytes is kept", cap(b))
	}
	if b := reuse(make([]byte, largeBuffer, largeBuffer+1)); cap(b) == 0 || len(b) != 0 {
		t.Errorf("a buffer in use is not kept: %d of %d bytes", len(b), cap(b))
	}
	if b := reuse(make([]byte, 100, largeBuffer)); cap(b) == 0 || len(b) != 0 {
		t.Errorf("a small buffer is not kept: %d of %d bytes", len(b), cap(b))
	}
	r := newReader(1<<20, 8)
	feed(t, &r, concat(long(0, 100<<10), make([]byte, 100<<10)))
	r.release()
	if r.shrink(); len(r.buf) != smallBuffer {
		t.Errorf("a quiet reader keeps %d bytes", len(r.buf))
	}
	feed(t, &r, []byte("\x01\x01a\x00"))
	if r.shrink(); string(r.parts[0]) != "a" || r.end-r.pos != 1 {
		t.Error("a quiet reader lost half a message")
	}
}

// A sender that is faster than its peer waits for OnDrain; all arrives, and memory stays bounded.
func TestSenderPacedByDrain(t *testing.T) {
	drained := make(chan struct{}, 1)
	c, received, arrived := loopback(t, Options{QueueLimit: 1 << 20, OnDrain: func() { drained <- struct{}{} }})
	payload := bytes.Repeat([]byte("x"), 64<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const messages = 4096 // 256 MiB
	for range messages {
		for {
			_, err := c.Send(1, Ordinary, payload)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			<-drained
		}
	}
	runtime.ReadMemStats(&after)
	for received.Load() < messages {
		<-arrived
	}
	if grew := int64(after.HeapAlloc) - int64(before.HeapAlloc); grew > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grew)
	}
}

func BenchmarkSend(b *testing.B) {
	for name, size := range map[string]int{"100B": 100, "16KiB": 16 << 10, "64KiB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			drained := make(chan struct{}, 1)
			c, received, arrived := loopback(b, Options{OnDrain: func() { drained <- struct{}{} }})
			head, payload := make([]byte, 60), make([]byte, size)
			b.SetBytes(int64(len(head) + size))
			b.ReportAllocs()
			for b.Loop() {
				for {
					_, err := c.Send(1, Ordinary, head, payload)
					if err == nil {
						break
					}
					<-drained
				}
			}
			for received.Load() < int64(b.N) {
				<-arrived
			}
		})
	}
}
