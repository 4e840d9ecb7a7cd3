package interop

import (
	"crypto/rand"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// stranger dials the worker port.
func stranger(t testing.TB, r *routerProcess) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", r.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// handshaken is a stranger that has behaved so far.
func handshaken(t testing.TB, r *routerProcess) net.Conn {
	t.Helper()
	nc := stranger(t, r)
	if _, err := zmtp.Connect(nc, zmtp.Options{}); err != nil {
		t.Fatal(err)
	}
	return nc
}

// awaitClosed reads until the router closes.
func awaitClosed(t testing.TB, nc net.Conn) {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	for buf := make([]byte, 4<<10); ; {
		if _, err := nc.Read(buf); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the router keeps the connection")
		} else if err != nil {
			return
		}
	}
}

// fake is a worker that joins, and says what a test makes it say.
type fake struct {
	*zmtp.Conn
	running sync.WaitGroup
}

func joinFake(t testing.TB, r *routerProcess, info frame.JoinInfo) *fake {
	t.Helper()
	conn, err := zmtp.Connect(stranger(t, r), zmtp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Conn: conn}
	info.Protocol, info.Instance = frame.Protocol, rand.Text()
	f.running.Go(func() {
		_ = conn.Run(func(parts [][]byte) error {
			in, err := frame.Parse(parts[0], nil)
			if err != nil || in.Type != frame.Welcome {
				return err
			}
			w, err := frame.ParseWelcome(&in)
			if err != nil {
				return err
			}
			info.Connection = w.Connection
			_, err = conn.Send(0, zmtp.Ordinary, frame.AppendJoin(nil, info))
			return err
		})
	})
	t.Cleanup(func() {
		_ = conn.Close()
		f.running.Wait()
	})
	r.awaitWorkers(info.Name)
	return f
}
