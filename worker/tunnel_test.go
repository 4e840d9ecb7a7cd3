package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// openTunnel is a worker whose handler has returned, and the connection that it hijacked.
func openTunnel(t *testing.T, w Worker) (*running, *routerLink, net.Conn) {
	t.Helper()
	conns := make(chan net.Conn, 1)
	run, l := accepted(t, w, func(c net.Conn, _ *http.Request) { conns <- c })
	return run, l, <-conns
}

func TestClientEndsItsSide(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{})
		l.data(1, "last ")
		l.end(1, 10, "words")
		synctest.Wait()
		if got, err := io.ReadAll(c); string(got) != "last words" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		write(t, c, "and on")
		l.want(`DATA 1 "and on"`)
		_ = c.Close()
		l.want(`DATA 1 END 6`)
		l.wantQuiet()
	})
}

func TestWriteWaitsForTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{})
		want := strings.Repeat("0123456789abcdef", 40<<10)
		var wg sync.WaitGroup
		wg.Go(func() {
			write(t, c, want)
			_ = c.Close()
		})
		synctest.Wait()
		var got []byte
		for len(got) < len(want) {
			f := l.next()
			if got = append(got, f.Payload...); len(got) == frame.ResponseWindow {
				l.wantQuiet()
				l.credit(1, 1<<20)
			}
		}
		l.want(`DATA 1 END 655360`)
		if string(got) != want {
			t.Error("the bytes are not those written")
		}
		wg.Wait()
	})
}

func TestReadWindowOfAnUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{ReadWindow: 1 << 20})
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := io.Copy(io.Discard, c); n != 1<<20 || err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
		})
		l.want(`WINDOW_UPDATE 1 +983040`)
		for range 16 {
			l.data(1, strings.Repeat("x", 64<<10))
		}
		l.end(1, 1<<20, "")
		wg.Wait()
	})
}

// A thousand users who wait for their next message must not hold what their last one took.
func TestIdleConnectionKeepsLittleMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
		for range 8 {
			l.data(1, strings.Repeat("x", 64<<10))
		}
		synctest.Wait()
		x := c.(*tunnel).x
		x.stream.mu.Lock()
		if got := cap(x.body.data) + cap(x.tunnel.frame) + cap(x.tunnel.head); got > 8<<10 || x.response.scratch != nil {
			t.Errorf("holds %d bytes, and scratch %v", got, x.response.scratch != nil)
		}
		x.stream.mu.Unlock()
		_ = c.Close()
		wg.Wait()
	})
}

func TestReadDeadlineOfAnUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{})
		got := make([]byte, 10)
		began := time.Now()
		for name, set := range map[string]func(time.Time) error{"read": c.SetReadDeadline, "both": c.SetDeadline} {
			if err := set(time.Now().Add(time.Second)); err != nil {
				t.Error(err)
			}
			for range 2 { // it stays passed
				n, err := c.Read(got)
				if ne, ok := errors.AsType[net.Error](err); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !ne.Timeout() {
					t.Errorf("%s: Read: %d, %v", name, n, err)
				}
			}
		}
		if after := time.Since(began); after != 2*time.Second {
			t.Errorf("took %v", after)
		}
		l.want(`WINDOW_UPDATE 1 +196608`)
		l.data(1, "hello")
		synctest.Wait()
		if _, err := c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read of what is there, after the deadline: %v", err)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		if n, err := c.Read(got); string(got[:n]) != "hello" || err != nil {
			t.Errorf("Read: %q, %v", got[:n], err)
		}
	})
}

func TestReadDeadlineIsMovedWhileReadWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, c := openTunnel(t, Worker{})
		began := time.Now()
		_ = c.SetReadDeadline(began.Add(time.Second))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
			if after := time.Since(began); after != time.Hour {
				t.Errorf("took %v", after)
			}
		})
		synctest.Wait()
		_ = c.SetReadDeadline(began.Add(2 * time.Hour))
		time.Sleep(time.Hour)
		_ = c.SetReadDeadline(time.Now())
		wg.Wait()
	})
}

func TestWriteDeadlineOfAnUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{})
		want := []byte(strings.Repeat("0123456789abcdef", 32<<10))
		began := time.Now()
		_ = c.SetWriteDeadline(began.Add(time.Second))
		n, err := c.Write(want)
		if n != frame.ResponseWindow || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %d, %v", n, err)
		}
		if n, err := c.Write(want); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write after the deadline: %d, %v", n, err)
		}
		if after := time.Since(began); after != time.Second {
			t.Errorf("took %v", after)
		}
		l.credit(1, 1<<20)
		synctest.Wait()
		_ = c.SetWriteDeadline(time.Time{})
		write(t, c, string(want[n:]))
		_ = c.Close()
		var got []byte
		for f := l.next(); ; f = l.next() {
			if got = append(got, f.Payload...); f.End() {
				break
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %d bytes that are not the %d written", len(got), len(want))
		}
	})
}

