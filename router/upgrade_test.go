package router_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

const upgrade = "GET /chat?room=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n\r\n"

// upgraded brings a client and its worker to where they speak the new protocol.
func (w *world) upgraded(k *worker) (*raw, *call) {
	w.t.Helper()
	client := w.raw(upgrade)
	c := k.request()
	if c.get(":method") != "GET" || c.get(":protocol") != "websocket" || c.get(":path") != "/chat?room=1" || c.get("sec-websocket-key") != "a2V5" || c.End() {
		w.t.Fatalf("the worker got %v, END_STREAM %v", c.Fields, c.End())
	}
	if c.get("upgrade") != "" || c.get("connection") != "" {
		w.t.Error("fields of one hop came through")
	}
	c.head(101, "sec-websocket-accept", "yes", "connection", "x", "content-length", "5")
	got, closed := client.seen()
	if closed || !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") || !strings.HasSuffix(got, "\r\n\r\n") {
		w.t.Fatalf("the client got %q, closed: %v", got, closed)
	}
	lower := strings.ToLower(got)
	for _, field := range []string{"\r\nconnection: upgrade\r\n", "\r\nupgrade: websocket\r\n", "\r\nsec-websocket-accept: yes\r\n"} {
		if strings.Count(lower, field) != 1 {
			w.t.Errorf("%q is missing in %q", field, got)
		}
	}
	for _, field := range []string{"content-length", "transfer-encoding", "connection: x"} {
		if strings.Contains(lower, field) {
			w.t.Errorf("%s in %q", field, got)
		}
	}
	return client, c
}

// said reads what the client says, up to n bytes, and gives credit back.
func (c *call) said(n int) (words string, end bool) {
	c.t.Helper()
	for len(words) < n {
		f := c.next()
		if f.Type != frame.Data || f.Stream != c.Stream {
			c.t.Fatalf("got %v on stream %d, want DATA on %d", f.Type, f.Stream, c.Stream)
		}
		if words += string(f.Payload); f.End() {
			return words, true
		}
		c.credit(uint64(frame.Cost(len(f.Payload))))
	}
	return words, false
}

func TestH9UpgradeCarriesBothDirections(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client, c := w.upgraded(k)
		for _, word := range []string{"one", "two", strings.Repeat("long ", 100_000)} {
			w.wg.Go(func() { client.write(word) })
			if got, _ := c.said(len(word)); got != word {
				t.Fatalf("the worker got %.20q of %d bytes, want %.20q of %d", got, len(got), word, len(word))
			}
			c.data("heard")
			if got, _ := client.seen(); got != "heard" {
				t.Fatalf("the client got %q", got)
			}
		}
		c.data("bye")
		c.end()
		if got := client.all(); got != "bye" {
			t.Errorf("the client got %q", got)
		}
	})
}

func TestH9UpgradeHalfClosed(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client, c := w.upgraded(k)
		client.write("last words")
		if err := client.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, end := c.said(1 << 20); got != "last words" || !end {
			t.Errorf("the worker got %q, end: %v", got, end)
		}
		time.Sleep(time.Hour) // whoever has closed one half can listen for long
		c.data("still here")
		c.end()
		if got := client.all(); got != "still here" {
			t.Errorf("the client got %q", got)
		}
	})
}

func TestH9UpgradeEndedByTheWorkerInItsFirstFrame(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw(upgrade)
		c := k.request()
		c.answer(101, "short")
		if got := client.all(); !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "\r\n\r\nshort") {
			t.Errorf("the client got %q", got)
		}
	})
}

func TestH9UpgradeRefused(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw(upgrade)
		k.request().answer(403, "no")
		got, closed := client.seen()
		if !strings.HasPrefix(got, "HTTP/1.1 403 ") || !strings.HasSuffix(got, "no") || closed || strings.Contains(got, "Connection: close") {
			t.Fatalf("the client got %q, closed: %v", got, closed)
		}
		client.write("GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
		k.request().answer(200, "next")
		if got, _ := client.seen(); !strings.HasSuffix(got, "next") {
			t.Errorf("the client got %q", got)
		}
	})
}

func TestH9UpgradeThatIsNone(t *testing.T) {
	for name, request := range map[string]string{
		"h2c":                    "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n",
		"not named":              "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.0":               "GET / HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"POST":                   "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
		"with a body":            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
		"Connection names alone": "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw(request)
				c := k.request()
				if c.get(":protocol") != "" || c.get("upgrade") != "" || c.get("http2-settings") != "" {
					t.Errorf("the worker got %v", c.Fields)
				}
				c.head(101) // unasked: W2
				got, _ := client.seen()
				if !strings.HasPrefix(got, "HTTP/1.") || !strings.Contains(got, " 502 Bad Gateway\r\n") {
					t.Errorf("the client got %q", got)
				}
				f := c.next()
				for f.Type == frame.Data { // the body
					f = c.next()
				}
				if f.Type != frame.RSTStream || f.Code != http2.ErrCodeProtocol {
					t.Errorf("the worker got %v %v, want RST_STREAM PROTOCOL_ERROR", f.Type, f.Code)
				}
				c.end()
			})
		})
	}
}

