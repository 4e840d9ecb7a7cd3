package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

const (
	gigabyte  = 1 << 30
	allowance = 64 << 20
)

// measured runs f, and checks how much memory each process ever took beyond
// what it had before. The race detector takes memory of its own: under it
// nothing is checked.
func measured(t *testing.T, most int64, f func(), processes ...*process) {
	t.Helper()
	before := make([]int64, len(processes))
	for i, p := range processes {
		before[i] = p.memory(t, "VmRSS")
	}
	f()
	for i, p := range processes {
		grown := p.memory(t, "VmHWM") - before[i]
		t.Logf("%s: %d MiB more than the %d MiB before", p.name, grown>>20, before[i]>>20)
		if grown >= most && !raceDetector {
			t.Errorf("%s took %d MiB more memory, %d MiB are allowed", p.name, grown>>20, most>>20)
		}
	}
}

func memoryTest(t *testing.T) (r *routerProcess, w *process, blocks int) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own; this runs in the plain pass")
	}
	blocks = gigabyte / floodBlock
	if testing.Short() {
		blocks /= 4
		t.Log("-short: a quarter of a gigabyte")
	}
	r = startRouter(t)
	w = startWorker(t, "go", nil, r.endpoint())
	r.awaitWorkers("go")
	if a := once(r.addr, getNonce("warm")); a.status != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	return r, w, blocks
}

func TestH13GigabyteUpload(t *testing.T) {
	r, w, blocks := memoryTest(t)
	measured(t, allowance, func() {
		c, f := newClient(r.addr), newFlood()
		defer c.close()
		if err := c.send(request{method: http.MethodPost, target: "/sink"}, blocks*floodBlock); err != nil {
			t.Fatal(err)
		}
		if _, err := c.conn.Write(f.next()); err != nil {
			t.Fatal(err)
		}
		// The handler has the first byte while nearly all is still to be sent.
		resp, err := c.receive(http.MethodPost)
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(resp.Body)
		if line, err := in.ReadString('\n'); line != "first\n" {
			t.Fatalf("the answer began with %q, %v", line, err)
		}
		for range blocks - 1 {
			if _, err := c.conn.Write(f.next()); err != nil {
				t.Fatal(err)
			}
		}
		want := fmt.Sprintf("%d %08x\n", blocks*floodBlock, f.sum)
		if got, err := io.ReadAll(in); string(got) != want || err != nil {
			t.Errorf("the handler counted %q, %v; want %q", got, err, want)
		}
	}, r.process, w)
	r.awaitIdle()
}

func TestGigabyteDownload(t *testing.T) {
	r, w, blocks := memoryTest(t)
	measured(t, allowance, func() { receiveFlood(t, askFlood(r, blocks), blocks) }, r.process, w)
	r.awaitIdle()
}

// askFlood asks for a flood and returns the connection.
func askFlood(r *routerProcess, blocks int) *client {
	c := newClient(r.addr)
	if err := c.send(get(fmt.Sprintf("/source?n=%d", blocks)), 0); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func receiveFlood(t *testing.T, c *client, blocks int) {
	t.Helper()
	defer c.close()
	resp, err := c.receive(http.MethodGet)
	if err != nil {
		t.Fatal(err)
	}
	f, got := newFlood(), make([]byte, floodBlock)
	for i := range blocks {
		if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, f.next()) {
			t.Fatalf("block %d of %d is wrong (%v)", i, blocks, err)
		}
	}
	if n, err := resp.Body.Read(got); n != 0 || err != io.EOF {
		t.Errorf("%d bytes after the end, %v", n, err)
	}
}

// TestW16ClientStopsReading: its own stream stops, at a bounded distance. The
// others of that worker do not notice.
func TestW16ClientStopsReading(t *testing.T) {
	const blocks = 48
	r := startRouter(t)
	startWorker(t, "go", nil, r.endpoint())
	r.awaitWorkers("go")
	stalled := newClient(r.addr)
	if err := stalled.dial(); err != nil {
		t.Fatal(err)
	}
	if err := stalled.conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if err := stalled.send(get(fmt.Sprintf("/source?n=%d", blocks)), 0); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		nonce := newNonce()
		q := mixed(nonce)
		if q.want == nil {
			q.want = proof(nonce)
		}
		if o := (outcome{q, once(r.addr, q)}); !o.ok() || o.verdict() != "" {
			t.Fatalf("request %d beside a client that does not read: %v", i, &o)
		}
	}
	receiveFlood(t, askFlood(r, blocks), blocks)
	var poured int
	if _, err := fmt.Sscan(string(once(r.addr, get("/poured")).body), &poured); err != nil {
		t.Fatal(err)
	}
	if ahead := poured - blocks*floodBlock; ahead <= 0 || ahead > 24<<20 {
		t.Errorf("the handler wrote %d KiB to a client that does not read", ahead>>10)
	} else {
		t.Logf("the handler wrote %d KiB to a client that does not read", ahead>>10)
	}
	receiveFlood(t, stalled, blocks) // it reads on, and has missed nothing
	r.awaitIdle()
}
