package router_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dialmux/dialmux/router"
)

// An answer that breaks off midway never looks whole.
func TestAnAnswerThatBreaksOff(t *testing.T) {
	for name, pairs := range map[string][]string{"chunked": nil, "content-length": {"content-length", "100"}} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(name+" over "+proto, func(t *testing.T) {
				story(t, router.Config{}, func(w *world) {
					k := w.join("w1", 1)
					p := w.get("/", over(proto))
					c := k.request()
					c.head(200, pairs...)
					c.data("half")
					w.settle()
					k.die()
					if got := p.breaks(); got != "half" {
						t.Errorf("the client got %q", got)
					}
				})
			})
		}
		t.Run(name+" in bytes", func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				c := k.request()
				c.head(200, pairs...)
				c.data("half")
				w.settle()
				k.die()
				got, closed := client.seen()
				if !closed || !strings.Contains(got, "half") || strings.Contains(got, "\r\n0\r\n") {
					t.Errorf("the client got %q, closed: %v", got, closed)
				}
			})
		})
	}
}

// HTTP/1.0 has no sign of a whole body but the connection's orderly end, so
// this one is reset. Only TCP has resets.
func TestAnAnswerThatBreaksOffOverHTTP10(t *testing.T) { fronts(t, "", breaksOffOverHTTP10) }

func breaksOffOverHTTP10(t *testing.T, front string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, router.Config{}, front, nil)
	w.serve(l, nil)
	k := w.native("w1")
	k.join(1)

	ask := func() (*call, *bufio.Reader) {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		c := k.request()
		c.head(200)
		c.data("half\n")
		r := bufio.NewReader(nc)
		for line := ""; line != "half\n"; {
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return c, r
	}
	c, r := ask()
	c.end()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("a whole answer ended with %q, %v", rest, err)
	}
	_, r = ask()
	k.die()
	if _, err := io.ReadAll(r); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the answer ended with %v, want %v", err, syscall.ECONNRESET)
	}
}

// A handler around the router can give up, too.
func TestAHandlerBeforeTheRouterThatGivesUp(t *testing.T) {
	timeout := func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Second, "too slow") }
	storyBehind(t, router.Config{}, netHTTP, timeout, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		c := k.request()
		p.wants(503, "too slow")
		c.cancelled(8)
		c.answer(200, "too late")
	})
}
