package zmtp

import (
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
)

// pings collects when PINGs come, until the connection ends.
func pings(t *testing.T, far io.Reader, start time.Time, onPing func(n int)) (at []time.Duration) {
	t.Helper()
	b := make([]byte, len(pinged))
	for {
		if _, err := io.ReadFull(far, b); err != nil {
			return at
		}
		if string(b) != pinged {
			t.Fatalf("got %q", b)
		}
		at = append(at, time.Since(start))
		onPing(len(at))
	}
}

func TestSilentPeerIsDeadAfterThreePings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		start := time.Now()
		r := run(t, c)
		at := pings(t, far, start, func(int) {})
		if want := []time.Duration{0, 2 * time.Second, 4 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("PINGs at %v, want %v", at, want)
		}
		if err := r.wait(); !errors.Is(err, ErrDead) || time.Since(start) != 6*time.Second {
			t.Errorf("Run: %v after %v", err, time.Since(start))
		}
	})
}

func TestAnswersKeepThePeerAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: time.Second})
		start := time.Now()
		r := run(t, c)
		at := pings(t, far, start, func(n int) {
			switch {
			case n <= 3:
				mustWrite(t, far, []byte("\x04\x05\x04PONG"))
			case n == 5: // any input counts, and starts the two seconds anew
				time.Sleep(300 * time.Millisecond)
				mustWrite(t, far, []byte("\x00\x00"))
			}
		})
		ms := time.Millisecond
		if want := []time.Duration{0, 1000 * ms, 2000 * ms, 3000 * ms, 4000 * ms, 5300 * ms, 6300 * ms, 7300 * ms}; !slices.Equal(at, want) {
			t.Errorf("PINGs at %v, want %v", at, want)
		}
		if err := r.wait(); !errors.Is(err, ErrDead) || time.Since(start) != 8300*ms {
			t.Errorf("Run: %v after %v", err, time.Since(start))
		}
	})
}

func TestBusyPeerIsNotPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		run(t, c)
		drain(t, far)
		for range 20 {
			time.Sleep(1900 * time.Millisecond)
			mustWrite(t, far, []byte("\x00\x00"))
		}
		if got := drain(t, far); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
}

// Two of us, with nothing to say, stay connected.
func TestIdleConnectionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accepted, connected := handshakeBoth(t, testpipe.DefaultSize, Options{}, Options{})
		a, b := run(t, accepted), run(t, connected)
		time.Sleep(24 * time.Hour)
		send(t, accepted, "still")
		wantMessage(t, b, "still")
		wantNone(t, a)
	})
}

// A peer that is stuck in both directions is found out, though our own writer is stuck in its write.
func TestFrozenPeerIsDeadThoughTheWriterIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := rawPeer(t, 100, Options{})
		send(t, c, string(make([]byte, 10_000)))
		start := time.Now()
		r := run(t, c)
		if err := r.wait(); !errors.Is(err, ErrDead) || time.Since(start) != 6*time.Second {
			t.Errorf("Run: %v after %v", err, time.Since(start))
		}
	})
}

// It is not the peer's silence when we ourselves were busy: its input waited in the socket.
func TestSlowReceiverDoesNotBlameThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		mustWrite(t, far, []byte("\x00\x00"))
		calls := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			err := c.Run(func([][]byte) error {
				time.Sleep(time.Minute)
				calls++
				return nil
			})
			if !errors.Is(err, io.EOF) {
				t.Errorf("Run: %v", err)
			}
		})
		for range 4 {
			synctest.Wait() // receive sleeps, the next message waits
			mustWrite(t, far, []byte("\x00\x00"))
			time.Sleep(time.Minute)
		}
		_ = far.(*testpipe.Conn).CloseWrite()
		wg.Wait()
		if calls != 5 {
			t.Errorf("%d messages", calls)
		}
	})
}

// A PONG comes when all before its PING was received, and behind what the peer had to say to that. A heartbeat's is not told of.
func TestPingIsAnsweredBehindWhatItsPeerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := testpipe.New()
		var told []string
		var a, b *Conn
		var both sync.WaitGroup
		both.Go(func() {
			var err error
			if a, err = Connect(near, Options{OnPong: func(context []byte) { told = append(told, string(context)) }}); err != nil {
				t.Error(err)
			}
		})
		var err error
		if b, err = Accept(far, Options{}); err != nil {
			t.Fatal(err)
		}
		both.Wait()
		both.Go(func() {
			_ = a.Run(func(parts [][]byte) error {
				told = append(told, string(parts[0]))
				return nil
			})
		})
		both.Go(func() {
			_ = b.Run(func(parts [][]byte) error {
				sendAs(t, b, 0, Urgent, "no "+string(parts[0]))
				return nil
			})
		})
		synctest.Wait()
		for _, s := range []string{"one", "two"} {
			sendAs(t, a, 0, Urgent, s)
			a.Ping([]byte("pong " + s))
		}
		synctest.Wait()
		_ = a.Close()
		both.Wait()
		if want := []string{"no one", "pong one", "no two", "pong two"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}
