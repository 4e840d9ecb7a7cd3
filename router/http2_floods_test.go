package router_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// dispatched is how many requests of one connection a worker may get that the
// client cancels: 500 are forgiven, and 250 may be on their way.
const dispatched = 750

// patientWorker answers GET at once and nothing else, lets go of what is
// cancelled, and counts.
func patientWorker(w *world, k *worker) (asked, data *atomic.Int64) {
	asked, data = new(atomic.Int64), new(atomic.Int64)
	w.wg.Go(func() {
		for {
			select {
			case <-k.done:
				return
			case <-k.inbox.arrive:
			}
			for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
				f := parse(w.t, parts)
				c := &call{worker: k, Frame: f}
				switch f.Type {
				case frame.RSTStream:
					c.reset(http2.ErrCodeCancel)
				case frame.Data:
					data.Add(1)
				case frame.Headers:
					if asked.Add(1); c.get(":method") == http.MethodGet {
						c.answer(200, "swift")
					}
				}
			}
		}
	})
	return asked, data
}

// swift checks that c is served by patientWorker.
func (c *h2client) swift() {
	c.t.Helper()
	stream := c.ask(true, ordinary()...)
	if h := c.heard(); h.answers[stream] != "200 swift" || h.goAway {
		c.t.Errorf("an honest client got %+v", h)
	}
}

// cancels are ways to have a stream reset: the client's own, and frames that
// make the server do it.
var cancels = map[string]func(c *h2client, stream uint32) error{
	"RST_STREAM":                      func(c *h2client, stream uint32) error { return c.WriteRSTStream(stream, http2.ErrCodeCancel) },
	"WINDOW_UPDATE that overflows":    func(c *h2client, stream uint32) error { return c.WriteWindowUpdate(stream, 1<<31-1) },
	"WINDOW_UPDATE of 0":              func(c *h2client, stream uint32) error { return c.WriteWindowUpdate(stream, 0) },
	"DATA on a half-closed stream":    func(c *h2client, stream uint32) error { return c.WriteData(stream, true, []byte("x")) },
	"HEADERS on a half-closed stream": func(c *h2client, stream uint32) error { return c.trailers(stream) },
	"PRIORITY that depends on itself": func(c *h2client, stream uint32) error {
		return c.WritePriority(stream, http2.PriorityParam{StreamDep: stream})
	},
	"PRIORITY of another size": func(c *h2client, stream uint32) error {
		return c.WriteRawFrame(http2.FramePriority, 0, stream, []byte{0})
	},
	"DATA beyond the content-length":   func(c *h2client, stream uint32) error { return c.WriteData(stream, false, []byte("too long")) },
	"a pseudo field in the trailers":   func(c *h2client, stream uint32) error { return c.trailers(stream, ":path", "/") },
	"an illegal field in the trailers": func(c *h2client, stream uint32) error { return c.trailers(stream, "X", "y") },
	"DATA that is all padding and more": func(c *h2client, stream uint32) error {
		return c.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, stream, []byte{9})
	},
}

func (c *h2client) trailers(stream uint32, fields ...string) error {
	return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.encode(fields...), EndStream: true, EndHeaders: true})
}

func TestH12RapidReset(t *testing.T) {
	for name, cancel := range cancels {
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, body to come: %v", name, open), func(t *testing.T) {
				portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
					asked, _ := patientWorker(w, w.join("w1", 1024))
					other, c := w.dialHTTP2(), w.dialHTTP2()
					other.swift()
					fields := but(":method", "POST")
					if open {
						fields = append(fields, "content-length", "3")
					}
					for range dispatched + 1 {
						stream, err := c.open(!open, fields...)
						w.settle() // the worker has it
						if err != nil || cancel(c, stream) != nil {
							break
						}
						w.settle()
					}
					if h := c.heard(); !h.goAway {
						w.t.Errorf("no GOAWAY came, and %d resets", len(h.resets))
					}
					if n := asked.Load(); n > dispatched {
						w.t.Errorf("the worker got %d requests, want at most %d", n, dispatched)
					}
					other.swift()
					time.Sleep(2 * time.Second)
					if h := c.heard(); !h.closed {
						w.t.Error("the connection is still open")
					}
					w.dialHTTP2().swift()
				})
			})
		}
	}
}

// An embedded Router has its connections counted by ConnContext.
func TestH12RapidResetBehindAServerOfOnesOwn(t *testing.T) {
	storyBehind(t, router.Config{}, netHTTP, nil, func(w *world) {
		asked, _ := patientWorker(w, w.join("w1", 1024))
		c := w.dialHTTP2()
		for range dispatched + 1 {
			stream := c.ask(true, but(":method", "POST")...)
			w.settle()
			if err := c.WriteRSTStream(stream, http2.ErrCodeCancel); err != nil {
				break
			}
			w.settle()
		}
		if h := c.heard(); !h.goAway || asked.Load() > dispatched {
			w.t.Errorf("GOAWAY: %v; the worker got %d requests", h.goAway, asked.Load())
		}
		w.dialHTTP2().swift()
	})
}

