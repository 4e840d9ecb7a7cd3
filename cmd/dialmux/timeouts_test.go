package main_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Each limit is set where it is tested only: on a router with the default, a
// client that began earlier is still waited for.

func startPatientAndNot(t *testing.T, flag string) (patient, r *runningRouter) {
	t.Helper()
	patient, r = startRouter(t), startRouter(t, flag, "100ms")
	for _, r := range []*runningRouter{patient, r} {
		r.worker("worker-1")
		r.awaitReady(1)
	}
	return patient, r
}

// say opens a connection and writes bytes.
func (r *runningRouter) say(bytes string) *client {
	r.t.Helper()
	c := mustDial(r.t, r.web)
	if _, err := io.WriteString(c, bytes); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// checkLate reads 408 and the end.
func (c *client) checkLate(t *testing.T) {
	t.Helper()
	resp, body, err := c.whole()
	if err != nil || resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
		t.Errorf("%v %q %v, want 408 and Connection: close", resp, body, err)
	}
	c.awaitClosed(t)
}

func TestHeadTimeout(t *testing.T) {
	patient, r := startPatientAndNot(t, "--head-timeout")
	for name, begin := range map[string]string{
		"half a head":       "GET / HTTP/1.1\r\nHost: x\r\n",
		"half of HTTP/2":    "PRI * HTTP/2.0\r\n\r\nS",
		"half a first line": "GE",
	} {
		t.Run(name, func(t *testing.T) {
			other, c := patient.say(begin), r.say(begin)
			c.checkLate(t)
			other.checkOpen(t)
		})
	}
	t.Run("nothing", func(t *testing.T) {
		other, c := patient.say(""), r.say("")
		c.awaitClosed(t)
		other.checkOpen(t)
	})
	t.Run("second request", func(t *testing.T) {
		ask := "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n"
		other, c := patient.say(ask), r.say(ask)
		for _, c := range []*client{other, c} {
			if resp, _, err := c.whole(); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp, err)
			}
		}
		c.checkLate(t)
		other.checkOpen(t)
	})
	get(t, "http://"+r.web+"/")
}

func TestIdleTimeout(t *testing.T) {
	patient, r := startPatientAndNot(t, "--idle-timeout")
	t.Run("HTTP/1.1", func(t *testing.T) {
		const ask = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
		other, c := patient.say(ask), r.say(ask)
		for _, c := range []*client{other, c} {
			if resp, _, err := c.whole(); err != nil || resp.StatusCode != http.StatusOK || resp.Close {
				t.Fatal(resp, err)
			}
		}
		c.awaitClosed(t)
		other.checkOpen(t)
	})
	t.Run("HTTP/2", func(t *testing.T) {
		other, c := patient.second(http2.Setting{}), r.second(http2.Setting{})
		for _, c := range []*second{other, c} {
			c.ask("/")
			if body := c.answer(); body != "Hello from worker-1\n" {
				t.Fatalf("%q", body)
			}
		}
		for {
			f, err := c.ReadFrame()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode != http2.ErrCodeNo {
				t.Errorf("GOAWAY says %v", g.ErrCode)
			}
		}
		other.checkOpen(t)
	})
	get(t, "http://"+r.web+"/")
}

func TestBodyTimeout(t *testing.T) {
	patient, r := startPatientAndNot(t, "--body-timeout")
	for name, begin := range map[string]string{
		"Content-Length": "Content-Length: 9\r\n\r\nbody",
		"chunked":        "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
		"nothing of it":  "Content-Length: 9\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			begin = "POST /work HTTP/1.1\r\nHost: x\r\n" + begin
			other, c := patient.say(begin), r.say(begin)
			c.checkLate(t)
			r.awaitStreams(0, 0)
			other.checkOpen(t)
			_ = other.Close()
		})
	}
	// A worker that takes its time is no client that does.
	c := r.say("")
	body := strings.Repeat("x", 300<<10) // is 300 ms of work
	if err := c.send("POST /work", body); err != nil {
		t.Fatal(err)
	}
	if resp, got, err := c.whole(); err != nil || resp.StatusCode != http.StatusOK || got != "307200 bytes\n" {
		t.Errorf("%v %q %v", resp, got, err)
	}
}

func TestWriteTimeout(t *testing.T) {
	patient, r := startPatientAndNot(t, "--write-timeout")
	t.Run("HTTP/1.1", func(t *testing.T) {
		const ask = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
		patient.say(ask)
		c := r.say(ask)
		r.awaitStreams(0, 1)
		get(t, "http://"+r.web+"/") // the others are served
		r.awaitStreams(0, 0)
		patient.awaitStreams(0, 1)
		resp, err := c.head()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the answer ended after %d bytes with %v, want %v", n, err, syscall.ECONNRESET)
		}
	})
	for name, window := range map[string]uint32{"HTTP/2, takes no bytes": 1 << 30, "HTTP/2, opens no window": 1000} {
		t.Run(name, func(t *testing.T) {
			c := r.second(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
			if err := c.WriteWindowUpdate(0, 1<<30); err != nil {
				t.Fatal(err)
			}
			c.ask("/large")
			r.awaitStreams(0, 1)
			get(t, "http://"+r.web+"/")
			r.awaitStreams(0, 0)
		})
	}
}

// second is a client of HTTP/2 that does what it is told only.
type second struct {
	*client
	*http2.Framer
	t    *testing.T
	next uint32 // stream
}

func (r *runningRouter) second(s http2.Setting) *second {
	r.t.Helper()
	c := r.say(http2.ClientPreface)
	two := &second{c, http2.NewFramer(c, c.r), r.t, 1}
	if s.ID == 0 {
		s = http2.Setting{ID: http2.SettingEnablePush}
	}
	if err := two.WriteSettings(s); err != nil {
		r.t.Fatal(err)
	}
	return two
}

// ask sends a GET.
func (c *second) ask(path string) {
	c.t.Helper()
	var block strings.Builder
	e := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "localhost"}, {":path", path}} {
		_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
	c.next += 2
}

// answer reads the one body that comes.
func (c *second) answer() (body string) {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			c.t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if body += string(f.Data()); f.StreamEnded() {
				return body
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			c.t.Fatal(f)
		}
	}
}
