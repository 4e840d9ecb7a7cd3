package router_test

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// from is a handler before the router: it makes clients come from an address.
func from(addr string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.RemoteAddr = addr
			next.ServeHTTP(w, req)
		})
	}
}

const spoofed = "GET / HTTP/1.1\r\nHost: shop.example\r\n" +
	"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: bank.example\r\n" +
	"Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Server: evil\r\nX-Forwarded-Ssl: on\r\n" +
	"X_Forwarded_For: 6.6.6.6\r\nX_Client_Cert_Subject: CN=boss\r\nX-Forwarded_Ssl: on\r\nx_real-ip: 6.6.6.6\r\nX-Forwarded_Proto: https\r\n\r\n"

func TestH6WhoTheClientIs(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
	ours := map[string]string{"x-forwarded-for": "10.1.2.3", "x-forwarded-proto": "http", "x-forwarded-host": "shop.example", "forwarded": "for=10.1.2.3;host=shop.example;proto=http"}
	theirs := map[string]string{
		"x-forwarded-for": "6.6.6.6, 7.7.7.7, 10.1.2.3", "x-forwarded-proto": "https", "x-forwarded-host": "bank.example",
		"forwarded": "for=6.6.6.6, for=10.1.2.3;host=shop.example;proto=http", "x-real-ip": "6.6.6.6", "x-forwarded-port": "443", "x-forwarded-server": "evil", "x-forwarded-ssl": "on",
	}
	for name, tc := range map[string]struct {
		addr    string
		trusted []netip.Prefix
		request string
		want    map[string]string
	}{
		"nobody is trusted":    {"10.1.2.3:4567", nil, spoofed, ours},
		"a trusted proxy":      {"10.1.2.3:4567", trusted, spoofed, theirs},
		"named by Connection":  {"10.1.2.3:4567", trusted, strings.Replace(spoofed, "\r\n", "\r\nConnection: X-Forwarded-For, x-real-ip, Forwarded\r\n", 1), theirs},
		"mapped into IPv6":     {"[::ffff:10.1.2.3]:4567", trusted[:1], "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n\r\n", map[string]string{"x-forwarded-for": "::ffff:10.1.2.3", "forwarded": `for="[::ffff:10.1.2.3]";host=h;proto=http`, "x-forwarded-proto": "https", "x-forwarded-host": "h"}},
		"IPv6 with a zone":     {"[fe80::1%eth0]:4567", trusted, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n\r\n", map[string]string{"x-forwarded-for": "fe80::1%eth0", "forwarded": `for="[fe80::1]";host=h;proto=http`, "x-forwarded-proto": "https", "x-forwarded-host": "h"}},
		"somebody else":        {"11.1.2.3:4567", trusted, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n\r\n", map[string]string{"x-forwarded-for": "11.1.2.3", "forwarded": "for=11.1.2.3;host=h;proto=http", "x-forwarded-proto": "http", "x-forwarded-host": "h"}},
		"trusted, says little": {"10.1.2.3:4567", trusted, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", map[string]string{"x-forwarded-for": "10.1.2.3", "forwarded": "for=10.1.2.3;host=h;proto=http", "x-forwarded-proto": "http", "x-forwarded-host": "h"}},
	} {
		t.Run(name, func(t *testing.T) {
			storyBehind(t, router.Config{TrustedProxies: tc.trusted}, netHTTP, from(tc.addr), func(w *world) {
				k := w.join("w1", 1)
				client := w.raw(tc.request)
				c := k.request()
				for name, value := range c.Fields.All() {
					n := strings.ReplaceAll(string(name), "_", "-")
					if !strings.HasPrefix(n, "x-") && n != "forwarded" || n == "x-request-id" {
						continue
					}
					if strings.Contains(string(name), "_") {
						if tc.trusted == nil {
							t.Errorf("%s: %s came through", name, value)
						}
						continue
					}
					if want := tc.want[n]; want != string(value) {
						t.Errorf("%s: %q, want %q", name, value, want)
					}
				}
				for name := range tc.want {
					if got := c.values(name); len(got) != 1 {
						t.Errorf("%s: %q, want one", name, got)
					}
				}
				c.answer(200, "")
				client.seen()
			})
		})
	}
}

func TestH6ForwardedQuotesWhatIsNoToken(t *testing.T) {
	storyBehind(t, router.Config{}, netHTTP, from("[2001:db8::7]:80"), func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: shop.example:8443\r\n\r\n")
		c := k.request()
		if got, want := c.get("forwarded"), `for="[2001:db8::7]";host="shop.example:8443";proto=http`; got != want {
			t.Errorf("forwarded: %s, want %s (RFC 7239 section 4)", got, want)
		}
		c.answer(200, "")
		client.seen()
	})
}

// H6
func TestH6AHostCannotSpeakForForwarded(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET http://a\",for=\"1.2.3.4/x HTTP/1.1\r\nHost: h\r\n\r\n")
		if got, _ := client.seen(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("the client got %q", got)
		}
		k.silent()
	})
}

