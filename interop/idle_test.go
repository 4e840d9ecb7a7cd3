package interop

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// TestO7IdleWorkers: a thousand workers that have joined, and do nothing but
// answer PING, cost the router at most 64 KiB each.
func TestO7IdleWorkers(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own; this runs in the plain pass")
	}
	const n, most = 1000, 64 << 10
	for _, kind := range []socket{dealer, rep} {
		t.Run(string(kind), func(t *testing.T) {
			r := startRouter(t)
			startWorker(t, "go", nil, r.endpoint())
			r.awaitWorkers("go")
			l := startLoad(t, r.addr, crowd{clients: 2}, getNonce)
			l.await("it has warmed up", 200)
			l.stop()
			before := r.memory(t, "VmRSS")
			var running sync.WaitGroup
			var conns []*zmtp.Conn
			t.Cleanup(func() {
				for _, conn := range conns {
					_ = conn.Close()
				}
				running.Wait()
			})
			for i := range n {
				name := fmt.Sprint("idle-", i)
				nc := stranger(t, r)
				if kind == rep {
					nc = sayREP{nc}
				}
				conn, err := zmtp.Connect(nc, zmtp.Options{})
				if err != nil {
					t.Fatal(err)
				}
				running.Go(func() { _ = conn.Run(func(parts [][]byte) error { return answerWelcome(conn, name, parts) }) })
				conns = append(conns, conn)
			}
			ready := func() (n int) {
				for _, w := range r.workers() {
					if w.State == "ready" {
						n++
					}
				}
				return n
			}
			eventually(t, "all have joined", func() bool { return ready() == n+1 })
			each := (r.memory(t, "VmHWM") - before) / n
			t.Logf("%d idle workers cost %.1f KiB each at most", n, float64(each)/1024)
			if each > most {
				t.Errorf("an idle worker costs %d KiB, %d are allowed", each>>10, most>>10)
			}
		})
	}
}

// answerWelcome joins, as the worker of this name.
func answerWelcome(conn *zmtp.Conn, name string, parts [][]byte) error {
	f, err := frame.Parse(parts[0], nil)
	if err != nil || f.Type != frame.Welcome {
		return err
	}
	w, err := frame.ParseWelcome(&f)
	if err != nil {
		return err
	}
	info := frame.JoinInfo{Protocol: frame.Protocol, Connection: w.Connection, Instance: rand.Text(), Name: name, Concurrency: 64}
	_, err = conn.Send(0, zmtp.Ordinary, frame.AppendJoin(nil, info))
	return err
}

// sayREP is a connection whose peer says that it is a REP, where zmtp.Connect
// says DEALER.
type sayREP struct{ net.Conn }

func (c sayREP) Write(p []byte) (int, error) {
	out := bytes.Replace(p, []byte("\x06DEALER"), []byte("\x03REP"), 1)
	if at := bytes.Index(out, []byte("\x05READY")); at > 0 && len(out) < len(p) {
		out[at-1] -= 3 // the size of the command
	}
	_, err := c.Conn.Write(out)
	return len(p), err
}
