package zmtp

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
)

func TestClose(t *testing.T) {
	for name, stuck := range map[string]bool{"idle": false, "writer stuck": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, far := rawPeer(t, 100, Options{})
				start := time.Now()
				r := run(t, c)
				if stuck {
					send(t, c, strings.Repeat("x", 1000))
				}
				synctest.Wait()
				for range 2 {
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				}
				if err := r.wait(); !errors.Is(err, ErrClosed) || time.Since(start) != 0 {
					t.Errorf("Run: %v after %v", err, time.Since(start))
				}
				if _, err := c.Send(0, Ordinary, nil); !errors.Is(err, ErrClosed) {
					t.Errorf("Send: %v", err)
				}
				if _, err := io.Copy(io.Discard, far); err != nil {
					t.Errorf("the peer sees %v", err)
				}
			})
		})
	}
}

func TestCloseBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := rawPeer(t, testpipe.DefaultSize, Options{})
		_ = c.Close()
		if err := c.Run(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestPeerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		r := run(t, c)
		synctest.Wait() // the PING has left, so the end is first seen by the reader
		mustWrite(t, far, []byte("\x00\x04last"))
		_ = far.Close()
		if err := r.wait(); !errors.Is(err, io.EOF) {
			t.Errorf("Run: %v", err)
		}
		wantLast(t, r, "last")
		if _, err := c.Send(0, Ordinary, nil); !errors.Is(err, ErrClosed) || !errors.Is(err, io.EOF) {
			t.Errorf("Send: %v", err)
		}
	})
}

// wantLast takes what came before Run ended.
func wantLast(t *testing.T, r *running, want string) {
	t.Helper()
	select {
	case got := <-r.got:
		if string(got[0]) != want {
			t.Errorf("got %q", got)
		}
	default:
		t.Errorf("%q is lost", want)
	}
}

// What a peer said before it left is received, though a write to it has failed by then.
func TestFailedWriteDoesNotLoseTheLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		mustWrite(t, far, []byte("\x00\x05first\x00\x04last"))
		_ = far.Close()
		got := ""
		err := c.Run(func(parts [][]byte) error {
			got += string(parts[0])
			time.Sleep(time.Minute) // the PING's write fails meanwhile
			if _, err := c.Send(0, Ordinary, nil); !errors.Is(err, ErrClosed) || !errors.Is(err, syscall.EPIPE) {
				t.Errorf("Send: %v", err)
			}
			return nil
		})
		if got != "firstlast" || !errors.Is(err, io.EOF) {
			t.Errorf("got %q, Run: %v", got, err)
		}
	})
}

// unwritable is a connection that only ever reads.
type unwritable struct {
	*testpipe.Conn
	broken bool
}

func (u *unwritable) Write(p []byte) (int, error) {
	if u.broken {
		return 0, syscall.ENETDOWN
	}
	return u.Conn.Write(p)
}

func TestFailedWriteEndsASilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testpipe.New()
		nc := &unwritable{Conn: a.(*testpipe.Conn)}
		mustWrite(t, b, nullDealer)
		c, err := Accept(nc, Options{})
		if err != nil {
			t.Fatal(err)
		}
		nc.broken = true
		start := time.Now()
		if err := c.Run(nil); !errors.Is(err, syscall.ENETDOWN) || time.Since(start) != 6*time.Second {
			t.Errorf("Run: %v after %v", err, time.Since(start))
		}
	})
}

func TestCloseAfterFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, 100, Options{Heartbeat: hour})
		r := run(t, c)
		drain(t, far)
		first, second := strings.Repeat("x", 300), strings.Repeat("y", 300)
		send(t, c, first)
		synctest.Wait() // stuck
		gen := send(t, c, second)
		c.CloseAfterFlush(time.Minute)
		if !c.AwaitDrain(gen) {
			t.Error("what waits will be taken, and that can be awaited")
		}
		if _, err := c.Send(0, Ordinary, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Send: %v", err)
		}
		if _, err := c.Send(0, Urgent, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("urgent Send: %v", err)
		}
		if !c.Full() {
			t.Error("not full, though it takes nothing any more")
		}
		all, err := io.ReadAll(far)
		if want := string(long(0, 300)) + first + string(long(0, 300)) + second; err != nil || string(all) != want {
			t.Errorf("%d bytes came, then %v", len(all), err)
		}
		// The peer's half is still open: PINGs are not answered any more, messages are received.
		mustWrite(t, far, []byte(pinged+"\x00\x04late"))
		wantMessage(t, r, "late")
		_ = far.Close()
		if err := r.wait(); !errors.Is(err, io.EOF) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestCloseAfterFlushOfAnIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		run(t, c)
		drain(t, far)
		c.CloseAfterFlush(time.Minute)
		if b, err := io.ReadAll(far); len(b) != 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}

func TestCloseAfterFlushBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		send(t, c, "bye")
		c.CloseAfterFlush(time.Second)
		start := time.Now()
		if err := c.Run(nil); !errors.Is(err, ErrClosed) || time.Since(start) != time.Second {
			t.Errorf("Run: %v after %v", err, time.Since(start))
		}
		if b, err := io.ReadAll(far); string(b) != "\x00\x03bye" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// A peer that stays silent, stuck, or talkative costs the timeout and no more.
func TestCloseAfterFlushTimesOut(t *testing.T) {
	for name, play := range map[string]func(t *testing.T, c *Conn, far io.Writer){
		"silent": func(*testing.T, *Conn, io.Writer) {},
		"stuck":  func(t *testing.T, c *Conn, _ io.Writer) { send(t, c, strings.Repeat("x", 1000)) },
		"talkative": func(t *testing.T, _ *Conn, far io.Writer) {
			for range 49 {
				time.Sleep(100 * time.Millisecond)
				if _, err := far.Write([]byte("\x00\x00")); err != nil {
					t.Error(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, far := rawPeer(t, 100, Options{})
				r := run(t, c)
				drain(t, far)
				if name == "stuck" {
					play(t, c, far)
				}
				start := time.Now()
				c.CloseAfterFlush(5 * time.Second)
				c.CloseAfterFlush(time.Hour) // the sooner one holds
				if name == "talkative" {
					play(t, c, far)
				}
				if err := r.wait(); !errors.Is(err, ErrClosed) || time.Since(start) != 5*time.Second {
					t.Errorf("Run: %v after %v", err, time.Since(start))
				}
			})
		})
	}
}
