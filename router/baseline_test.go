package router_test

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/router"
)

// TestO7GoroutinesReturnToTheirBaseline: after requests that came to every end
// there are as many goroutines as before. interop has the same of memory.
func TestO7GoroutinesReturnToTheirBaseline(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		once := func(req *http.Request) { req.Close = true }
		round := func(n int) {
			for i := range n {
				switch i % 8 {
				case 0:
					p := w.get("/", once)
					k.request().answer(200, "whole")
					p.wants(200, "whole")
					p.leave()
				case 1:
					p := w.send("POST", "/upload", strings.NewReader(strings.Repeat("x", 100<<10)), once)
					c := k.request()
					c.credit(1 << 20)
					w.settle()
					for {
						if f := k.next(); f.End() {
							break
						}
					}
					c.answer(200, "")
					p.wants(200, "")
					p.leave()
				case 2: // the client leaves before the head
					p := w.get("/left", once)
					c := k.request()
					p.leave()
					c.cancelled(http2.ErrCodeCancel)
					c.reset(http2.ErrCodeCancel)
				case 3: // amid the answer
					p := w.get("/left", once)
					c := k.request()
					c.head(200)
					c.data("some")
					p.head()
					p.leave()
					c.cancelled(http2.ErrCodeCancel)
					c.reset(http2.ErrCodeCancel)
				case 4: // amid its body
					body, _ := io.Pipe()
					p := w.send("POST", "/unfinished", body, once)
					c := k.request()
					p.leave()
					for k.next().Type != 3 {
					}
					c.reset(http2.ErrCodeCancel)
				case 5: // the worker breaks off
					p := w.get("/broken", once)
					c := k.request()
					c.head(200)
					c.data("some")
					p.head()
					w.settle()
					c.reset(http2.ErrCodeInternal)
					p.breaks()
					p.leave()
				case 6: // an upgrade
					client := w.raw(upgrade)
					c := k.request()
					c.headers(":status", "101")
					c.data("hello")
					c.end()
					client.seen()
					_ = client.nc.Close()
					w.settle()
					for k.busy() {
						if f := k.next(); f.End() {
							break
						}
					}
				default: // refused, malformed
					p := w.send(http.MethodTrace, "/", nil, once)
					p.wants(405, "")
					p.leave()
					client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nbad line\r\n\r\n")
					client.seen()
					_ = client.nc.Close()
				}
				w.settle()
			}
		}
		round(16)
		before, _ := w.goroutines()
		round(400)
		if before < 2 { // the router's, and the worker's
			t.Fatalf("%d goroutines before: they are not counted", before)
		}
		if after, stacks := w.goroutines(); after > before {
			t.Errorf("%d goroutines, and %d before 400 requests:\n%s", after, before, stacks)
		}
	})
}

// goroutines counts those of the story: the runtime has others, which come and go.
func (w *world) goroutines() (n int, stacks []byte) {
	w.settle()
	stacks = make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte(", synctest bubble ")), stacks
}

// busy tells whether the worker has a stream that has not ended.
func (k *worker) busy() bool {
	k.w.settle()
	return k.w.r.Workers()[0].Busy > 0
}
