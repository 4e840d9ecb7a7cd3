package router_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// timeout is an edit for send.
func timeout(field, value string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set(field, value) }
}

// Whoever sets the deadline, the request ends with it in whatever state it is,
// and no worker gets it afterwards.
func TestF5DeadlinesEndARequestInEveryState(t *testing.T) {
	const limit = 3 * time.Second
	for name, tc := range map[string]struct {
		cfg  router.Config
		edit func(*http.Request)
	}{
		"the router's":              {router.Config{RequestTimeout: limit}, func(*http.Request) {}},
		"the client's":              {router.Config{}, timeout("Request-Timeout", "3")},
		"the client's, shorter":     {router.Config{RequestTimeout: time.Hour}, timeout("Request-Timeout", "3.000")},
		"the router's, shorter":     {router.Config{RequestTimeout: limit}, timeout("Request-Timeout", "3600")},
		"the client's, in gRPC's":   {router.Config{}, timeout("Grpc-Timeout", "3000m")},
		"the client's is no number": {router.Config{RequestTimeout: limit}, timeout("Request-Timeout", "soon")},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, tc.cfg, func(w *world) {
				ends := func(p *pending, what string) {
					w.t.Helper()
					began := time.Now()
					resp := p.wants(504, what)
					if took := time.Since(began); took != limit {
						w.t.Errorf("504 after %v", took)
					}
					if got := resp.Header.Get("Proxy-Status"); !strings.Contains(got, "error=http_response_timeout") {
						w.t.Errorf("Proxy-Status: %s", got)
					}
				}
				ends(w.send("POST", "/waiting", strings.NewReader("x"), tc.edit), "before a worker became ready")
				k := w.join("a", 4)
				k.silent() // it never runs
				p := w.get("/sent", tc.edit)
				c := k.request()
				ends(p, "before its answer was whole")
				c.cancelled(http2.ErrCodeCancel)
				c.answer(200, "late")

				p = w.get("/begun", tc.edit)
				c = k.request()
				c.head(200)
				c.data("half")
				p.head()
				began := time.Now()
				if got := p.breaks(); got != "half" || time.Since(began) != limit {
					w.t.Errorf("after %v the answer broke off behind %q", time.Since(began), got)
				}
				c.cancelled(http2.ErrCodeCancel)
				c.reset(http2.ErrCodeCancel)

				p = w.get("/in-time", tc.edit)
				k.request().answer(200, "in time")
				p.wants(200, "in time")
				time.Sleep(2 * limit)
				k.silent()
			})
		})
	}
}

// A worker is told how much time is left, on each attempt anew.
func TestDeadlinesTravel(t *testing.T) {
	for name, tc := range map[string]struct {
		edit          []func(*http.Request)
		seconds, grpc string // after 1.5 s of 10
	}{
		"Request-Timeout":        {[]func(*http.Request){timeout("Request-Timeout", "10")}, "8.500", ""},
		"grpc-timeout":           {[]func(*http.Request){timeout("Grpc-Timeout", "10S"), timeout("Content-Type", "application/grpc")}, "", "8500m"},
		"both":                   {[]func(*http.Request){timeout("Request-Timeout", "20"), timeout("Grpc-Timeout", "10S")}, "8.500", "8500m"},
		"the router's":           {nil, "38.500", ""},
		"the router's, for gRPC": {[]func(*http.Request){timeout("Content-Type", "application/grpc+proto")}, "", "38500m"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{RequestTimeout: 40 * time.Second}, func(w *world) {
				edit := append([]func(*http.Request){key}, tc.edit...)
				p := w.send("POST", "/", strings.NewReader("x"), edit...)
				time.Sleep(time.Second)
				a := w.join("a", 4)
				a.request()
				time.Sleep(500 * time.Millisecond)
				b := w.join("b", 4)
				a.die()
				c := b.request()
				if s, g := c.values("request-timeout"), c.values("grpc-timeout"); strings.Join(s, " ") != tc.seconds || strings.Join(g, " ") != tc.grpc {
					t.Errorf("the second worker was told request-timeout %q and grpc-timeout %q, want %q and %q", s, g, tc.seconds, tc.grpc)
				}
				c.answer(200, "")
				p.wants(200, "")
			})
		})
	}
	t.Run("to a REP", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.rep(zmtp.Options{})
			p := w.get("/", timeout("Request-Timeout", "10"))
			j := k.task()
			if !strings.Contains(string(j.head), "request-timeout\xa610.000") {
				t.Errorf("it got %q", j.head)
			}
			j.reply("", "")
			p.wants(200, "")
		})
	})
	t.Run("not where there is none", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("a", 4)
			p := w.get("/", timeout("Request-Timeout", "soon"))
			c := k.request()
			if got := c.values("request-timeout"); len(got) != 1 || got[0] != "soon" {
				t.Errorf("an application's own Request-Timeout came as %q", got)
			}
			c.answer(200, "")
			p.wants(200, "")
		})
	})
}

// To a gRPC client 504 would mean UNAVAILABLE, which is worth trying again.
func TestADeadlineOfGRPC(t *testing.T) {
	story(t, router.Config{RequestTimeout: time.Second}, func(w *world) {
		resp := w.send("POST", "/", strings.NewReader("x"), timeout("Content-Type", "application/grpc")).wants(200, "")
		if got := resp.Header.Get("Grpc-Status"); got != "4" {
			t.Errorf("grpc-status %q", got)
		}
	})
}

func TestAnUpgradedConnectionOutlivesTheDeadline(t *testing.T) {
	story(t, router.Config{RequestTimeout: time.Second}, func(w *world) {
		k := w.join("a", 4)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		c := k.request()
		c.head(101)
		w.settle()
		time.Sleep(time.Hour)
		c.data("still here")
		if got, closed := client.seen(); closed || !strings.HasSuffix(got, "still here") {
			t.Errorf("the client got %q, closed: %v", got, closed)
		}
		c.end()
		w.settle()
		_ = client.nc.Close()
	})
}
