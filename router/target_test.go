package router_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

// CGI makes one variable of X-Real-IP and X_Real_IP: a proxy that is trusted
// for the one may have passed the other on from anybody.
func TestH6AliasesWithUnderscoresAreDropped(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, addr := range map[string]string{"from a trusted proxy": "10.1.2.3:4567", "from anybody": "11.1.2.3:4567"} {
		t.Run(name, func(t *testing.T) {
			storyBehind(t, router.Config{TrustedProxies: trusted}, netHTTP, from(addr), func(w *world) {
				k := w.join("w1", 1)
				client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\nx_real_ip: 6.6.6.6\r\nX_Real-IP: 6.6.6.6\r\n" +
					"X_Forwarded_Host: evil\r\nX_Own: kept\r\n\r\n")
				c := k.request()
				for name, value := range c.Fields.All() {
					if strings.Contains(string(value), "6.6.6.6") || strings.Contains(string(value), "evil") || string(value) == "https" {
						t.Errorf("%s: %s came through", name, value)
					}
				}
				if c.get("x_own") != "kept" {
					t.Error("X_Own, which means nothing here, is gone")
				}
				c.answer(200, "")
				client.seen()
			})
		})
	}
}

var targets = []string{
	"/", "/a\"b\\c|d", "/caf\xc3\xa9", "/caf\xe9", "/a%2Fb", "/a%2fb", "/%61", "//a//b", "/a/../b", "/a;b=c?d;e", "/{x}^`", "/a?q=\"|\\", "/?", "/a?", "/a?b?c", "/a+b%20c",
}

func TestTheTargetIsWhatTheClientWrote(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		for _, target := range targets {
			client := w.raw("GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			c := k.request()
			if got := c.get(":path"); got != target {
				t.Errorf("%q came as %q", target, got)
			}
			c.answer(200, "")
			client.all()
		}
	})
}

// A handler before the router may change it.
func TestTheTargetFollowsAHandlerBeforeTheRouter(t *testing.T) {
	moved := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.URL.Path, req.URL.RawPath, req.URL.RawQuery = "/moved to", "", "by=us"
			next.ServeHTTP(w, req)
		})
	}
	query := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.URL.RawQuery = ""
			next.ServeHTTP(w, req)
		})
	}
	strip := func(next http.Handler) http.Handler { return http.StripPrefix("/api", next) }
	for name, tc := range map[string]struct {
		front        func(http.Handler) http.Handler
		target, want string
	}{
		"stripped":                {strip, "/api/a?x=1", "/a?x=1"},
		"stripped, with a %2F":    {strip, "/api/a%2Fb?x=1", "/a%2Fb?x=1"},
		"stripped of all":         {strip, "/api/", "/"},
		"stripped, with UTF-8":    {strip, "/api/caf\xc3\xa9", "/caf%C3%A9"},
		"moved":                   {moved, "/a%2Fb?x=1", "/moved%20to?by=us"},
		"without its query":       {query, "/a%2Fb?x=1", "/a%2Fb"},
		"moved, and * is no path": {moved, "/*", "/moved%20to?by=us"},
	} {
		t.Run(name, func(t *testing.T) {
			storyBehind(t, router.Config{}, netHTTP, tc.front, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw("GET " + tc.target + " HTTP/1.1\r\nHost: h\r\n\r\n")
				c := k.request()
				if got := c.get(":path"); got != tc.want {
					t.Errorf("%q came as %q, want %q", tc.target, got, tc.want)
				}
				c.answer(200, "")
				client.seen()
			})
		})
	}
}

// A trailer that says where the request goes comes too late to be believed.
func TestH8TrailersOfARequestThatChangeItAreDropped(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: Host, X-Sum\r\nTrailer: Authorization\r\n\r\n" +
			"4\r\nbody\r\n0\r\nHost: evil\r\nX-Sum: 42\r\nAuthorization: evil\r\n\r\n")
		c := k.request()
		if got := c.values("trailer"); !slices.Equal(got, []string{"x-sum"}) {
			t.Errorf("announced: %q, want x-sum", got)
		}
		f := c.Frame
		for !f.End() {
			f = k.next()
		}
		if f.Fields.Len() != 1 || string(f.Fields.Get("x-sum")) != "42" {
			t.Errorf("%d trailers came, x-sum: %q", f.Fields.Len(), f.Fields.Get("x-sum"))
		}
		c.answer(200, "")
		client.seen()
	})
}

// net/http shows the preface of HTTP/2 to handlers where it does not speak it.
func TestThePrefaceOfHTTP2Is505(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		clients := testpipe.NewListener()
		srv := &http.Server{Handler: w.r, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
		srv.Protocols.SetHTTP1(true)
		var serving sync.WaitGroup
		serving.Go(func() { _ = srv.Serve(clients) })
		defer serving.Wait()
		defer func() { _ = srv.Close() }()
		w.clients = clients
		client := w.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		got, _ := client.seen()
		if !strings.Contains(got, " 505 ") {
			t.Errorf("the client got %q", got)
		}
		k.silent()
	})
}