func TestRequestIDIsKeptOrMade(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		made := map[string]bool{}
		for _, tc := range []struct{ sent, want string }{
			{"", ""},
			{"X-Request-Id: abc-123\r\n", "abc-123"},
			{"X-Request-Id: first\r\nX-Request-Id: second\r\n", "first"},
			{"X-Request-Id:\r\n", ""},
			{"X-Request-Id: two words\r\n", ""},
			{"X-Request-Id: caf\xe9\r\n", ""},
			{"X-Request-Id: " + strings.Repeat("x", 129) + "\r\n", ""},
			{"X-Request-Id: " + strings.Repeat("x", 128) + "\r\n", strings.Repeat("x", 128)},
			{"X_Request_Id: forged\r\n", ""},
			{"Connection: x-request-id\r\nX-Request-Id: stays\r\n", "stays"},
		} {
			client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n" + tc.sent + "\r\n")
			c := k.request()
			got := c.values("x-request-id")
			switch {
			case len(got) != 1 || c.get("x_request_id") != "":
				t.Errorf("%q: %q", tc.sent, got)
			case tc.want != "" && got[0] != tc.want:
				t.Errorf("%q: %q, want %q", tc.sent, got[0], tc.want)
			case tc.want == "" && (len(got[0]) != 32 || made[got[0]]):
				t.Errorf("%q: %q is no new id", tc.sent, got[0])
			}
			made[got[0]] = true
			c.answer(200, "")
			client.seen()
		}
	})
}

func TestRequestFieldsKeepOrderAndDuplicates(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nX-Two: a\r\nCookie: c=1\r\nX-Two: b\r\nX-Empty:\r\nX-Latin: caf\xe9\r\nVia: 1.0 before\r\n\r\n")
		c := k.request()
		if got := c.values("x-two"); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("x-two: %q", got)
		}
		if got := c.values("x-empty"); !slices.Equal(got, []string{""}) {
			t.Errorf("x-empty: %q", got)
		}
		if c.get("x-latin") != "caf\xe9" || c.get("cookie") != "c=1" || c.get("via") != "1.0 before, 1.1 dialmux" {
			t.Errorf("x-latin %q, cookie %q, via %q", c.get("x-latin"), c.get("cookie"), c.get("via"))
		}
		c.answer(200, "")
		client.seen()
	})
}

func TestH10AHeaderBeyond64KiBIs431(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		got := w.raw("GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 66000) + "\r\n\r\n").all()
		if !strings.HasPrefix(got, "HTTP/1.1 431 ") {
			t.Errorf("the client got %q", got)
		}
		k.silent()
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 60000) + "\r\n\r\n")
		c := k.request()
		if n := len(c.get("x")); n != 60000 {
			t.Errorf("%d bytes of the value came", n)
		}
		c.answer(200, "")
		client.seen()
	})
}