// All at once, which is faster than the router can begin to serve them.
func TestH12RapidResetOf10000Requests(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		asked, _ := patientWorker(w, w.join("w1", 1024))
		other, c := w.dialHTTP2(), w.dialHTTP2()
		other.swift()
		requests := 10_000
		if raced { // a second for each thousand
			requests = 2000
		}
		for range requests {
			stream, err := c.open(true, but(":method", "POST")...)
			if err != nil || c.WriteRSTStream(stream, http2.ErrCodeCancel) != nil {
				break
			}
		}
		other.swift()
		if n := asked.Load(); n > dispatched+2 {
			w.t.Errorf("the worker got %d requests, want at most %d", n, dispatched)
		}
	})
}

// Who leaves a page with all that is open, or cancels at a moderate rate for
// long, is served on.
func TestAClientThatCancelsNowAndThenIsServed(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		patientWorker(w, w.join("w1", 1024))
		c := w.dialHTTP2()
		cancel := func(n int) {
			var streams []uint32
			for range n {
				streams = append(streams, c.ask(true, but(":method", "POST")...))
			}
			w.settle()
			for _, stream := range streams {
				if err := c.WriteRSTStream(stream, http2.ErrCodeCancel); err != nil {
					w.t.Fatal(err)
				}
			}
			w.settle()
		}
		cancel(250)
		c.swift()
		for range 1000 {
			cancel(1)
			time.Sleep(25 * time.Millisecond)
		}
		c.swift()
		cancel(240)
		c.swift()
	})
}

// The answers to the streams that run are not lost when a connection is told to go.
func TestH12GOAWAYLetsRunningStreamsEnd(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		k := w.join("w1", 1024)
		c := w.dialHTTP2()
		running := c.ask(true, but(":path", "/running")...)
		q := k.request()
		patientWorker(w, k)
		refused := uint32(0)
		for range 1000 {
			refused = c.ask(true, but(":method", "POST")...)
			w.settle()
			if err := c.WriteRSTStream(refused, http2.ErrCodeCancel); err != nil {
				w.t.Fatal(err)
			}
			w.settle()
		}
		if h := c.heard(); !h.goAway || h.code != http2.ErrCodeNo || h.closed {
			w.t.Fatalf("got %+v, want GOAWAY", h)
		}
		q.answer(200, "whole")
		if h := c.heard(); h.answers[running] != "200 whole" {
			w.t.Errorf("got %+v", h)
		}
	})
}

// floods are many frames of a kind. Each goes on until the router has had
// enough, or for as long as it is told to.
var floods = []struct {
	name   string
	frames int
	send   func(c *h2client, stream uint32, i int) error
	ends   bool // the connection
}{
	{"CONTINUATION", 2000, func(c *h2client, stream uint32, i int) error {
		block := c.encode("x-"+fmt.Sprint(i), strings.Repeat("x", 1000))
		if i == 0 {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream + 2, BlockFragment: block})
		}
		return c.WriteContinuation(stream+2, false, block)
	}, true},
	{"CONTINUATION of an illegal field", 2000, func(c *h2client, stream uint32, i int) error {
		block := c.encode("X", "y")
		if i == 0 {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream + 2, BlockFragment: block})
		}
		return c.WriteContinuation(stream+2, false, block)
	}, true},
	{"CONTINUATION of nothing", 2000, func(c *h2client, stream uint32, i int) error {
		if i == 0 {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream + 2})
		}
		return c.WriteContinuation(stream+2, false, nil)
	}, true},
	{"SETTINGS", 2000, func(c *h2client, _ uint32, i int) error {
		return c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i)})
	}, true},
	{"SETTINGS with many in a frame", 10, func(c *h2client, _ uint32, _ int) error {
		var many []http2.Setting
		for i := range 2000 {
			many = append(many, http2.Setting{ID: http2.SettingID(1000 + i)})
		}
		return c.WriteSettings(many...)
	}, true},
	{"SETTINGS acknowledged twice", 2, func(c *h2client, _ uint32, _ int) error { return c.WriteSettingsAck() }, true},
	{"PING", 2000, func(c *h2client, _ uint32, i int) error {
		var data [8]byte
		binary.BigEndian.PutUint64(data[:], uint64(i))
		return c.WritePing(false, data)
	}, true},
	{"empty DATA", 2000, func(c *h2client, stream uint32, _ int) error { return c.WriteData(stream, false, nil) }, true},
	{"DATA of padding", 2000, func(c *h2client, stream uint32, _ int) error {
		return c.WriteDataPadded(stream, false, nil, make([]byte, 255))
	}, false},
	{"PRIORITY", 2000, func(c *h2client, _ uint32, i int) error {
		return c.WritePriority(uint32(2*i+1001), http2.PriorityParam{Weight: 1})
	}, true},
	{"WINDOW_UPDATE of 1", 2000, func(c *h2client, stream uint32, _ int) error { return c.WriteWindowUpdate(stream, 1) }, true},
	{"WINDOW_UPDATE of 0", 1, func(c *h2client, _ uint32, _ int) error { return c.WriteWindowUpdate(0, 0) }, true},
	{"WINDOW_UPDATE that overflows", 2, func(c *h2client, _ uint32, _ int) error { return c.WriteWindowUpdate(0, 1<<31-1) }, true},
	{"unknown frames", 2000, func(c *h2client, stream uint32, _ int) error {
		return c.WriteRawFrame(0xbe, 0xff, stream, []byte("grease"))
	}, true},
}

