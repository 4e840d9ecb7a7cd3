package interop

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestClientLeavesMidResponse: a Python worker's handler is told.
func TestClientLeavesMidResponse(t *testing.T) {
	r := startRouter(t)
	w := startPython(t, dealer, "py", nil, r.endpoint())
	r.awaitWorkers("py")
	quickest := patience
	for i := range 5 {
		query := "n=" + strconv.Itoa(i)
		leave := beginWaiting(t, r.addr, query)
		before := time.Now()
		leave()
		told := 0.0
		eventually(t, "the handler is cancelled", func() bool {
			_, rest, ok := strings.Cut(w.log.String(), "left "+query+" ")
			if !ok {
				return false
			}
			_, err := fmt.Sscan(rest, &told)
			return err == nil
		})
		took := time.UnixMicro(int64(told * 1e6)).Sub(before)
		quickest = min(quickest, took)
	}
	// The promise is a second; a machine may be busy for that long once, not five times.
	if quickest > time.Second {
		t.Errorf("the handler heard after %v at best that its client had left", quickest)
	}
	r.awaitIdle()
}

// TestClientLeavesWhileItWaits: no worker ever hears of its request.
func TestClientLeavesWhileItWaits(t *testing.T) {
	r := startRouter(t)
	w := startPython(t, dealer, "py", []string{"CONCURRENCY=1"}, r.endpoint())
	r.awaitWorkers("py")
	release := beginWaiting(t, r.addr, "n=first")
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		c := newClient(r.addr)
		if err := c.send(request{method: method, target: "/wait?n=second"}, 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the request waits", func() bool { return r.streams().Waiting == 1 })
		c.close()
		eventually(t, "nobody waits", func() bool { return r.streams().Waiting == 0 })
	}
	release()
	if a := once(r.addr, getNonce("third")); a.status != http.StatusOK || string(a.body) != string(proof("third")) {
		t.Errorf("the next client got %+v", a)
	}
	if log := w.log.String(); !strings.Contains(log, "waiting n=first") || strings.Contains(log, "n=second") {
		t.Errorf("the worker should have seen the first request and not the second:\n%s", log)
	}
	r.awaitIdle()
}

// beginWaiting returns when the answer of /wait has begun.
func beginWaiting(t *testing.T, addr, query string) (leave func()) {
	t.Helper()
	c := newClient(addr)
	t.Cleanup(c.close)
	if err := c.send(get("/wait?"+query), 0); err != nil {
		t.Fatal(err)
	}
	resp, err := c.receive(http.MethodGet)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "waiting\n" {
		t.Fatalf("the answer began with %q, %v", line, err)
	}
	return c.close
}
