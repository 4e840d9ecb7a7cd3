//go:build unix

package main_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// startRouterWithFiles lets a router open this many files.
func startRouterWithFiles(t *testing.T, most string, flags ...string) *runningRouter {
	t.Helper()
	args := []string{"-c", `ulimit -n "$0" && exec dialmux router --listen 127.0.0.1:0 --workers tcp://127.0.0.1:0 --admin 127.0.0.1:0 "$@"`, most}
	return awaitPorts(t, start(t, "sh", append(args, flags...)...))
}

const (
	askOnce     = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	limitsLower = "their limits are lowered"
)

// Clients cannot take the descriptors that workers and the operator need.
func TestF7ClientsLeaveDescriptors(t *testing.T) {
	r := startRouterWithFiles(t, "96")
	r.worker("worker-1")
	r.awaitReady(1)
	var served []*client
	refused := 0
	for range 60 {
		c := r.say(askOnce)
		resp, _, err := c.whole()
		switch {
		case err == nil && resp.StatusCode == http.StatusOK:
			served = append(served, c)
		case err == nil && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
			refused++
			c.awaitClosed(t)
		default:
			t.Errorf("a client got %v, %v", resp, err)
		}
	}
	if len(served) != 24 || refused != 36 {
		t.Errorf("%d are served, %d refused; 96 files leave room for 24 clients", len(served), refused)
	}
	r.worker("worker-2")
	r.awaitReady(2) // which asks the admin port, too
	for _, c := range served {
		_ = c.Close()
	}
	eventually(t, "room for others", func() bool {
		c := r.say(askOnce)
		resp, _, err := c.whole()
		_ = c.Close()
		return err == nil && resp.StatusCode == http.StatusOK
	})
	log := r.log.String()
	if strings.Count(log, limitsLower) != 1 || !strings.Contains(log, "allow 20544 files (LimitNOFILE= in a systemd unit, ulimit -n in a shell)") || strings.Contains(log, "cannot accept") {
		t.Error("the log does not say once that the limits are lowered, and how to have more")
	}
	r.stop()
}

func TestEnoughDescriptorsAreNoNews(t *testing.T) {
	r := startRouterWithFiles(t, "1024", "--max-connections", "500", "--max-workers", "400")
	if strings.Contains(r.log.String(), limitsLower) {
		t.Error("limits are lowered without need")
	}
}

// When there are none all the same, what comes waits: neither does the router
// spin, nor does it fill the log.
func TestF7OutOfDescriptors(t *testing.T) {
	r := startRouterWithFiles(t, "64")
	r.worker("worker-1")
	r.awaitReady(1)
	http.DefaultClient.CloseIdleConnections()
	var held []*client
	for range 80 {
		c := mustDial(t, r.admin) // which has no limit
		held = append(held, c)
	}
	eventually(t, "no more descriptors", func() bool { return strings.Contains(r.log.String(), "too many open files") })
	var late *client
	eventually(t, "the HTTP port has none", func() bool {
		late = r.say(askOnce) // which a descriptor may still be found for, as others close
		return late.isOpen(500*time.Millisecond) && strings.Contains(r.log.String(), `"port":"HTTP port`)
	})
	began := time.Now()
	time.Sleep(2 * time.Second) // what is tested: nothing is done meanwhile
	pause := time.Since(began)
	if !late.isOpen(50 * time.Millisecond) {
		t.Error("a client was served without descriptors")
	}
	_ = late.SetReadDeadline(time.Time{})
	for _, c := range held {
		_ = c.Close()
	}
	late.wants(t, http.StatusOK)
	r.worker("worker-2")
	r.awaitReady(2)
	r.stop()
	if busy := r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime(); busy > pause/2 {
		t.Errorf("the router ran for %v in all, and spun while it had no descriptors", busy)
	}
	if n := strings.Count(r.log.String(), "too many open files"); n > 2 { // of the admin port and the HTTP port
		t.Errorf("%d lines tell of it", n)
	}
}
