package router_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

func TestH5HopByHopFieldsOfARequestStay(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n" +
			"Connection: keep-alive, X-Hop\r\nConnection: x-second,Te\r\nX-Hop: 1\r\nX-Second: 2\r\nx-stays: yes\r\n" +
			"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nProxy-Authenticate: Basic\r\n" +
			"TE: gzip, trailers;q=0.5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\nAuthorization: Bearer mine\r\n\r\n")
		c := k.request()
		var names []string
		for name := range c.Fields.All() {
			names = append(names, string(name))
		}
		slices.Sort(names)
		want := []string{
			":authority", ":method", ":path", ":scheme", "authorization", "forwarded", "http2-settings", "te", "via",
			"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id", "x-stays",
		}
		if !slices.Equal(names, want) {
			t.Errorf("the worker got %v, want %v", names, want)
		}
		if c.get("te") != "trailers" {
			t.Errorf("te: %q", c.get("te"))
		}
		c.answer(200, "")
		client.seen()
	})
}

// A client cannot have taken away what the router says about it.
func TestH5ConnectionCannotNameWhatIsOurs(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via\r\n\r\n")
		c := k.request()
		for _, name := range []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"} {
			if c.get(name) == "" {
				t.Errorf("%s is missing", name)
			}
		}
		c.answer(200, "")
		client.seen()
	})
}

// manyNames are more names than a header usually has fields, and manyFields
// what they name, with one field in the middle that stays.
func manyNames() (names []string, manyFields []string) {
	for i := range 2000 {
		name := fmt.Sprintf("x-%d", i)
		names = append(names, name)
		manyFields = append(manyFields, name, "1")
		if i == 1000 {
			manyFields = append(manyFields, "x-stays", "yes")
		}
	}
	return names, manyFields
}

func TestH5ConnectionThatNamesThousandsOfFields(t *testing.T) {
	names, list := manyNames()
	t.Run("request", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 1)
			var b strings.Builder
			b.WriteString("GET / HTTP/1.1\r\nHost: h\r\nConnection: " + strings.Join(names, ", ") + "\r\n")
			for i := 0; i < len(list); i += 2 {
				b.WriteString(list[i] + ": " + list[i+1] + "\r\n")
			}
			client := w.raw(b.String() + "\r\n")
			if w.front == engine { // bounds their number
				if got := client.all(); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
					t.Errorf("the client got %q", got)
				}
				k.silent()
				return
			}
			c := k.request()
			for name := range c.Fields.All() {
				if strings.HasPrefix(string(name), "x-") && string(name) != "x-stays" && string(name) != "x-request-id" && !strings.HasPrefix(string(name), "x-forwarded-") {
					t.Fatalf("%s came through", name)
				}
			}
			if c.get("x-stays") != "yes" {
				t.Error("x-stays did not come")
			}
			c.answer(200, "")
			client.seen()
		})
	})
	t.Run("answer", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 1)
			p := w.get("/")
			few := append(list[:1900:1900], "x-stays", "yes") // 1000 may come
			k.request().answer(200, "body", append([]string{"connection", strings.Join(names, ",")}, few...)...)
			h := p.wants(200, "body").Header
			if h.Get("X-Stays") != "yes" || h.Get("X-0") != "" || h.Get("X-949") != "" || len(h) > 10 {
				t.Errorf("%d fields came: %.200v", len(h), h)
			}
		})
	})
}

// The target * is no path: RFC 9110 has it for OPTIONS alone.
func TestTheTargetOfAllTheServer(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		for _, method := range []string{"GET", "POST", "HEAD", "PUT"} {
			if got, _ := w.raw(method + " * HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").seen(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("%s *: the client got %q", method, got)
			}
		}
		k.silent()
		client := w.raw("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		if c.get(":path") != "*" || c.get(":method") != "OPTIONS" {
			t.Errorf("the worker got %s %s", c.get(":method"), c.get(":path"))
		}
		c.answer(200, "", "allow", "GET")
		if got, _ := client.seen(); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "Allow: GET\r\n") {
			t.Errorf("the client got %q", got)
		}
	})
}

var hopFields = []string{
	"connection", "x-hop", "connection", "X-Second, close", "x-hop", "1", "x-second", "2", "keep-alive", "timeout=5", "proxy-connection", "x",
	"te", "trailers", "transfer-encoding", "chunked", "upgrade", "h2c", "trailer", "x-sum", "proxy-authorization", "Basic x", "x-stays", "yes",
}

func leaks(t *testing.T, h http.Header) {
	t.Helper()
	for _, name := range []string{"X-Hop", "X-Second", "Keep-Alive", "Proxy-Connection", "Te", "Upgrade", "Trailer", "Proxy-Authorization"} {
		if v := h.Values(name); v != nil {
			t.Errorf("%s: %q came through", name, v)
		}
	}
}

