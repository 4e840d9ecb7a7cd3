package router

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// A request that has been given a worker, which says GOAWAY before the request is sent, is not sent there: the
// worker may be gone before it can refuse it, and then nobody knows that it has not begun.
func TestNothingIsSentBehindAGOAWAY(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testpipe.NewListener()
		r, err := New(Config{Listeners: []net.Listener{l}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() { _ = r.Run(ctx) })
		nc, err := l.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := zmtp.Connect(nc, zmtp.Options{MaxPart: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		requests := 0
		wg.Go(func() {
			_ = conn.Run(func(parts [][]byte) error {
				f, err := frame.Parse(parts[0], nil)
				switch {
				case err != nil:
					return err
				case f.Type == frame.Headers:
					requests++
				case f.Type == frame.Welcome:
					w, _ := frame.ParseWelcome(&f)
					_, err = conn.Send(0, zmtp.Ordinary, frame.AppendJoin(nil, frame.JoinInfo{Protocol: frame.Protocol, Connection: w.Connection, Instance: "i", Name: "w"}))
				}
				return err
			})
		})
		s := r.newStream()
		s.request.fields.Add(":method", "POST")
		s.request.method = "POST"
		s.open()
		p, err := r.pool.acquire(s, false, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Send(0, zmtp.Ordinary, frame.AppendGoAway(nil, 0, http2.ErrCodeNo, "the worker stops"))
		synctest.Wait()
		s.mu.Lock()
		err = p.send(s)
		s.mu.Unlock()
		if !errors.Is(err, errMoved) {
			t.Errorf("%v, want %v", err, errMoved)
		}
		r.pool.unsent(p, err)
		synctest.Wait()
		if requests != 0 {
			t.Error("the worker got the request behind its GOAWAY")
		}
		if st := r.Workers()[0]; st.State != "draining" || st.Busy != 0 {
			t.Errorf("/workers: %+v", st)
		}
		s.close(http2.ErrCodeCancel, "")
		s.release()
	})
}
