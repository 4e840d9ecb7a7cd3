package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// boundOf is what the router says at its start that peers can make it hold.
func (r *routerProcess) boundOf() int64 {
	r.t.Helper()
	eventually(r.t, "what the router logs at its start has come", func() bool { return strings.Contains(r.log.String(), "worker port open") })
	for line := range strings.Lines(r.log.String()) {
		var said struct {
			Msg   string `json:"msg"`
			Bound int64  `json:"mib_at_most"`
		}
		if json.Unmarshal([]byte(line), &said) == nil && strings.HasPrefix(said.Msg, "memory is bounded") {
			return said.Bound << 20
		}
	}
	r.t.Fatal("the router does not say what memory it may take")
	return 0
}

// TestW16MemoryStaysWithinItsBound: clients that read nothing, clients whose
// bodies nobody reads, and heads that are never whole, as many as the limits let in.
func TestW16MemoryStaysWithinItsBound(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own; this runs in the plain pass")
	}
	const budget = 16 << 20
	r := startRouter(t, "--max-memory", "16MiB", "--max-connections", "600", "--max-requests", "500", "--max-workers", "4", "--queue-limit", "500")
	startWorker(t, "go", []string{"-concurrency", "1024"}, r.endpoint())
	r.awaitWorkers("go")
	if a := once(r.addr, getNonce("warm")); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	bound := r.boundOf()
	before := r.memory(t, "VmRSS")
	var clients []net.Conn
	dial := func(say string) {
		nc, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
		_ = nc.SetWriteDeadline(time.Now().Add(patience)) // a body that nobody takes stands in the way
		if _, err := nc.Write([]byte(say)); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, nc)
	}
	for range 250 {
		dial("GET /source?n=64 HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	for range 200 {
		dial("POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("x", 100<<10))
	}
	for range 100 {
		dial("GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 60<<10))
	}
	var most int64
	eventually(t, "memory runs short", func() bool {
		most = max(most, r.streams().Memory)
		return most > budget/2
	})
	for range 40 { // others are served meanwhile
		q := getNonce(newNonce())
		if o := (outcome{q, once(r.addr, q)}); o.status != 200 {
			t.Errorf("beside them a small request got %v", &o)
		}
		if held := r.streams().Memory; held > budget {
			t.Errorf("%d bytes of bodies are held", held)
		}
	}
	grown := r.memory(t, "VmHWM") - before
	t.Logf("%d clients made it take %d MiB more than the %d MiB before; the bound is %d MiB", len(clients), grown>>20, before>>20, bound>>20)
	if grown > bound {
		t.Errorf("%d MiB, more than the bound", grown>>20)
	}
	// A share each, what they may hold in all, and the collector's slack.
	if tight := int64(2 * (len(clients)*(160<<10) + budget)); grown > tight {
		t.Errorf("%d MiB, more than twice what is held: %s", grown>>20, fmt.Sprint(tight>>20))
	}
	for _, nc := range clients {
		_ = nc.Close()
	}
	r.awaitIdle()
}