func TestH9UpgradesAreChosen(t *testing.T) {
	story(t, router.Config{Upgrades: []string{"echo"}}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, ECHO/1, Echo\r\n\r\n")
		c := k.request()
		if c.get(":protocol") != "echo" {
			t.Errorf(":protocol %q", c.get(":protocol"))
		}
		c.answer(200, "")
		client.seen()
	})
	if _, err := router.New(router.Config{Upgrades: []string{"h2c"}}); err == nil {
		t.Error("h2c is taken")
	}
}

func TestH9UpgradeIsNotForREP(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		w.rep(zmtp.Options{})
		client := w.raw(upgrade)
		if got, _ := client.seen(); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Errorf("the client got %q", got)
		}
	})
}

func TestH15UpgradedClientThatLeavesCancelsItsStream(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client, c := w.upgraded(k)
		_ = client.nc.Close()
		if got, end := c.said(1); got != "" || !end {
			t.Errorf("the worker got %q, end: %v", got, end)
		}
		c.data("anybody there?")
		c.cancelled(http2.ErrCodeCancel)
		c.end()
	})
}

// unupgradable is a ResponseWriter of a handler that hides what is behind it.
type unupgradable struct{ http.ResponseWriter }

func TestH9UpgradeBehindAHandlerThatCannot(t *testing.T) {
	around := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { next.ServeHTTP(unupgradable{w}, req) })
	}
	storyBehind(t, router.Config{}, netHTTP, around, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw(upgrade)
		c := k.request()
		c.head(101)
		got, _ := client.seen()
		wantsStatus(t, got, "501", "http_request_error")
		c.cancelled(http2.ErrCodeCancel)
		c.end0()
	})
}

// What the worker says last arrives, though it has not read all: closing over
// that would be a reset.
func TestH9UpgradeEndedByTheWorkerAmidWhatTheClientSays(t *testing.T) {
	fronts(t, "", func(t *testing.T, front string) {
		w := newWorld(t, router.Config{}, front, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.serve(l, nil)
		k := w.ready("w1", "DEALER")
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, upgrade); err != nil {
			t.Fatal(err)
		}
		c := k.request()
		c.head(101)
		if _, err := io.ReadFull(nc, make([]byte, len("HTTP/1.1 101 "))); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write(make([]byte, 200<<10)); err != nil { // more than the worker's window
			t.Fatal(err)
		}
		c.fillWindow()
		c.data("bye")
		c.end()
		got, err := io.ReadAll(nc)
		if err != nil || !strings.HasSuffix(string(got), "bye") {
			t.Errorf("the client got %q, %v", got, err)
		}
	})
}

func TestWorkerThatIsLostBreaksTheUpgradedConnection(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k, other := w.join("w1", 1), w.native("w2")
		client, c := w.upgraded(k)
		other.join(1)
		c.data("half a mess")
		w.settle()
		k.die()
		got, closed := client.seen()
		if got != "half a mess" || !closed {
			t.Errorf("the client got %q, closed: %v", got, closed)
		}
		other.silent()
	})
}

func TestDrainLeavesUpgradedConnectionsTheGraceTime(t *testing.T) {
	story(t, router.Config{Drain: time.Minute}, func(w *world) {
		k := w.join("w1", 1)
		client, c := w.upgraded(k)
		began := time.Now()
		w.stop()
		if f := k.next(); f.Type != frame.GoAway {
			t.Errorf("the worker got %v, want GOAWAY", f.Type)
		}
		client.write("ping")
		if got, _ := c.said(4); got != "ping" {
			t.Errorf("the worker got %q", got)
		}
		<-w.ended
		if grace := time.Since(began); grace < time.Minute || grace > 61*time.Second {
			t.Errorf("Run ended after %v", grace)
		}
		if strings.Contains(w.log.String(), "requests still run") {
			t.Error("an upgraded connection counts as a request that was cut")
		}
	})
}

func TestShutdownDoesNotCountUpgradedConnections(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, o *port) {
		k := w.join("w1", 1)
		client, c := w.upgraded(k)
		e := o.end(time.Minute)
		if f := k.next(); f.Type != frame.GoAway {
			w.t.Errorf("the worker got %v, want GOAWAY", f.Type)
		}
		client.write("ping")
		if got, _ := c.said(4); got != "ping" {
			w.t.Errorf("the worker got %q", got)
		}
		e.wants(w.t, 0, time.Minute, time.Minute+late)
		c.cancelled(http2.ErrCodeCancel)
		c.end()
	})
}