func TestDeadlinesThroughResponseController(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			rc := http.NewResponseController(w)
			past := time.Now().Add(-time.Second)
			_, _ = rc.SetReadDeadline(past), rc.SetWriteDeadline(past)
			<-release
			c := accept(t, w) // Hijack clears them, as net/http does
			got := make([]byte, 2)
			if n, err := c.Read(got); string(got[:n]) != "x" || err != nil {
				t.Errorf("Read: %q, %v", got[:n], err)
			}
			_, _ = rc.SetReadDeadline(past), rc.SetWriteDeadline(past)
			if _, err := c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
			if _, err := c.Write(got); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v", err)
			}
			_ = c.Close()
		})
		l.upgrade(1, "content-length", "0") // says nothing about what follows 101
		l.end(1, 1, "x")
		synctest.Wait()
		close(release)
		l.want(`HEADERS 1 [:status: 101]`, `DATA 1 END 0`)
	})
}

func TestClientLeavesAnUpgrade(t *testing.T) {
	for _, returned := range []bool{true, false} {
		t.Run(map[bool]string{true: "after the handler returned", false: "while it runs"}[returned], func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				conns, release := make(chan net.Conn, 1), make(chan struct{})
				_, l := accepted(t, Worker{Concurrency: 1}, func(c net.Conn, r *http.Request) {
					conns <- c
					if !returned {
						<-r.Context().Done()
						<-release
					}
				})
				c := <-conns
				gone := func(what string, err error) {
					if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the client is gone") {
						t.Errorf("%s: %v", what, err)
					}
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := c.Read(make([]byte, 1))
					gone("Read", err)
				})
				wg.Go(func() {
					n, err := c.Write(make([]byte, 1<<20))
					gone("Write", err)
					if n != frame.ResponseWindow {
						t.Errorf("wrote %d", n)
					}
				})
				synctest.Wait()
				for len(l.got) > 0 {
					l.next()
				}
				l.cancel(1)
				wg.Wait()
				if !returned {
					l.get(2, "/")
					l.want(`RST_STREAM 2 REFUSED_STREAM all slots are taken`)
					close(release)
				}
				l.want(`RST_STREAM 1 CANCEL `)
				_, err := c.Read(make([]byte, 1))
				gone("Read again", err)
				_, err = c.Write(make([]byte, 1))
				gone("Write again", err)
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read after Close: %v", err)
				}
				l.get(3, "/free")
				l.want(`HEADERS 3 [` + helloHead + `, content-length: 11] END 11 "hello /free"`)
				l.wantQuiet()
			})
		})
	}
}

// Nobody needs to close what a Write has broken.
func TestBadHeadAfterTheHandlerReturned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		conns := make(chan net.Conn, 1)
		_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) { conns <- hijack(t, w) })
		l.upgrade(1)
		c := <-conns
		synctest.Wait()
		if _, err := io.WriteString(c, "hello\n\n"); err == nil {
			t.Error("a head that is none is taken")
		}
		if f := l.next(); f.Type != frame.RSTStream || f.Stream != 1 {
			t.Errorf("got %s", show(f))
		}
	})
}

func TestCloseAfterTheClientLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := accepted(t, Worker{Concurrency: 1}, func(c net.Conn, r *http.Request) {
			<-r.Context().Done()
			_ = c.Close() // frees the slot, though the handler goes on
			<-r.Context().Done()
		})
		l.cancel(1)
		l.want(`RST_STREAM 1 CANCEL `)
		l.get(2, "/free")
		l.want(`HEADERS 2 [` + helloHead + `, content-length: 11] END 11 "hello /free"`)
	})
}

func TestRouterLeavesAnUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run, l, c := openTunnel(t, Worker{})
		_ = l.Close()
		if _, err := io.ReadAll(c); !errors.Is(err, errGone) {
			t.Errorf("Read: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, errGone) {
			t.Errorf("Write: %v", err)
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read: %v", err)
			}
		})
		for range 2 {
			wg.Go(func() {
				if _, err := c.Write(make([]byte, frame.ResponseWindow)); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Errorf("Write: %v", err)
				}
			})
		}
		synctest.Wait()
		wg.Go(func() { _ = c.Close() })
		wg.Go(func() { _ = c.Close() })
		wg.Wait()
		for _, set := range []func(time.Time) error{c.SetDeadline, c.SetReadDeadline, c.SetWriteDeadline} {
			if err := set(time.Time{}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("deadline: %v", err)
			}
		}
		sent := 0
		for f := l.next(); !f.End(); f = l.next() {
			sent += len(f.Payload)
		}
		if sent != frame.ResponseWindow {
			t.Errorf("%d bytes came, the window is %d", sent, frame.ResponseWindow)
		}
		l.wantQuiet()
	})
}

