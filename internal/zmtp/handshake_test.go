package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
)

func TestHandshakeMechanisms(t *testing.T) {
	for name, client := range map[string]Options{
		"NULL":              {},
		"PLAIN":             {User: "svc/worker", Password: "secret"},
		"PLAIN, user only":  {User: "worker"},
		"PLAIN, token only": {Password: strings.Repeat("x", 255)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				accepted, connected := handshakeBoth(t, testpipe.DefaultSize, Options{}, client)
				mechanism, _, _ := strings.Cut(name, ",")
				p := accepted.Peer()
				if p.Socket != "DEALER" || len(p.Identity) != 0 || p.Mechanism != mechanism || p.User != client.User || p.Password != client.Password {
					t.Errorf("the server's view of its peer: %+v", p)
				}
				if p := connected.Peer(); p.Socket != "DEALER" || p.Mechanism != mechanism {
					t.Errorf("the client's view of its peer: %+v", p)
				}
				server, worker := run(t, accepted), run(t, connected)
				send(t, accepted, "hello", "", strings.Repeat("x", 256))
				wantMessage(t, worker, "hello", "", strings.Repeat("x", 256))
				send(t, connected, "back")
				wantMessage(t, server, "back")
			})
		})
	}
}

func TestAcceptRecordedPeers(t *testing.T) {
	for name, test := range map[string]struct {
		sends []byte
		want  Peer
	}{
		"REP":               {nullREP, Peer{Socket: "REP", Mechanism: "NULL"}},
		"DEALER":            {nullDealer, Peer{Socket: "DEALER", Mechanism: "NULL"}},
		"DEALER, identity":  {concat(nullGreeting, dealerMeReady), Peer{Socket: "DEALER", Mechanism: "NULL", Identity: []byte("me")}},
		"ROUTER":            {nullRouter, Peer{Socket: "ROUTER", Mechanism: "NULL"}},
		"PLAIN":             {plainDealer, Peer{Socket: "DEALER", Mechanism: "PLAIN", User: "svc/worker", Password: "secret"}},
		"PLAIN, no HELLO":   {concat(plainGreeting, plainInitiate), Peer{}},
		"REQ":               {concat(nullGreeting, reqReady), Peer{}},
		"no socket type":    {concat(nullGreeting, ready(nil)), Peer{}},
		"unknown socket":    {concat(nullGreeting, ready([]byte("\x0bSocket-Type\x00\x00\x00\x04FISH"))), Peer{}},
		"long identity":     {concat(nullGreeting, longIdentity()), Peer{}},
		"HELLO too short":   {concat(plainGreeting, []byte("\x04\x08\x05HELLO\xff\x01"), plainInitiate), Peer{}},
		"HELLO too long":    {concat(plainGreeting, []byte("\x04\x09\x05HELLO\x00\x00\x00"), plainInitiate), Peer{}},
		"empty command":     {concat(nullGreeting, []byte{4, 0}), Peer{}},
		"message, no READY": {concat(nullGreeting, []byte{0, 1, 'x'}), Peer{}},
		"more":              {concat(nullGreeting, []byte{5, 0x29}, dealerReady[2:]), Peer{}},
		"ERROR":             {concat(nullGreeting, []byte("\x04\x0b\x05ERROR\x04nope")), Peer{}},
		"CURVE":             {bytes.Replace(nullDealer, []byte("NULL\x00"), []byte("CURVE"), 1), Peer{}},
		"ZMTP 2.0":          {concat(nullGreeting[:10], []byte{1, 5, 0, 0}), Peer{}},
		"ZMTP 1.0":          {[]byte{1, 0}, Peer{}},
		"HTTP":              {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Peer{}},
		"TLS":               {unhex("1603010200010001fc0303"), Peer{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := acceptBytes(t, test.sends, true)
				p.Addr = ""
				if test.want.Socket == "" {
					if err == nil {
						t.Fatalf("accepted as %+v", p)
					}
					t.Log(err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(p.Identity) == 0 {
					p.Identity = nil
				}
				if !equalPeers(p, test.want) {
					t.Errorf("got %+v, want %+v", p, test.want)
				}
			})
		})
	}
}

func equalPeers(a, b Peer) bool {
	return a.Socket == b.Socket && bytes.Equal(a.Identity, b.Identity) && a.Mechanism == b.Mechanism && a.User == b.User && a.Password == b.Password
}

func longIdentity() []byte {
	body := concat([]byte("\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x01\x00"), make([]byte, 256))
	return append(binary.BigEndian.AppendUint64([]byte{6}, uint64(len(body))), body...)
}

