package router_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/router"
)

const appFailed = `dialmux-sidecar; error=http_protocol_error; details="garbage"`

// sorry answers as a sidecar does whose app gave it nothing to answer with.
func (c *call) sorry(body string) { c.answer(502, body, "proxy-status", appFailed) }

// A worker that says it has no answer is as good as lost: what is safe to repeat goes to another one. Where it may not go, or nobody has a better
// answer, the client gets what the worker said of it.
func TestASorryAnswerIsTheLastResort(t *testing.T) {
	t.Run("another worker has a better one", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			a, b := w.weighted("a", 3, ""), w.join("b", 4) // it is a's turn again
			p := w.send("PUT", "/", strings.NewReader("the body"))
			c := a.request()
			w.settle()
			c.sorry("of a")
			again := b.request()
			if got := again.body(); got != "the body" {
				t.Errorf("the second worker got %q", got)
			}
			again.answer(200, "fine")
			if resp := p.wants(200, "fine"); resp.Header.Get("Proxy-Status") != "" {
				t.Errorf("%v", resp.Header)
			}
		})
	})
	t.Run("another worker has none either", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			a, b := w.join("a", 4), w.join("b", 4)
			p := w.get("/")
			a.request().sorry("of a")
			b.request().sorry("of b")
			resp := p.wants(502, "of b")
			if resp.Header.Get("Proxy-Status") != appFailed || resp.Header.Get("Dialmux-Worker") != "b" {
				t.Errorf("%v", resp.Header)
			}
			a.silent()
		})
	})
	t.Run("it is alone", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("a", 4)
			p := w.get("/")
			k.request().sorry("once")
			k.request().sorry("twice")
			if resp := p.wants(502, "twice"); resp.Header.Get("Proxy-Status") != appFailed {
				t.Errorf("%v", resp.Header)
			}
			k.silent()
		})
	})
	t.Run("the request may not be repeated", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			a, b := w.join("a", 4), w.join("b", 4)
			body, feed := io.Pipe()
			p := w.send("POST", "/", body)
			_, _ = io.WriteString(feed, "half of it")
			w.settle()
			a.request().sorry("of a")
			if resp := p.wants(502, "of a"); resp.Header.Get("Proxy-Status") != appFailed {
				t.Errorf("%v", resp.Header)
			}
			_ = feed.Close()
			b.silent()
		})
	})
	t.Run("it comes in pieces", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			a, b := w.join("a", 4), w.join("b", 4)
			p := w.get("/")
			c := a.request()
			c.head(502, "proxy-status", appFailed)
			c.data("of a")
			c.end()
			p.wants(502, "of a")
			b.silent()
		})
	})
	t.Run("its body is not kept", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			a, b := w.join("a", 4), w.join("b", 4)
			p := w.send("PUT", "/", strings.NewReader(strings.Repeat("x", 100_000)))
			c := a.request()
			c.credit(1 << 20)
			if got := len(c.body()); got != 100_000 {
				t.Errorf("the worker got %d bytes", got)
			}
			c.sorry("of a")
			p.wants(502, "of a")
			b.silent()
		})
	})
}

// It counts as a failure; a 502 that the app itself gives, or one that comes in pieces, does not, and is nobody's to repeat.
func TestSorryAnswersSetAWorkerAside(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(c *call)
		want   int // of 18 POSTs
	}{
		"sorry":                    {func(c *call) { c.sorry("") }, 5},
		"without a space":          {func(c *call) { c.answer(502, "", "proxy-status", "a;b=c;error=x") }, 5},
		"in a second line":         {func(c *call) { c.answer(502, "", "proxy-status", "cdn; fwd=miss", "x", "y", "proxy-status", appFailed) }, 5},
		"a 502 of the app's":       {func(c *call) { c.answer(502, "") }, 9},
		"and it has Proxy-Status":  {func(c *call) { c.answer(502, "", "proxy-status", "error; details=\"error=x\"") }, 9},
		"a 503 with the error":     {func(c *call) { c.answer(503, "", "proxy-status", appFailed) }, 9},
		"sorry, in several frames": {func(c *call) { c.head(502, "proxy-status", appFailed); c.data("x"); c.end() }, 9},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				bad, good := w.join("bad", 64), w.join("good", 64)
				failed := 0
				for range 18 {
					time.Sleep(110 * time.Millisecond) // it is passed over for 100 after each
					p := w.send("POST", "/", http.NoBody)
					w.settle()
					if parts, ok := good.inbox.peek(); ok {
						(&call{worker: good, Frame: parse(t, parts)}).answer(200, "")
						p.wants(200, "")
						continue
					}
					tc.answer(bad.request())
					if resp, _ := p.whole(); resp.StatusCode < 500 {
						t.Errorf("%d", resp.StatusCode)
					}
					failed++
				}
				if failed != tc.want {
					t.Errorf("%d of 18 failed, want %d", failed, tc.want)
				}
			})
		})
	}
}
