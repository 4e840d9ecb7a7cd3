package router_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/router"
)

// A connection that waits for its next request holds nothing of the last, however large its head and its answer's were.
func TestAnIdleConnectionHoldsLittle(t *testing.T) {
	if raced {
		t.Skip("SKIPPED: the race detector takes memory of its own; this runs in the plain pass")
	}
	w := newWorld(t, router.Config{}, engine, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(l, nil)
	k := w.native("w1")
	k.join(1)
	const clients = 1000
	large := strings.Repeat("x", 30_000)
	live := func() uint64 {
		var m runtime.MemStats
		for range 3 { // pools let go in two rounds
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	ask := func() net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := io.WriteString(nc, "GET /"+large[:20_000]+" HTTP/1.1\r\nHost: h\r\nX-Large: "+large+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		k.request().answer(200, "served", "x-large", large)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	ask()
	before := live()
	held := make([]net.Conn, clients)
	for i := range held {
		held[i] = ask()
	}
	const most = 4 << 10
	each := int64(most + 1)
	for try := 0; each > most && try < 20; try++ { // the last have their answers, and may not be idle yet
		each = (int64(live()) - int64(before)) / clients
	}
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("%d bytes of heap for each idle connection, both ends counted", each)
	}
	runtime.KeepAlive(held)
}