func TestConcurrentWritesStayWhole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l, c := openTunnel(t, Worker{})
		const size = 200 << 10
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { write(t, c, strings.Repeat(string(rune('a'+i)), size)) })
		}
		synctest.Wait()
		var got []byte
		for len(got) < 4*size {
			f := l.next()
			got = append(got, f.Payload...)
			l.credit(1, uint64(frame.Cost(len(f.Payload))))
		}
		wg.Wait()
		for i := range 4 {
			if piece := got[i*size : (i+1)*size]; !bytes.Equal(piece, bytes.Repeat(piece[:1], size)) {
				t.Error("writes are mixed")
			}
		}
		_ = c.Close()
		l.want(`DATA 1 END 819200`)
	})
}

// fullQueue is a connection that was hijacked, as early as answer says, and whose frames find no room in the queue until open.
func fullQueue(t *testing.T, answer string) (c net.Conn, l *routerLink, open func()) {
	a, nc := newGate()
	r := newRouter(t)
	const others = 40
	conns := make(chan net.Conn, 1)
	r.start(Worker{Dial: once(a), Concurrency: others + 1, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			c := hijack(t, w)
			write(t, c, answer)
			conns <- c
			return
		}
		_, _ = w.Write(make([]byte, 250<<10))
	})})
	l = serveLink(t, nc, zmtpDefaults, nil)
	l.welcome(welcome1)
	l.wantJoin(1)
	l.upgrade(1)
	c = <-conns
	synctest.Wait()
	nc.shut()
	for id := range uint64(others) {
		l.get(id+2, "/big")
	}
	synctest.Wait()
	return c, l, nc.open
}

// wantOf is want for the frames of one stream.
func (l *routerLink) wantOf(id uint64, frames ...string) {
	l.t.Helper()
	for len(frames) > 0 {
		f := l.next()
		if f.Stream != id {
			continue
		}
		if got := show(f); got != frames[0] {
			l.t.Fatalf("got  %s\nwant %s", got, frames[0])
		}
		frames = frames[1:]
	}
}

func TestHeadThatWaitsIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, l, open := fullQueue(t, "")
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := io.WriteString(c, switching+"data")
		if n != len(switching) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %d, %v: the queue was to be full", n, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = c.Close() })
		synctest.Wait()
		open()
		wg.Wait()
		l.wantOf(1, `HEADERS 1 [:status: 101]`, `DATA 1 END 0`)
	})
}

func TestCloseWhileWriteWaitsForTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, l, open := fullQueue(t, switching)
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := io.WriteString(c, "data"); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write: %d, %v", n, err)
			}
		})
		synctest.Wait()
		wg.Go(func() { _ = c.Close() })
		synctest.Wait()
		open()
		wg.Wait()
		l.wantOf(1, `HEADERS 1 [:status: 101]`, `DATA 1 END 0`)
	})
}

func TestAddresses(t *testing.T) {
	for forwarded, want := range map[string]string{
		"10.0.0.1, 192.0.2.7": "192.0.2.7:0",
		"2001:db8::1":         "[2001:db8::1]:0",
		"unknown":             ":0",
		"":                    ":0",
	} {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				c := accept(t, w)
				if _, ok := c.RemoteAddr().(*net.TCPAddr); !ok || c.RemoteAddr().String() != want || c.LocalAddr().String() == "" {
					t.Errorf("%q: remote %v, local %v", forwarded, c.RemoteAddr(), c.LocalAddr())
				}
				_ = c.Close()
			})
			l.upgrade(1, "x-forwarded-for", forwarded)
			l.want(`HEADERS 1 [:status: 101]`, `DATA 1 END 0`)
		})
	}
}

func TestDrainWaitsForUpgrades(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run, l, c := openTunnel(t, Worker{})
		run.cancel()
		l.want(`GOAWAY 0 last 1 NO_ERROR worker drains`)
		time.Sleep(29 * time.Second)
		write(t, c, "still here")
		l.want(`DATA 1 "still here"`)
		_ = c.Close()
		l.want(`DATA 1 END 10`)
		l.wantClosed()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestGraceEndsUpgrades(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run, l, c := openTunnel(t, Worker{})
		began := time.Now()
		run.cancel()
		l.want(`GOAWAY 0 last 1 NO_ERROR worker drains`)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errGrace) {
			t.Errorf("Read: %v", err)
		}
		l.want(`WINDOW_UPDATE 1 +196608`, `RST_STREAM 1 CANCEL worker: the time to finish is over: context canceled`)
		l.wantClosed()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		if after := time.Since(began); after != DefaultGrace {
			t.Errorf("took %v", after)
		}
	})
}
