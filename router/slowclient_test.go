package router_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

func TestH14AClientThatTakesNothingIsCutOff(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		c.head(200, "content-length", fmt.Sprint(2<<20))
		window := int64(frame.ResponseWindow)
		c.fill(&window, 2<<20)
		time.Sleep(59 * time.Second)
		k.silent()
		time.Sleep(2 * time.Second)
		c.cancelled(http2.ErrCodeCancel)
		c.reset(http2.ErrCodeCancel)
		if got, closed := client.seen(); !closed || len(got) > 1<<20 {
			t.Errorf("closed: %v, after %d bytes", closed, len(got))
		}
		p := w.get("/next")
		k.request().answer(200, "the slot is free")
		p.wants(200, "the slot is free")
	})
}

// One that takes a little now and then is served to the end.
func TestASlowClientIsNotCutOff(t *testing.T) {
	const size = 1 << 20
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		c := k.request()
		c.head(200, "content-length", fmt.Sprint(size))
		window := int64(frame.ResponseWindow)
		sent := c.fill(&window, size)
		got, b := 0, make([]byte, 24<<10)
		for sent < size {
			time.Sleep(50 * time.Second)
			n, err := client.nc.Read(b)
			if err != nil {
				t.Fatalf("cut off after %d bytes: %v", got, err)
			}
			got += strings.Count(string(b[:n]), "y")
			sent += c.fill(&window, size-sent)
		}
		c.end()
		if got += strings.Count(client.all(), "y"); got != size {
			t.Errorf("%d bytes came of %d", got, size)
		}
	})
}

// Nothing to send is no fault of the client's.
func TestAnAnswerMayPause(t *testing.T) {
	for name, end := range map[string]func(c *call){
		"before the end":       func(c *call) { c.end() },
		"before the last byte": func(c *call) { c.send(frame.AppendData(nil, c.Stream, true, c.total+4), []byte("last")) },
		"before the trailers":  func(c *call) { c.trailers("x-sum", "42") },
		"before the next byte": func(c *call) {
			c.data("next")
			c.w.settle()
			c.end()
		},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw("")
				for range 2 {
					client.write("GET /events HTTP/1.1\r\nHost: h\r\n\r\n")
					c := k.request()
					c.head(200)
					c.data("event")
					client.seen()
					time.Sleep(time.Hour)
					end(c)
					if got, closed := client.seen(); closed || !strings.Contains(got, "\r\n0\r\n") && !strings.HasPrefix(got, "0\r\n") {
						t.Fatalf("after a pause the client got %q, closed: %v", got, closed)
					}
				}
			})
		})
	}
}
