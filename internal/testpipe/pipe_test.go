package testpipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
		a, b = New()
		return a, b, func() { _, _ = a.Close(), b.Close() }, nil
	})
}

func TestListenerIsANetListener(t *testing.T) {
	nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
		l := NewListener()
		if a, err = l.Dial(context.Background()); err != nil {
			return nil, nil, nil, err
		}
		b, err = l.Accept()
		return a, b, func() { _, _, _ = a.Close(), b.Close(), l.Close() }, err
	})
}

func TestWriterWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := NewSize(10)
		var wg sync.WaitGroup
		written := 0
		wg.Go(func() {
			n, err := a.Write(make([]byte, 15))
			if err != nil {
				t.Error(err)
			}
			written = n
		})
		synctest.Wait()
		if written != 0 {
			t.Error("a write of more than fits returned")
		}
		if n, err := b.Read(make([]byte, 100)); n != 10 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
		wg.Wait()
		if written != 15 {
			t.Errorf("%d bytes written", written)
		}
	})
}

func TestWriteDeadlineTellsHowMuchWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := NewSize(10)
		start := time.Now()
		_ = a.SetWriteDeadline(start.Add(time.Second))
		n, err := a.Write(make([]byte, 15))
		if n != 10 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%d, %v after %v", n, err, time.Since(start))
		}
	})
}

func TestCloseWriteEndsOneDirection(t *testing.T) {
	a, b := New()
	_, _ = a.Write([]byte("last"))
	if err := a.(*Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); string(got) != "last" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
	_, _ = b.Write([]byte("back"))
	_ = b.Close()
	if got, err := io.ReadAll(a); string(got) != "back" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := NewSize(4)
		_, _ = a.Write([]byte("last"))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the Read that waited: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the Write that waited: %v", err)
			}
		})
		synctest.Wait()
		for range 2 {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		if got, err := io.ReadAll(b); string(got) != "last" || err != nil {
			t.Errorf("the peer reads %q, %v", got, err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the peer's Write: %v", err)
		}
	})
}

func TestPeerClosesOnAWaitingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := NewSize(4)
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := a.Write(make([]byte, 5)); n != 4 || !errors.Is(err, syscall.EPIPE) {
				t.Errorf("%d, %v", n, err)
			}
		})
		synctest.Wait()
		_ = b.Close()
		wg.Wait()
	})
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewListener()
		a, err := l.Dial(t.Context()) // before anybody accepts
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = a.Write([]byte("hello"))
		got := make([]byte, 5)
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, []byte("hello")) {
			t.Errorf("%q, %v", got, err)
		}
		c, err := l.Dial(t.Context())
		if err != nil || a.LocalAddr().String() == c.LocalAddr().String() || a.LocalAddr() != b.RemoteAddr() {
			t.Errorf("%v, peers are called %v and %v, and %v", err, a.LocalAddr(), c.LocalAddr(), b.RemoteAddr())
		}
		var wg sync.WaitGroup
		_ = l.Close()
		wg.Go(func() {
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: %v", err)
			}
		})
		wg.Wait()
		if _, err := c.Read(got); !errors.Is(err, io.EOF) {
			t.Errorf("a connection that nobody accepted: %v", err)
		}
		if _, err := l.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial: %v", err)
		}
	})
}