func TestH5HopByHopFieldsOfAnAnswerStay(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		k.request().answer(200, "body", hopFields...)
		got, closed := client.seen()
		for _, line := range strings.Split(strings.ToLower(got), "\r\n") {
			name, _, _ := strings.Cut(line, ":")
			if name != "x-stays" && slices.Contains(hopFields, name) {
				t.Errorf("%q came through", line)
			}
		}
		if closed || !strings.Contains(got, "X-Stays: yes\r\n") || !strings.Contains(got, "Content-Length: 4\r\n") {
			t.Errorf("the client got %q, closed: %v", got, closed)
		}
	})
}

func TestH5HopByHopFieldsOfAREPsAnswerStay(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.rep(zmtp.Options{})
		p := w.get("/")
		k.task().reply(repHead(200, hopFields...), "body")
		leaks(t, p.wants(200, "body").Header)
	})
}

func TestH5HopByHopFieldsOfInformationalHeadsAndTrailersStay(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		c.head(103, slices.Concat(hopFields, []string{"link", "</a.css>", "content-length", "7"})...)
		got, _ := client.seen()
		if !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\n") || !strings.Contains(got, "Link: </a.css>\r\n") {
			t.Errorf("the client got %q", got)
		}
		for _, name := range []string{"Hop", "Second", "Connection", "Transfer", "Upgrade", "Length", "Dialmux"} {
			if strings.Contains(got, name) {
				t.Errorf("%s in %q", name, got)
			}
		}
		c.head(200)
		c.data("body")
		c.trailers(slices.Concat(hopFields, []string{"x-sum", "42", "content-length", "9", "set-cookie", "a=b"})...)
		got, _ = client.seen()
		if strings.Contains(got, "Link") {
			t.Errorf("the fields of 103 came again: %q", got)
		}
		_, tail, _ := strings.Cut(got, "\r\n0\r\n")
		if !strings.Contains(tail, "X-Sum: 42\r\n") || strings.Contains(tail, "Length") || strings.Contains(tail, "Cookie") || strings.Contains(tail, "Transfer") {
			t.Errorf("the trailers: %q", tail)
		}
	})
}

func TestH9MethodsThatAreNotServed(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		for _, request := range []string{"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n"} {
			if got := w.raw(request).all(); !strings.HasPrefix(got, "HTTP/1.1 405 ") || !strings.Contains(got, "Allow: GET, ") {
				t.Errorf("%q: the client got %q", request, got)
			}
		}
		k.silent()
	})
}

func TestH8TrailersOfAnAnswer(t *testing.T) {
	for name, send := range map[string]func(c *call){
		"in pieces": func(c *call) {
			c.head(200)
			c.w.settle()
			c.data("body")
			c.w.settle()
			c.trailers("grpc-status", "0", "x-two", "a", "x-two", "b")
		},
		"all at once": func(c *call) {
			c.head(200)
			c.data("body")
			c.trailers("grpc-status", "0", "x-two", "a", "x-two", "b")
		},
		"without a body": func(c *call) {
			c.head(200)
			c.trailers("grpc-status", "0", "x-two", "a", "x-two", "b")
		},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(name+" over "+proto, func(t *testing.T) {
				story(t, router.Config{}, func(w *world) {
					k := w.join("w1", 1)
					p := w.get("/", over(proto))
					send(k.request())
					resp, _ := p.whole()
					if resp.Trailer.Get("Grpc-Status") != "0" || !slices.Equal(resp.Trailer["X-Two"], []string{"a", "b"}) {
						t.Errorf("trailers %v", resp.Trailer)
					}
				})
			})
		}
	}
}

func TestH8WrongTrailers(t *testing.T) {
	for name, tc := range map[string]struct{ field, value string }{
		"CR LF": {"x", "a\r\nb: c"}, "name": {"a b", "c"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				c := k.request()
				c.head(200)
				c.data("body")
				w.settle()
				c.trailers(tc.field, tc.value)
				if got, _ := client.seen(); !strings.HasSuffix(got, "4\r\nbody\r\n0\r\n\r\n") {
					t.Errorf("the client got %q", got)
				}
				if !strings.Contains(w.log.String(), "trailers are left out") {
					t.Error("it was not logged")
				}
			})
		})
	}
	t.Run("without END_STREAM", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 1)
			p := w.get("/")
			c := k.request()
			c.head(200)
			c.headers("x-sum", "42")
			c.cancelled(http2.ErrCodeProtocol)
			c.reset(frame.Code(0))
			p.left()
		})
	})
}
