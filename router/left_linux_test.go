package router_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// These are on TCP itself: what is tried is what the kernel says of a
// connection.

// unread are requests whose bodies the router does not read to their end while
// no worker wants them. What is left unread fits the receive window: behind
// more, the kernel gets no word of the end.
var unread = map[string]string{
	"Expect":     "PUT /left HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
	"large body": "PUT /left HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 100_000),
}

// overTCP serves the router's clients on loopback.
func overTCP(t *testing.T, w *world) (dial func(request string) net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(l, nil)
	return func(request string) net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := io.WriteString(nc, request); err != nil {
			t.Fatal(err)
		}
		return nc
	}
}

// until waits for a condition of the stream table.
func until(w *world, is func(router.StreamTable) bool) {
	for !is(w.r.Streams()) {
		time.Sleep(time.Millisecond)
	}
}

func TestAClientThatLeavesWithItsBodyUnreadWhileItWaits(t *testing.T) {
	for name, request := range unread {
		fronts(t, name, func(t *testing.T, front string) {
			w := newWorld(t, router.Config{QueueWait: time.Hour}, front, nil)
			dial := overTCP(t, w)
			stays := dial(strings.Replace(request, "/left", "/stays", 1))
			until(w, func(s router.StreamTable) bool { return s.Waiting == 1 })
			left := dial(request)
			until(w, func(s router.StreamTable) bool { return s.Waiting == 2 })
			_ = left.Close()
			until(w, func(s router.StreamTable) bool { return s.Waiting == 1 })
			k := w.native("w1")
			k.join(4)
			c := k.request()
			if c.get(":path") != "/stays" {
				t.Errorf("the worker got %s", c.get(":path"))
			}
			c.answer(200, "served")
			got := make([]byte, len("HTTP/1.1 200 OK"))
			if _, err := io.ReadFull(stays, got); err != nil || string(got) != "HTTP/1.1 200 OK" {
				t.Errorf("who stayed got %q, %v", got, err)
			}
		})
	}
}

func TestAClientThatLeavesWithItsBodyUnreadWhileItRuns(t *testing.T) {
	for name, request := range unread {
		fronts(t, name, func(t *testing.T, front string) {
			w := newWorld(t, router.Config{QueueWait: time.Hour}, front, nil)
			dial := overTCP(t, w)
			k := w.native("w1")
			k.join(4)
			client := dial(request)
			c := k.request()
			got := len(c.Payload)
			for strings.Contains(request, "xxx") && got < frame.RequestWindow/2 {
				got += len(k.next().Payload)
			}
			_ = client.Close()
			f := k.next()
			for f.Type == frame.Data && !f.End() {
				f = k.next()
			}
			if f.Type != frame.RSTStream || f.Code != http2.ErrCodeCancel || f.Stream != c.Stream {
				t.Fatalf("the worker got %v %v", f.Type, f.Code)
			}
			c.reset(http2.ErrCodeCancel)
			until(w, func(s router.StreamTable) bool { return s.Open == 0 })
			next := dial("GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
			k.request().answer(200, "served")
			answer := make([]byte, len("HTTP/1.1 200 OK"))
			if _, err := io.ReadFull(next, answer); err != nil {
				t.Error(fmt.Errorf("the next request: %w", err))
			}
		})
	}
}
