package router_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// F1: an answer is whole once the client has all that was declared, whatever
// becomes of the worker behind it. The connection serves the next request.
func TestF1AWorkerThatDiesBehindAWholeAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		method, body string
		status       int
	}{
		"its length came":     {"GET", "done", 200},
		"HEAD has no body":    {"HEAD", "", 200},
		"204 has no body":     {"GET", "", 204},
		"a length of nothing": {"GET", "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				a := w.join("a", 4)
				client := w.raw(tc.method + " / HTTP/1.1\r\nHost: h\r\n\r\n")
				c := a.request()
				length := "4"
				if tc.body == "" && tc.method == "GET" {
					length = "0"
				}
				if tc.status == 204 {
					c.head(tc.status)
				} else {
					c.head(tc.status, "content-length", length)
				}
				if tc.body != "" {
					c.data(tc.body)
				}
				w.settle()
				a.die()
				got, closed := client.seen()
				if closed || !strings.HasSuffix(got, "\r\n\r\n"+tc.body) || strings.Contains(got, "Connection: close") {
					t.Fatalf("the client got %q, closed: %v", got, closed)
				}
				client.write("GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
				w.join("b", 4).request().answer(200, "next")
				if got, closed := client.seen(); closed || !strings.HasSuffix(got, "next") {
					t.Errorf("then the client got %q, closed: %v", got, closed)
				}
			})
		})
	}
}

// A worker that watches the deadline gives up when the router does.
func TestAWorkerThatGivesUpAtTheDeadline(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("a", 4)
		p := w.get("/", timeout("Request-Timeout", "1"))
		c := k.request()
		w.settle()
		if got := c.get("request-timeout"); got != "1.000" {
			t.Errorf("it was told %s", got)
		}
		time.Sleep(time.Second)
		c.reset(http2.ErrCodeInternal) // in the same moment as the alarm
		p.wants(504, "the request's time was over")
		k.asked() // the router may have been first, and said so
		p = w.get("/", timeout("Request-Timeout", "1"))
		c = k.request()
		time.Sleep(999 * time.Millisecond)
		c.reset(http2.ErrCodeInternal)
		p.wants(502, "the worker gave the request up")
	})
}

// HTTP/2 tells that a body is over behind its last byte, which may be all that was declared.
func TestAnUploadOverHTTP2ToAREP(t *testing.T) {
	for _, size := range []int{100, 64 << 10, 64<<10 + 1, 200_000} {
		storyBehind(t, router.Config{}, netHTTP, nil, func(w *world) {
			k := w.rep(zmtp.Options{})
			began := time.Now()
			p := w.send("PUT", "/", strings.NewReader(strings.Repeat("x", size)), over("HTTP/2"), contentLength(int64(size)))
			j := k.task()
			if len(j.body) != size || time.Since(began) > time.Second {
				t.Errorf("after %v the REP got %d bytes of %d", time.Since(began), len(j.body), size)
			}
			j.reply("", "got it")
			p.wants(200, "got it")
		})
	}
}
