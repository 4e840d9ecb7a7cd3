package router_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// malformed are frames that say which stream they are about, and are wrong
// otherwise.
var malformed = []struct {
	name string
	head func(id uint64) []byte
	ends bool // the stream, for the worker
	code frame.Code
}{
	{"a status that is a number", encoded(1, 0, []any{":status", 200}), false, http2.ErrCodeProtocol},
	{"the same at the end", encoded(1, 1, []any{":status", 200}, 0), true, http2.ErrCodeProtocol},
	{"an odd list", encoded(1, 0, []any{":status", "200", "x"}), false, http2.ErrCodeProtocol},
	{"fields in a map", encoded(1, 1, map[string]string{":status": "200"}, 0), true, http2.ErrCodeProtocol},
	{"too few elements", encoded(1, 0), false, http2.ErrCodeFrameSize},
	{"an end without a total", encoded(1, 1, []any{":status", "200"}), true, http2.ErrCodeFrameSize},
	{"more bytes behind", func(id uint64) []byte { return append(encoded(1, 0, []any{":status", "200"})(id), 0xc0) }, false, http2.ErrCodeFrameSize},
	{"a head over 64 KiB", encoded(1, 0, []any{":status", "200", "x", strings.Repeat("x", frame.MaxHead)}), false, http2.ErrCodeFrameSize},
	{"a head over 64 KiB at the end", encoded(1, 1, []any{":status", "200", "x", strings.Repeat("x", frame.MaxHead)}, 0), true, http2.ErrCodeFrameSize},
	{"RST_STREAM without a reason", encoded(3, 0, 8), true, http2.ErrCodeFrameSize},
	{"credit below 0", encoded(8, 0, -1), false, http2.ErrCodeProtocol},
	{"credit below 0, with a flag that means nothing here", encoded(8, 1, -1), false, http2.ErrCodeProtocol},
}

// encoded is a head in the words of another implementation.
func encoded(typ, flags int, rest ...any) func(id uint64) []byte {
	return func(id uint64) []byte {
		b, err := msgpack.Marshal(append([]any{typ, id, flags}, rest...))
		if err != nil {
			panic(err)
		}
		return b
	}
}

func (c *call) malformed(head func(id uint64) []byte) {
	c.t.Helper()
	c.send(head(c.Stream))
}

func TestAMalformedFrameCostsItsStream(t *testing.T) {
	for _, tc := range malformed {
		t.Run(tc.name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				a := w.join("a", 2)
				other := w.get("/other")
				running := a.request()
				p := w.get("/") // it could be repeated
				c := a.request()
				b := w.join("b", 1)

				c.malformed(tc.head)
				p.wants(502, "broke the protocol")
				busy := 1
				if !tc.ends {
					c.cancelled(tc.code)
					busy = 2 // until the worker has ended the stream
				}
				a.silent()
				b.silent()
				if got := w.r.Workers()[0]; got.Busy != busy {
					t.Errorf("%d slots are taken, want %d", got.Busy, busy)
				}
				if !tc.ends {
					c.reset(http2.ErrCodeCancel)
				}
				running.answer(200, "went on")
				other.wants(200, "went on")
				w.settle()
				if got := w.r.Workers(); len(got) != 2 || got[0].Busy != 0 {
					t.Errorf("workers at the end: %+v", got)
				}
				if n := strings.Count(w.log.String(), "worker broke the protocol on a stream"); n != 1 {
					t.Errorf("%d lines about it in the log, want 1", n)
				}
			})
		})
	}
}

// Amid its answer it shows as one that breaks off.
func TestAMalformedFrameAmidAnAnswer(t *testing.T) {
	for _, tc := range malformed {
		t.Run(tc.name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				p := w.get("/")
				c := k.request()
				c.head(200)
				c.data("half")
				p.head()
				w.settle()
				c.malformed(tc.head)
				if got := p.breaks(); got != "half" {
					t.Errorf("the client got %q", got)
				}
				if !tc.ends {
					c.cancelled(tc.code)
					c.reset(http2.ErrCodeCancel)
				}
				p = w.get("/next")
				k.request().answer(200, "served")
				p.wants(200, "served")
			})
		})
	}
}

// Malformed frames for streams that nobody has open cost nothing.
func TestMalformedFramesForNoStream(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		c := k.request()
		for i, tc := range malformed {
			k.send(tc.head(c.Stream + 1 + uint64(i)))
		}
		c.answer(200, fmt.Sprint("after ", len(malformed)))
		p.wants(200, fmt.Sprint("after ", len(malformed)))
		k.silent()
		if got := w.r.Streams().Dropped; got != uint64(len(malformed)) {
			t.Errorf("%d were counted as dropped, %d were sent", got, len(malformed))
		}
	})
}