func TestH12Floods(t *testing.T) {
	for _, flood := range floods {
		t.Run(flood.name, func(t *testing.T) {
			portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
				asked, data := patientWorker(w, w.join("w1", 1024))
				other, c := w.dialHTTP2(), w.dialHTTP2()
				other.swift()
				stream := c.ask(false, but(":method", "POST")...)
				w.settle()
				asked.Store(0)
				before := heapInUse()
				for i := range flood.frames {
					if flood.send(c, stream, i) != nil {
						break
					}
				}
				h := c.heard()
				if after := heapInUse(); after > before+8<<20 {
					w.t.Errorf("the heap held %d bytes before, and %d after", before, after)
				}
				if ended := h.closed || h.goAway && h.code != http2.ErrCodeNo; ended != flood.ends {
					w.t.Errorf("the connection was ended: %v, want %v; %v", ended, flood.ends, h.code)
				}
				if asked.Load() != 0 || data.Load() != 0 {
					w.t.Errorf("the worker got %d requests and %d pieces of a body", asked.Load(), data.Load())
				}
				other.swift()
				_ = c.nc.Close()
				time.Sleep(2 * time.Second) // GOAWAY lingers
			})
		})
	}
}

// Who makes the router answer and does not read loses its connection.
func TestH12PINGsOfAClientThatDoesNotRead(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		patientWorker(w, w.join("w1", 1024))
		other := w.dialHTTP2()
		c := w.raw(http2.ClientPreface)
		fr := http2.NewFramer(c.nc, nil)
		if err := fr.WriteSettings(); err != nil {
			w.t.Fatal(err)
		}
		before, sent := heapInUse(), 0
		for fr.WritePing(false, [8]byte{}) == nil {
			sent++
			if sent > 1_000_000 {
				w.t.Fatal("a million PINGs were taken, and no answer")
			}
		}
		w.settle()
		if after := heapInUse(); after > before+8<<20 {
			w.t.Errorf("the heap held %d bytes before, and %d after %d PINGs", before, after, sent)
		}
		other.swift()
	})
}

// H10 HPACK makes much of little.
func TestH10HeadersOverHTTP2(t *testing.T) {
	many := func(n int, field func(i int) (name, value string)) (fields []string) {
		for i := range n {
			name, value := field(i)
			fields = append(fields, name, value)
		}
		return ordinary(fields...)
	}
	for _, tc := range []struct {
		name   string
		fields []string
		status string // "": the connection ends, or 431
	}{
		{"bomb", many(12_000, func(int) (string, string) { return "x-bomb", strings.Repeat("x", 3000) }), "431"},
		{"bomb of cookies", many(12_000, func(int) (string, string) { return "cookie", "a=" + strings.Repeat("x", 3000) }), "431"},
		{"4,000 cookies", many(4000, func(i int) (string, string) { return "cookie", fmt.Sprintf("c%d=v", i) }), ""},
		{"10,000 fields", many(10_000, func(i int) (string, string) { return fmt.Sprintf("x-%d", i), "v" }), ""},
		{"10,000 equal fields", many(10_000, func(int) (string, string) { return "x", "v" }), "431"},
		{"a value of 1 MiB", ordinary("x", strings.Repeat("x", 1<<20)), ""},
		{"a value of 80 KiB", ordinary("x", strings.Repeat("\xff", 80<<10)), ""},
		{"a target of 40 KiB", but(":path", "/"+strings.Repeat("a", 40<<10)), "414"},
		{"1,000 cookies", many(1000, func(i int) (string, string) { return "cookie", fmt.Sprintf("c%d=v", i) }), "200"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
				asked, _ := patientWorker(w, w.join("w1", 4))
				other, c := w.dialHTTP2(), w.dialHTTP2()
				other.swift()
				asked.Store(0)
				before := heapInUse()
				stream, err := c.open(true, tc.fields...)
				if err != nil && tc.status != "" {
					w.t.Fatal(err)
				}
				h := c.heard()
				if after := heapInUse(); after > before+8<<20 {
					w.t.Errorf("the heap held %d bytes before, and %d after", before, after)
				}
				status, _, _ := strings.Cut(h.answers[stream], " ")
				switch {
				case tc.status == "" && status != "431" && (!h.goAway || h.code == http2.ErrCodeNo), tc.status != "" && status != tc.status:
					w.t.Errorf("got %q, GOAWAY: %v %v, want %q", h.answers[stream], h.goAway, h.code, tc.status)
				}
				if status != "200" && asked.Load() != 0 {
					w.t.Errorf("the worker got %d requests", asked.Load())
				}
				if tc.status != "" {
					c.swift()
				}
				other.swift()
			})
		})
	}
}