// acceptBytes runs Accept on a peer that sends b and then closes, or waits for ever. It checks what holds for
// every handshake: it ends within its time, and a failure closes the connection and says so in its type.
func acceptBytes(t testing.TB, b []byte, closes bool) (Peer, error) {
	t.Helper()
	near, far := testpipe.New()
	defer far.Close()
	var peer sync.WaitGroup
	peer.Go(func() {
		_, _ = far.Write(b)
		if closes {
			_ = far.(*testpipe.Conn).CloseWrite()
		}
	})
	defer peer.Wait()
	c, err := Accept(near, Options{})
	if err == nil {
		defer c.Close()
		return c.Peer(), nil
	}
	var he *HandshakeError
	if !errors.As(err, &he) {
		t.Errorf("%T, want *HandshakeError: %v", err, err)
	}
	if _, readErr := near.Read(make([]byte, 1)); !errors.Is(readErr, net.ErrClosed) {
		t.Errorf("a failed handshake left the connection open: %v", readErr)
	}
	return Peer{}, err
}

func TestHandshakeErrorsAreClear(t *testing.T) {
	for _, test := range []struct {
		name  string
		sends []byte
		want  string
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), `does not speak ZMTP 3: it began with "GET / HTTP/1.1\r\n"`},
		{"ZMTP 2.0", concat(nullGreeting[:10], []byte{1}), "before 3.0; it needs ZeroMQ 4 or newer"},
		{"CURVE", bytes.Replace(nullDealer, []byte("NULL\x00"), []byte("CURVE"), 1), `mechanism "CURVE" is not offered: use NULL or PLAIN`},
		{"REQ", concat(nullGreeting, reqReady), `the peer's socket is a "REQ": use REP, DEALER or ROUTER`},
		{"unknown socket", concat(nullGreeting, ready([]byte("\x0bSocket-Type\x00\x00\x00\x04FISH"))), `the peer's socket is a "FISH"`},
		{"more", concat(nullGreeting, []byte{5, 0x29}, dealerReady[2:]), "a frame with flags 0x05 where a handshake command belongs"},
		{"message", concat(nullGreeting, []byte{0, 1, 'x'}), "a frame with flags 0x00"},
		{"no HELLO", concat(plainGreeting, []byte("\x04\x08\x05JELLO\x00\x00"), plainInitiate), `command "JELLO" where HELLO belongs`},
		{"no INITIATE", concat(plainGreeting, plainHello, dealerReady), `command "READY" where INITIATE belongs`},
		{"ERROR", concat(nullGreeting, []byte("\x04\x0b\x05ERROR\x04nope")), `the peer refused the connection: "nope"`},
		{"malformed metadata", concat(nullGreeting, ready([]byte("\x0bSocket-Type\x00\x00"))), "malformed metadata: "},
		{"2^62", concat(nullGreeting, unhex("064000000000000000")), "a handshake command of 4611686018427387904 bytes: at most 8192"},
		{"gone", nullGreeting, "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := acceptBytes(t, test.sends, true); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want ... %s", err, test.want)
			}
		})
	}
}

func TestW11SilentPeerIsLeftAfterFiveSeconds(t *testing.T) {
	for name, sends := range map[string][]byte{"nothing": nil, "half a greeting": nullGreeting[:30], "greeting": nullGreeting, "half a READY": nullDealer[:70]} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := acceptBytes(t, sends, false)
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("after %v", took)
				}
			})
		})
	}
}

func TestSilentServerIsLeftToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := testpipe.New()
		defer far.Close()
		start := time.Now()
		_, err := Connect(near, Options{HandshakeTimeout: time.Second})
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// A peer that reads nothing must not hold the handshake up either.
func TestHandshakeDeadlineCoversWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := testpipe.NewSize(4)
		defer far.Close()
		start := time.Now()
		_, err := Accept(near, Options{})
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestDripFedHandshake(t *testing.T) {
	for _, test := range []struct {
		every time.Duration
		ok    bool
	}{{40 * time.Millisecond, true}, {400 * time.Millisecond, false}} {
		synctest.Test(t, func(t *testing.T) {
			near, far := testpipe.New()
			defer far.Close()
			var peer sync.WaitGroup
			peer.Go(func() {
				for _, b := range nullDealer {
					if _, err := far.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(test.every)
				}
			})
			start := time.Now()
			c, err := Accept(near, Options{})
			if (err == nil) != test.ok || time.Since(start) > 5*time.Second {
				t.Errorf("a byte every %v: %v after %v", test.every, err, time.Since(start))
			}
			if err == nil {
				_ = c.Close()
			}
			peer.Wait()
		})
	}
}

// The deadlines of the handshake do not outlive it.
func TestDeadlinesAreCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accepted, connected := handshakeBoth(t, testpipe.DefaultSize, Options{}, Options{})
		time.Sleep(time.Minute)
		worker := run(t, connected)
		run(t, accepted)
		send(t, accepted, "late")
		wantMessage(t, worker, "late")
	})
}

