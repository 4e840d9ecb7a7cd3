package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/router"
)

// testListener is bound, before a router that lets no request wait: without
// workers, each is answered at once.
func testListener(t *testing.T) (*listener, *router.Router) {
	t.Helper()
	at, err := bind("127.0.0.1:0", "listen")
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(router.Config{QueueLimit: -1})
	if err != nil {
		t.Fatal(err)
	}
	return newListener(at, r.Clients(router.Port{})), r
}

func connect(t *testing.T, l *listener) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func ask(t *testing.T, nc net.Conn) {
	t.Helper()
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

func answered(t *testing.T, nc net.Conn) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusServiceUnavailable || len(body) == 0 {
		t.Errorf("%q %v", body, err)
	}
	return resp
}

// awaitRefusal returns when nobody can connect any more.
func awaitRefusal(t *testing.T, l *listener) {
	t.Helper()
	for {
		nc, err := net.Dial("tcp", l.Addr().String())
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			_ = nc.Close()
		}
		time.Sleep(time.Millisecond)
	}
}

func TestDrainAnswersWhatTheKernelAccepted(t *testing.T) {
	drainAnswers(t, ask, func(t *testing.T, nc net.Conn) { answered(t, nc) })
}

// drainAnswers has clients ask before anything is accepted, and drains.
func drainAnswers(t *testing.T, ask, answered func(*testing.T, net.Conn)) {
	t.Helper()
	l, _ := testListener(t)
	var clients []net.Conn
	for range 50 {
		nc := connect(t, l)
		ask(t, nc)
		clients = append(clients, nc)
	}
	var running sync.WaitGroup
	running.Go(func() { l.drain(t.Context()) })
	for l.closing.Load() == nil { // polled: nothing signals it
		time.Sleep(time.Millisecond)
	}
	running.Go(func() {
		if err := l.serve(); err != nil {
			t.Error(err)
		}
	})
	for _, nc := range clients {
		answered(t, nc)
	}
	running.Wait()
}

// askSecond asks by HTTP/2, with a table-free head: GET / of localhost. It
// acknowledges the settings that will come, so that nothing is left to say: what
// comes late, to a server that has closed, is answered by a reset.
func askSecond(t *testing.T, nc net.Conn) {
	t.Helper()
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(nc, nil)
	if err := errors.Join(f.WriteSettings(), f.WriteSettingsAck(), f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: []byte("\x82\x86\x84\x41\x09localhost"), EndStream: true, EndHeaders: true, // RFC 7541 appendix A
	})); err != nil {
		t.Fatal(err)
	}
}

// answeredSecond reads up to the answer's end, and to the connection's: it says
// goodbye in between.
func answeredSecond(t *testing.T, nc net.Conn) {
	t.Helper()
	var ended, goodbye bool
	for f := http2.NewFramer(nc, nc); ; {
		got, err := f.ReadFrame()
		if err != nil {
			if !ended || !goodbye || !errors.Is(err, io.EOF) {
				t.Errorf("answered: %v, GOAWAY: %v, and then %v", ended, goodbye, err)
			}
			return
		}
		switch got := got.(type) {
		case *http2.DataFrame:
			ended = ended || got.StreamEnded()
		case *http2.GoAwayFrame:
			goodbye = got.ErrCode == http2.ErrCodeNo
		}
	}
}

func TestDrainAnswersHTTP2ThatTheKernelAccepted(t *testing.T) {
	drainAnswers(t, askSecond, answeredSecond)
}

func TestDrainAnswersOnIdleConnections(t *testing.T) {
	l, r := testListener(t)
	l.farewell = time.Hour
	var running sync.WaitGroup
	running.Go(func() { _ = l.serve() })
	fresh, used := connect(t, l), connect(t, l)
	ask(t, used)
	if answered(t, used).Close {
		t.Error("Connection: close before anything stops")
	}
	r.Drain()
	running.Go(func() { l.drain(t.Context()) })
	awaitRefusal(t, l)
	for name, nc := range map[string]net.Conn{"fresh": fresh, "used": used} {
		ask(t, nc)
		if !answered(t, nc).Close {
			t.Errorf("%s: no Connection: close", name)
		}
	}
	running.Wait()
}

// Which version a connection speaks shows with its first bytes, which may come
// at any time while idle ones are kept.
func TestDrainAnswersHTTP2OnFreshConnections(t *testing.T) {
	l, _ := testListener(t)
	l.farewell = time.Hour
	var running sync.WaitGroup
	running.Go(func() { _ = l.serve() })
	var fresh []net.Conn
	for range 20 {
		fresh = append(fresh, connect(t, l))
	}
	running.Go(func() { l.drain(t.Context()) })
	<-l.ended
	for _, nc := range fresh {
		time.Sleep(time.Millisecond) // what is tested: they come one by one, at different times of the drain
		askSecond(t, nc)
	}
	for _, nc := range fresh {
		answeredSecond(t, nc)
	}
	running.Wait()
}

func TestDrainSaysGoodbyeToHTTP2(t *testing.T) {
	l, _ := testListener(t)
	var running sync.WaitGroup
	running.Go(func() { _ = l.serve() })
	idle := connect(t, l)
	askSecond(t, idle)
	for f := http2.NewFramer(idle, idle); ; {
		got, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := got.(*http2.DataFrame); ok && d.StreamEnded() {
			break
		}
	}
	running.Go(func() { l.drain(t.Context()) })
	var goodbye bool
	for f := http2.NewFramer(idle, idle); ; {
		got, err := f.ReadFrame()
		if err != nil {
			if !goodbye || !errors.Is(err, io.EOF) {
				t.Errorf("GOAWAY: %v, and then %v", goodbye, err)
			}
			break
		}
		if _, ok := got.(*http2.GoAwayFrame); ok {
			goodbye = true
		}
	}
	running.Wait()
}

func TestDrainClosesWhatStaysIdle(t *testing.T) {
	l, _ := testListener(t)
	l.farewell = 20 * time.Millisecond
	var running sync.WaitGroup
	running.Go(func() { _ = l.serve() })
	fresh, used := connect(t, l), connect(t, l)
	ask(t, used)
	answered(t, used)
	l.drain(t.Context())
	for name, nc := range map[string]net.Conn{"fresh": fresh, "used": used} {
		if n, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: read %d bytes, %v; want the end", name, n, err)
		}
	}
	running.Wait()
}

func TestDrainEndsWithItsContext(t *testing.T) {
	l, _ := testListener(t)
	l.farewell = time.Hour
	var running sync.WaitGroup
	running.Go(func() { _ = l.serve() })
	half := connect(t, l)
	if _, err := io.WriteString(half, "GET / HTTP/1.1\r\nHos"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	running.Go(func() { l.drain(ctx) })
	awaitRefusal(t, l)
	stop()
	if _, err := half.Read(make([]byte, 1)); err == nil {
		t.Error("it was answered")
	}
	running.Wait()
}
