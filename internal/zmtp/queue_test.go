package zmtp

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/dialmux/dialmux/internal/testpipe"
)

const pinged = "\x04\x07\x04PING\x00\x00"

// counted counts the writes to a pipe.
type counted struct {
	*testpipe.Conn
	writes atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// countedPeer is rawPeer with the server's writes counted.
func countedPeer(t *testing.T, size int, o Options) (*Conn, net.Conn, *counted) {
	t.Helper()
	a, b := testpipe.NewSize(size)
	nc := &counted{Conn: a.(*testpipe.Conn)}
	var wg sync.WaitGroup
	wg.Go(func() { shakeRaw(t, b, nullDealer) })
	c, err := Accept(nc, o)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	nc.writes.Store(0)
	return c, b, nc
}

func TestFramesOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
		run(t, c)
		long, longest := strings.Repeat("x", 256), strings.Repeat("y", 255)
		send(t, c, "a")
		send(t, c, "", "b", "")
		send(t, c, long, longest)
		want := pinged + "\x00\x01a" + "\x01\x00\x01\x01b\x00\x00" + "\x03\x00\x00\x00\x00\x00\x00\x01\x00" + long + "\x00\xff" + longest
		if got := drain(t, far); string(got) != want {
			t.Errorf("got %q", got)
		}
	})
}

// What waits while one write is under way leaves with the next one.
func TestManySendsFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far, nc := countedPeer(t, testpipe.DefaultSize, Options{})
		send(t, c, strings.Repeat("x", testpipe.DefaultSize))
		run(t, c)
		synctest.Wait() // the first write is stuck
		for range 1000 {
			send(t, c, "abc")
		}
		if got, want := len(drain(t, far)), len(pinged)+9+testpipe.DefaultSize+1000*5; got != want {
			t.Errorf("%d bytes came, want %d", got, want)
		}
		if n := nc.writes.Load(); n != 3 { // PING and the first message are two buffers
			t.Errorf("%d writes", n)
		}
	})
}

// Senders that can run are let run before the batch is taken, or each of them would cost a write.
func TestSendersThatCanRunShareAWrite(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		c, far, nc := countedPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
		run(t, c)
		drain(t, far)
		nc.writes.Store(0)
		const senders = 500
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				<-start
				_, _ = c.Send(0, Ordinary, []byte("abc"))
			})
		}
		synctest.Wait()
		close(start)
		wg.Wait()
		if got := len(drain(t, far)); got != senders*5 {
			t.Errorf("%d bytes came", got)
		}
		if n := nc.writes.Load(); n > senders/10 {
			t.Errorf("%d writes for %d senders", n, senders)
		}
	})
}

func TestUrgentLeavesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
		sendAs(t, c, 1, Opener, "1")
		sendAs(t, c, 0, Urgent, "u")
		sendAs(t, c, 1, Ordinary, "2")
		sendAs(t, c, 0, Urgent, "v", "w")
		run(t, c)
		if got, want := string(drain(t, far)), "\x00\x01u\x01\x01v\x00\x01w"+pinged+"\x00\x011\x00\x012"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestFullQueueAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drained := 0
		c, far := rawPeer(t, 100, Options{QueueLimit: 1000, Heartbeat: hour, OnDrain: func() { drained++ }})
		send(t, c, strings.Repeat("first", 100)) // larger than the pipe: its write gets stuck
		r := run(t, c)
		synctest.Wait()

		message := strings.Repeat("m", 98) // 100 bytes on the wire
		for i := range 10 {
			if c.Full() {
				t.Fatalf("full after %d messages", i)
			}
			send(t, c, message)
		}
		if !c.Full() {
			t.Error("not full with 1,000 bytes waiting")
		}
		for _, class := range []Class{Ordinary, Opener} {
			if _, err := c.Send(7, class, []byte("x")); !errors.Is(err, ErrFull) {
				t.Errorf("Send: %v, want ErrFull", err)
			}
		}
		sendAs(t, c, 7, Urgent, "urgent") // still fits
		if drained != 0 {
			t.Error("drained, though nothing was taken")
		}
		all := drain(t, far)
		if drained != 1 || c.Full() {
			t.Errorf("after the queue was taken: OnDrain called %d times, Full %v", drained, c.Full())
		}
		if got, want := len(all), len(pinged)+9+500+2+6+10*100; got != want {
			t.Errorf("%d bytes came, want %d", got, want)
		}
		send(t, c, message)
		drain(t, far)
		if drained != 1 {
			t.Error("OnDrain called though nothing armed it")
		}
		_ = c.Close()
		if err := r.wait(); !errors.Is(err, ErrClosed) {
			t.Errorf("Run: %v", err)
		}
		if !c.Full() {
			t.Error("a closed connection would not refuse")
		}
	})
}

func TestOneMessageMayExceedTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := rawPeer(t, 100, Options{QueueLimit: 10})
		send(t, c, strings.Repeat("x", 1000))
		if _, err := c.Send(0, Ordinary, nil); !errors.Is(err, ErrFull) {
			t.Errorf("the second: %v", err)
		}
		_ = c.Close()
	})
}

// What a message takes beyond the limit is its own affair: urgent ones have the whole reserve beside it.
func TestUrgentFitsBesideAMessageOverTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4 << 20
		c, far := rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
		big := strings.Repeat("x", limit+limit/4)
		send(t, c, big)
		first, second := strings.Repeat("u", 9), strings.Repeat("v", urgentReserve-2-9-9)
		sendAs(t, c, 0, Urgent, first)
		run(t, c)
		if got, want := drain(t, far), "\x00\x09"+first+pinged+string(long(0, uint64(len(big))))+big; string(got) != want {
			t.Errorf("%d bytes came, %.50q..., want %d", len(got), got, len(want))
		}

		c, _ = rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
		send(t, c, big)
		sendAs(t, c, 0, Urgent, first)
		sendAs(t, c, 0, Urgent, second) // the reserve to its last byte
		_, err := c.Send(0, Urgent, []byte("w"))
		if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "the peer does not read: over 4456448 bytes wait for it") {
			t.Errorf("Send beyond the reserve: %v", err)
		}
	})
}

func TestUrgentOverflowCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := rawPeer(t, 100, Options{QueueLimit: 1000})
		sendAs(t, c, 0, Urgent, strings.Repeat("x", urgentReserve))
		_, err := c.Send(0, Urgent, make([]byte, 1001))
		if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "the peer does not read") {
			t.Errorf("Send: %v", err)
		}
		if err := c.Run(nil); !strings.Contains(err.Error(), "the peer does not read") {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestAwaitDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drained := 0
		c, far := rawPeer(t, 100, Options{Heartbeat: hour, OnDrain: func() { drained++ }})
		r := run(t, c)
		drain(t, far)

		taken := send(t, c, strings.Repeat("x", 200)) // stuck in its write
		synctest.Wait()
		waits := send(t, c, "y")
		if c.Gen() <= taken || c.Gen() != waits {
			t.Errorf("generation %d; of the message taken %d, of the one that waits %d", c.Gen(), taken, waits)
		}
		if c.AwaitDrain(taken) {
			t.Error("armed for a message that is gone")
		}
		if !c.AwaitDrain(waits) {
			t.Error("not armed for a message that waits")
		}
		if drained != 0 {
			t.Error("drained early")
		}
		drain(t, far)
		if drained != 1 || c.Gen() <= waits {
			t.Errorf("OnDrain called %d times, generation %d", drained, c.Gen())
		}
		_ = c.Close()
		_ = r.wait()
		if c.AwaitDrain(c.Gen()) {
			t.Error("armed on a closed connection, where nothing will come of it")
		}
	})
}

