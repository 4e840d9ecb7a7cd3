package router_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/pires/go-proxyproto"

	"github.com/dialmux/dialmux/router"
)

func TestRedirect(t *testing.T) {
	for _, tc := range []struct{ request, port443, port8443 string }{
		{"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "https://example.com/", "https://example.com:8443/"},
		{"GET /a/../b?c=d&e HTTP/1.1\r\nHost: example.com:80\r\n\r\n", "https://example.com/a/../b?c=d&e", "https://example.com:8443/a/../b?c=d&e"},
		{"GET / HTTP/1.0\r\nHost: Example.COM.\r\n\r\n", "https://Example.COM./", "https://Example.COM.:8443/"},
		{"HEAD /x HTTP/1.1\r\nHost: 192.0.2.1:\r\n\r\n", "https://192.0.2.1/x", "https://192.0.2.1:8443/x"},
		{"GET /x HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "https://[2001:db8::1]/x", "https://[2001:db8::1]:8443/x"},
		{"POST /form HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nx=y&z", "https://h/form", "https://h:8443/form"},
		{"GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n", "https://h/x", "https://h:8443/x"},
		{"GET http://h HTTP/1.1\r\nHost: H\r\n\r\n", "https://H/", "https://H:8443/"},
		// Nobody is sent elsewhere.
		{"GET //evil.example/x HTTP/1.1\r\nHost: h\r\n\r\n", "https://h//evil.example/x", "https://h:8443//evil.example/x"},
		{"GET /\\evil.example HTTP/1.1\r\nHost: h\r\n\r\n", "https://h/%5Cevil.example", "https://h:8443/%5Cevil.example"},
		{"GET /@evil.example/\xc3\xa9<\"> HTTP/1.1\r\nHost: h\r\n\r\n", "https://h/@evil.example/%C3%A9%3C%22%3E", "https://h:8443/@evil.example/%C3%A9%3C%22%3E"},
		{"GET /%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: h\r\n\r\n", "https://h/%0d%0aSet-Cookie:x", "https://h:8443/%0d%0aSet-Cookie:x"},
		{"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n\r\n", "https://h/", "https://h:8443/"},
	} {
		for number, want := range map[int]string{443: tc.port443, 8443: tc.port8443} {
			portStory(t, router.Config{}, router.Port{Redirect: number}, func(w *world, _ *port) {
				k := w.join("w1", 1)
				got := w.raw(tc.request).all()
				head, body, _ := strings.Cut(got, "\r\n\r\n")
				if !strings.HasPrefix(head, "HTTP/1.1 308 Permanent Redirect\r\n") || !strings.Contains(head+"\r\n", "\r\nLocation: "+want+"\r\n") ||
					strings.Count(head, "Location") != 1 || !strings.Contains(head, "\r\nConnection: close") || body != "" {
					w.t.Errorf("%q got %q, want %s", tc.request, got, want)
				}
				k.silent()
			})
		}
	}
}

func TestRedirectOfNothing(t *testing.T) {
	portStory(t, router.Config{}, router.Port{Redirect: 443}, func(w *world, _ *port) {
		k := w.join("w1", 1)
		for request, want := range map[string]string{
			"GET / HTTP/1.1\r\n\r\n":                                                       "400",
			"GET / HTTP/1.0\r\n\r\n":                                                       "400",
			"GET / HTTP/1.1\r\nHost:\r\n\r\n":                                              "400",
			"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                 "400",
			"GET / HTTP/1.1\r\nHost: user@h\r\n\r\n":                                       "400",
			"GET / HTTP/1.1\r\nHost: h/evil\r\n\r\n":                                       "400",
			"GET / HTTP/1.1\r\nHost: h?evil\r\n\r\n":                                       "400",
			"GET / HTTP/1.1\r\nHost: h#evil\r\n\r\n":                                       "400",
			"GET / HTTP/1.1\r\nHost: h\\evil\r\n\r\n":                                      "400",
			"GET / HTTP/1.1\r\nHost: h%2eevil\r\n\r\n":                                     "400",
			"GET / HTTP/1.1\r\nHost: h;evil\r\n\r\n":                                       "400",
			"GET / HTTP/1.1\r\nHost: h evil\r\n\r\n":                                       "400",
			"GET / HTTP/1.1\r\nHost: h\xc3\xa9\r\n\r\n":                                    "400",
			"GET / HTTP/1.1\r\nHost: h\tx\r\n\r\n":                                         "400",
			"GET / HTTP/1.1\r\nHost: h\x00x\r\n\r\n":                                       "400",
			"GET / HTTP/1.1\r\nHost: h\rx\r\n\r\n":                                         "400",
			"GET / HTTP/1.1\r\nHost: h:80:90\r\n\r\n":                                      "400",
			"GET / HTTP/1.1\r\nHost: h:x\r\n\r\n":                                          "400",
			"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n":                                         "400",
			"GET / HTTP/1.1\r\nHost: [1]\r\n\r\n":                                          "400",
			"GET / HTTP/1.1\r\nHost: [fe80::1%25x]\r\n\r\n":                                "400",
			"GET / HTTP/1.1\r\nHost: " + strings.Repeat("h", 256) + "\r\n\r\n":             "400",
			"GET http://evil.example/ HTTP/1.1\r\nHost: h\r\n\r\n":                         "400",
			"GET http://evil.example/ HTTP/1.0\r\n\r\n":                                    "400",
			"GET /x#y HTTP/1.1\r\nHost: h\r\n\r\n":                                         "400",
			"GET x HTTP/1.1\r\nHost: h\r\n\r\n":                                            "400",
			"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n":                                        "400",
			"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n":                                "400",
			"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n":                                        "400",
			http2.ClientPreface:                                                            "505",
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03":                                 "400",
			"GET /" + strings.Repeat("x", 33<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n":         "414",
			"GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 65<<10) + "\r\n\r\n":  "431",
			"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": "400",
		} {
			got := w.raw(request).all()
			if strings.Contains(got, "Location:") || strings.Count(got, "\r\n\r\n") != 1 {
				w.t.Errorf("%.60q got %q", request, got)
			}
			wantsStatus(w.t, got, want, "http_request_error")
		}
		began := time.Now()
		if got := w.raw("GET / HTTP/1.1\r\n").all(); !strings.HasPrefix(got, "HTTP/1.1 408 ") || time.Since(began) < router.DefaultHeadTimeout {
			w.t.Errorf("half a head got %q after %v", got, time.Since(began))
		}
		k.silent()
	})
}

// One that is on its way when the port closes is answered.
func TestRedirectDrains(t *testing.T) {
	portStory(t, router.Config{}, router.Port{Redirect: 443}, func(w *world, o *port) {
		c := w.raw("GET / HTTP/1.1\r\n")
		w.settle()
		w.wg.Go(func() {
			time.Sleep(50 * time.Millisecond)
			_, _ = io.WriteString(c.nc, "Host: h\r\n\r\n")
		})
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		if cut := o.shutdown(ctx, 500*time.Millisecond); cut != 0 {
			w.t.Errorf("%d were cut off", cut)
		}
		if got, _ := c.seen(); !strings.HasPrefix(got, "HTTP/1.1 308 ") {
			w.t.Errorf("got %q", got)
		}
	})
}

func TestRedirectBehindProxyProtocol(t *testing.T) {
	behindProxy(t, router.Config{}, router.Port{Redirect: 443}, "10.1.2.3:4567", func(w *world) {
		for _, header := range []string{throughTCP, second(t, proxyproto.PROXY, "203.0.113.7:1")} {
			if got := w.raw(header + ask).all(); !strings.HasPrefix(got, "HTTP/1.1 308 ") || !strings.Contains(got, "\r\nLocation: https://h/\r\n") {
				w.t.Errorf("got %q", got)
			}
		}
	})
}
