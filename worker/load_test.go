package worker

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// load is a router that does nothing but send requests, and allocates nothing for it.
type load struct {
	conn  *zmtp.Conn
	slots chan struct{} // those of the worker that are taken
	id    uint64
	head  []byte
	wg    sync.WaitGroup
}

// startLoad runs w, with a load as its router at the other end of a loopback TCP connection.
func startLoad(t testing.TB, w Worker) *load {
	t.Helper()
	listen, err := zmtp.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	w.Routers = []string{zmtp.Bound(listen)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop := func() {
		cancel()
		wg.Wait()
	}
	l, err := acceptLoad(listen)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		l.close()
	})
	return l
}

// acceptLoad lets one worker join.
func acceptLoad(listen net.Listener) (*load, error) {
	nc, err := listen.Accept()
	if err != nil {
		return nil, err
	}
	conn, err := zmtp.Accept(nc, zmtp.Options{})
	if err != nil {
		return nil, err
	}
	l := &load{conn: conn, slots: make(chan struct{}, DefaultConcurrency), id: uint64(time.Now().UnixMicro())}
	joined := make(chan struct{}, 1)
	l.wg.Go(func() {
		_ = conn.Run(func(parts [][]byte) error {
			var payload []byte
			if len(parts) > 1 {
				payload = parts[1]
			}
			f, err := frame.Parse(parts[0], payload)
			switch {
			case f.End(), f.Type == frame.RSTStream:
				<-l.slots
			case f.Type == frame.Join:
				joined <- struct{}{}
			}
			return err
		})
		close(joined)
	})
	// Windows so wide that no credit is needed.
	windows := frame.Windows{Request: maxFirstWindow, Response: frame.MaxNumber}
	welcome := frame.AppendWelcome(nil, frame.WelcomeInfo{Protocol: frame.Protocol, Connection: 1, Windows: windows})
	if _, err := conn.Send(0, zmtp.Ordinary, welcome); err != nil {
		l.close()
		return nil, err
	}
	<-joined
	return l, nil
}

func (l *load) close() {
	_ = l.conn.Close()
	l.wg.Wait()
}

// run sends a request n times, with as many at once as there are slots, and awaits the answers. The body is payload as often as
// frames says.
func (l *load) run(n int, fields frame.Fields, payload []byte, frames int) error {
	for range n {
		l.slots <- struct{}{}
		l.id++
		total := uint64(len(payload) * frames)
		l.head = frame.AppendHeaders(l.head[:0], l.id, fields, frames <= 1, total)
		if err := l.send(payload[:min(len(payload), len(payload)*frames)]); err != nil {
			return err
		}
		for i := range frames - 1 {
			l.head = frame.AppendData(l.head[:0], l.id, i == frames-2, total)
			if err := l.send(payload); err != nil {
				return err
			}
		}
	}
	for range cap(l.slots) {
		l.slots <- struct{}{}
	}
	for range cap(l.slots) {
		<-l.slots
	}
	return nil
}

func (l *load) send(payload []byte) (err error) {
	if len(payload) > 0 {
		_, err = l.conn.Send(0, zmtp.Ordinary, l.head, payload)
	} else {
		_, err = l.conn.Send(0, zmtp.Ordinary, l.head)
	}
	return err
}
