package main_test

import (
	"net/http"
	"strings"
	"testing"
)

// wants reads an answer with this status.
func (c *client) wants(t *testing.T, status int) *http.Response {
	t.Helper()
	resp, body, err := c.whole()
	if err != nil || resp.StatusCode != status {
		t.Errorf("%v %q %v, want %d", resp, body, err, status)
	}
	return resp
}

func TestLimits(t *testing.T) {
	r := startRouter(t, "--max-header", "1KiB", "--max-target", "100", "--max-body", "1000", "--max-requests", "1")
	r.worker("worker-1")
	r.awaitReady(1)
	c := r.say("")
	send := func(what, body string, fields ...string) {
		t.Helper()
		if err := c.send(what, body, fields...); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		what, body, field string
		status            int
	}{
		{"GET /" + strings.Repeat("x", 99), "", "", 200},
		{"GET /" + strings.Repeat("x", 100), "", "", 414},
		{"GET /", "", strings.Repeat("x", 900), 200},
		{"GET /", "", strings.Repeat("x", 1000), 431},
		{"POST /work", strings.Repeat("x", 1000), "", 200},
		{"POST /work", strings.Repeat("x", 1001), "", 413},
	} {
		send(tc.what, tc.body, "X-Field: "+tc.field)
		if c.wants(t, tc.status).Close {
			c.awaitClosed(t)
			c = r.say("")
		}
	}

	// While one request runs, no other does.
	send("GET /hang", "")
	if _, err := c.head(); err != nil {
		t.Fatal(err)
	}
	second := r.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp := second.wants(t, 503); resp != nil && !strings.Contains(resp.Header.Get("Proxy-Status"), "too many requests") {
		t.Errorf("Proxy-Status: %q", resp.Header.Get("Proxy-Status"))
	}
	_ = c.Close()
	_ = second.Close()
	r.awaitStreams(0, 0)
}

func TestMaxConnections(t *testing.T) {
	r := startRouter(t, "--max-connections", "2")
	r.worker("worker-1")
	r.awaitReady(1)
	const ask = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	first, second := r.say(ask), r.say(ask)
	first.wants(t, 200)
	second.wants(t, 200)
	third := r.say(ask)
	if resp := third.wants(t, 503); resp != nil && (!resp.Close || resp.Header.Get("Retry-After") == "" || !strings.Contains(resp.Header.Get("Proxy-Status"), "too many connections")) {
		t.Errorf("%v", resp.Header)
	}
	third.awaitClosed(t)
	_ = first.Close()
	eventually(t, "room for one more", func() bool {
		c := r.say(ask)
		resp, _, err := c.whole()
		_ = c.Close()
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

func TestResponseTimeout(t *testing.T) {
	patient, r := startPatientAndNot(t, "--response-timeout")
	const ask = "GET /mute HTTP/1.1\r\nHost: h\r\n\r\n"
	other := patient.say(ask)
	r.say(ask).wants(t, 504)
	other.checkOpen(t)
	r.awaitStreams(0, 0)
}