// OnDrain may use the connection.
func TestOnDrainRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Conn
		refills := 0
		c, far := rawPeer(t, testpipe.DefaultSize, Options{QueueLimit: 1, Heartbeat: hour, OnDrain: func() {
			if refills++; refills < 5 {
				_, _ = c.Send(0, Ordinary, []byte("again"))
				_, err := c.Send(0, Ordinary, []byte("too much"))
				if !errors.Is(err, ErrFull) {
					t.Errorf("Send: %v", err)
				}
			}
		}})
		gen := send(t, c, "first")
		if !c.AwaitDrain(gen) {
			t.Fatal("not armed")
		}
		run(t, c)
		if got := strings.Count(string(drain(t, far)), "again"); got != 4 || refills != 5 {
			t.Errorf("%d messages, %d calls", got, refills)
		}
	})
}

func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
		sendAs(t, c, 1, Opener, "1a", "x")
		sendAs(t, c, 2, Opener, "2a")
		sendAs(t, c, 1, Ordinary, "1b")
		sendAs(t, c, 1, Urgent, "1u")
		sendAs(t, c, 3, Ordinary, "3b")
		sendAs(t, c, 2, Ordinary, "2b")
		for _, test := range []struct {
			stream uint64
			n      int
			opener bool
		}{{1, 2, true}, {1, 0, false}, {3, 1, false}, {9, 0, false}} {
			if n, opener := c.Purge(test.stream); n != test.n || opener != test.opener {
				t.Errorf("Purge(%d) = %d, %v; want %d, %v", test.stream, n, opener, test.n, test.opener)
			}
		}
		sendAs(t, c, 2, Ordinary, "2c")
		run(t, c)
		if got, want := string(drain(t, far)), "\x00\x021u"+pinged+"\x00\x022a\x00\x022b\x00\x022c"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if n, _ := c.Purge(2); n != 0 {
			t.Errorf("%d messages purged that had left", n)
		}
	})
}

func TestPurgeMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drained := 0
		c, far := rawPeer(t, testpipe.DefaultSize, Options{QueueLimit: 10, Heartbeat: hour, OnDrain: func() { drained++ }})
		sendAs(t, c, 1, Opener, "0123456789")
		if _, err := c.Send(2, Opener, nil); !errors.Is(err, ErrFull) {
			t.Fatalf("Send: %v", err)
		}
		if n, opener := c.Purge(1); n != 1 || !opener || c.Full() {
			t.Errorf("purged %d, opener %v, still full: %v", n, opener, c.Full())
		}
		run(t, c)
		if got := string(drain(t, far)); got != pinged {
			t.Errorf("got %q", got)
		}
		if drained != 1 {
			t.Errorf("OnDrain called %d times", drained)
		}
	})
}

// Concurrent senders, purges and a reader: nothing is lost, torn or reordered within a stream.
func TestConcurrentSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accepted, connected := handshakeBoth(t, 4096, Options{}, Options{})
		r := run(t, connected)
		run(t, accepted)
		const streams, each = 20, 100
		var wg sync.WaitGroup
		for s := range uint64(streams) {
			wg.Go(func() {
				for i := range each {
					_, err := accepted.Send(s, Ordinary, []byte{byte(s)}, []byte{byte(i)})
					if err != nil {
						t.Error(err)
						return
					}
					if i%10 == 0 {
						accepted.Purge(streams + s)
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		next := [streams]byte{}
		for range streams * each {
			m := <-r.got
			if s := m[0][0]; m[1][0] != next[s] {
				t.Fatalf("stream %d: message %d, want %d", s, m[1][0], next[s])
			}
			next[m[0][0]]++
		}
	})
}

func TestUnsentNamesTheStreamsWhoseOpenerWaits(t *testing.T) {
	c := newConn(nil, Peer{}, Options{}.withDefaults())
	for stream, class := range map[uint64]Class{1: Opener, 2: Ordinary, 3: Opener, 4: Urgent} {
		if _, err := c.Send(stream, class, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	c.Purge(3)
	if got := c.Unsent(); len(got) != 1 || !got[1] {
		t.Errorf("got %v, want stream 1 alone", got)
	}
}