// Not one byte of traffic may be lost to the handshake, even when all comes at once.
func TestTrafficRightBehindTheHandshake(t *testing.T) {
	for name, recorded := range map[string][]byte{"NULL": nullDealer, "PLAIN": plainDealer} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := testpipe.New()
				defer far.Close()
				mustWrite(t, far, concat(recorded, []byte("\x01\x02hi\x00\x05there")))
				c, err := Accept(near, Options{})
				if err != nil {
					t.Fatal(err)
				}
				wantMessage(t, run(t, c), "hi", "there")
			})
		})
	}
}

func TestHandshakeTakesLittle(t *testing.T) {
	t.Run("one command", func(t *testing.T) {
		for _, size := range []uint64{maxHandshakeFrame + 1, 1 << 31, 1 << 62, 1 << 63, 1<<64 - 1} {
			before := allocated()
			_, err := acceptBytes(t, concat(nullGreeting, binary.BigEndian.AppendUint64([]byte{6}, size)), true)
			if err == nil || !strings.Contains(err.Error(), "a handshake command of") {
				t.Errorf("%d bytes: %v", size, err)
			}
			if grew := allocated() - before; grew > 1<<20 {
				t.Errorf("%d bytes claimed: %d allocated", size, grew)
			}
		}
	})
	t.Run("in all", func(t *testing.T) {
		// Two commands that are each small enough.
		hello := make([]byte, maxHandshakeFrame-2)
		copy(hello, "\x05HELLO\x01u\xff") // the rest is the 255 bytes of a password, and too much
		big := append(binary.BigEndian.AppendUint64([]byte{6}, uint64(len(hello))), hello...)
		f := &fence{Conn: &replay{r: bytes.NewReader(concat(plainGreeting, big, big))}}
		if err := f.open(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, f); err == nil || !strings.Contains(err.Error(), "16384 in all") {
			t.Errorf("got %v", err)
		}
	})
}

// replay is a peer that has sent everything already.
type replay struct {
	net.Conn
	r io.Reader
}

func (r *replay) Read(p []byte) (int, error)  { return r.r.Read(p) }
func (r *replay) Write(p []byte) (int, error) { return len(p), nil }

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestW8TruncatedHandshakes(t *testing.T) {
	for name, whole := range map[string][]byte{"NULL": nullDealer, "PLAIN": plainDealer} {
		for n := range whole {
			synctest.Test(t, func(t *testing.T) {
				if _, err := acceptBytes(t, whole[:n], true); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, %d bytes: %v", name, n, err)
				}
			})
		}
	}
}

// Each byte of the greeting, changed: what the protocol says to ignore is ignored, everything else is an error.
func TestFlippedGreetings(t *testing.T) {
	ignored := func(i int, b byte) bool {
		return i > 0 && i < 9 || // padding
			i == 10 && b > 3 || i == 11 || // a peer of a later version speaks ours to us
			i > 16 && i < 32 || // behind the end of "NULL"
			i == 32 && b == 1 || i > 32 // as-server, filler
	}
	for i := range nullGreeting {
		for _, flip := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
			sends := bytes.Clone(nullDealer)
			sends[i] ^= flip
			synctest.Test(t, func(t *testing.T) {
				_, err := acceptBytes(t, sends, true)
				if (err == nil) != ignored(i, sends[i]) {
					t.Errorf("byte %d = %#02x: %v", i, sends[i], err)
				}
			})
		}
	}
}

// Whatever stands in a READY, Accept returns.
func TestFlippedReady(t *testing.T) {
	for i := len(nullGreeting); i < len(nullDealer); i++ {
		for _, flip := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
			sends := bytes.Clone(nullDealer)
			sends[i] ^= flip
			synctest.Test(t, func(t *testing.T) { _, _ = acceptBytes(t, sends, true) })
		}
	}
}

func TestConnectRefusesWhatIsNoServerOfOurs(t *testing.T) {
	for _, test := range []struct {
		name  string
		sends []byte
		o     Options
		want  string
	}{
		{"NULL server, PLAIN client", nullDealer, Options{User: "u"}, `the peer wants the mechanism "NULL", this side PLAIN`},
		{"PLAIN server, NULL client", plainGreeting, Options{}, `the peer wants the mechanism "PLAIN", this side NULL`},
		{"refused", concat(plainGreeting, []byte("\x04\x0e\x05ERROR\x07not you")), Options{User: "u"}, `the peer refused the connection: "not you"`},
		{"wrong socket", concat(nullGreeting, reqReady), Options{}, `the peer's socket is a "REQ"`},
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n"), Options{}, `does not speak ZMTP 3`},
		{"no WELCOME", concat(plainGreeting, dealerReady), Options{User: "u"}, "expected a WELCOME"},
		{"long user", nil, Options{User: strings.Repeat("u", 256)}, "at most 255 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := testpipe.New()
			defer far.Close()
			mustWrite(t, far, test.sends)
			if _, err := Connect(near, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want ... %s", err, test.want)
			}
			if _, err := near.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}