func TestAnswerFieldsAreTheWorkers(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		k.request().answer(200, "<html>", "set-cookie", "a=1", "set-cookie", "b=2", "server", "mine", "date", "then", "via", "1.1 app",
			"dialmux-worker", "forged", "dialmux-router", "forged", "x-latin", "caf\xe9", "cache-control", "no-store")
		h := p.wants(200, "<html>").Header
		for name, want := range map[string][]string{
			"Set-Cookie": {"a=1", "b=2"}, "Server": {"mine"}, "Date": {"then"}, "Via": {"1.1 app", "1.1 dialmux"}, "Dialmux-Worker": {"w1"},
			"X-Latin": {"caf\xe9"}, "Content-Type": nil, "Content-Length": {"6"}, "Cache-Control": {"no-store"},
		} {
			if got := h[name]; !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if id := h["Dialmux-Router"]; len(id) != 1 || !strings.HasPrefix(id[0], "r-") {
			t.Errorf("Dialmux-Router: %q, want the router's id", id)
		}
		if len(h) != 9 {
			t.Errorf("%d fields: %v", len(h), h)
		}
	})
}

func TestHideWorker(t *testing.T) {
	story(t, router.Config{HideWorker: true}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		k.request().answer(200, "", "dialmux-worker", "forged")
		for name := range p.wants(200, "").Header {
			if strings.HasPrefix(name, "Dialmux-") {
				t.Errorf("%s is there", name)
			}
		}
	})
}

func TestViaSaysWhatTheClientSpoke(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.0\r\nHost: h\r\n\r\n")
		c := k.request()
		if got := c.get("via"); got != "1.0 dialmux" {
			t.Errorf("via: %q", got)
		}
		c.answer(200, "old")
		if got := client.all(); !strings.Contains(got, "Via: 1.0 dialmux\r\n") || !strings.HasSuffix(got, "old") {
			t.Errorf("the client got %q", got)
		}
		p := w.get("/", over("HTTP/2"))
		c = k.request()
		if got := c.get("via"); got != "2.0 dialmux" {
			t.Errorf("via: %q", got)
		}
		c.answer(200, "new")
		p.wants(200, "new")
	})
}

func TestTargets(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		for sent, want := range map[string]string{
			"/a/../b//c?x=%20;y": "/a/../b//c?x=%20;y", "/%2F%c3%A9": "/%2F%c3%A9", "http://evil.example/x?y": "/x?y", "/?": "/?", "//x": "//x",
		} {
			client := w.raw("GET " + sent + " HTTP/1.1\r\nHost: h\r\n\r\n")
			c := k.request()
			if got := c.get(":path"); got != want {
				t.Errorf("%s came as %s", sent, got)
			}
			if strings.HasPrefix(sent, "http:") && c.get(":authority") != "evil.example" {
				t.Errorf("%s: :authority is %s; the target's host wins (RFC 9112 section 3.2.2)", sent, c.get(":authority"))
			}
			c.answer(200, "")
			client.seen()
		}
	})
}

func TestAREPIsTold(t *testing.T) {
	storyBehind(t, router.Config{}, netHTTP, from("10.1.2.3:4567"), func(w *world) {
		k := w.rep(zmtp.Options{})
		client := w.raw(spoofed)
		j := k.task()
		if head := string(j.head); strings.Contains(head, "6.6.6.6") || !strings.Contains(head, "10.1.2.3") {
			t.Errorf("the REP got %q", head)
		}
		j.reply("", "")
		client.seen()
	})
}

func TestTheSchemeIsTheClients(t *testing.T) {
	tlsBefore := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.TLS = new(tls.ConnectionState)
			next.ServeHTTP(w, req)
		})
	}
	storyBehind(t, router.Config{}, netHTTP, tlsBefore, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		if c.get(":scheme") != "https" || c.get("x-forwarded-proto") != "https" {
			t.Errorf(":scheme %s, x-forwarded-proto %s", c.get(":scheme"), c.get("x-forwarded-proto"))
		}
		c.answer(200, "")
		client.seen()
	})
}
