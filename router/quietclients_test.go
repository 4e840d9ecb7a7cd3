package router_test

import (
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// What clients do wrong does not fill the log.
func TestClientsThatBreakOffAreNotWarnedOf(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		k := w.join("w1", 1)
		for range 20 {
			client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
			c := k.request()
			c.head(200)
			c.data("early")
			w.settle()
			client.write("no chunk\r\n")
			w.settle()
			f := c.next()
			for f.Type == frame.Data {
				f = c.next()
			}
			if f.Type != frame.RSTStream {
				t.Fatalf("the worker got %v", f.Type)
			}
			c.end()
			w.settle()
		}
		if n := strings.Count(w.log.String(), "level=WARN"); n > 1 {
			t.Errorf("%d warnings", n)
		}
	})
}
