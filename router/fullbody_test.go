package router_test

import (
	"io"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// unknownLength is a body that is sent in chunks.
func unknownLength(n int) io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", n))) }

// A body that fills the first window to its last byte is whole without credit,
// though its end comes behind it.
func TestABodyAsLargeAsTheFirstWindow(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		r, body := io.Pipe()
		p := w.send("PUT", "/", r)
		if _, err := body.Write(make([]byte, frame.RequestWindow)); err != nil {
			t.Fatal(err)
		}
		w.settle() // it is read ahead
		_ = body.Close()
		if !p.waiting() {
			t.Fatal("answered without a worker")
		}
		for _, dies := range []bool{true, false} {
			k := w.join("w1", 1)
			c := k.request()
			got, f := len(c.Payload), c.Frame
			for !f.End() {
				f = k.next()
				got += len(f.Payload)
			}
			if got != frame.RequestWindow || f.Total != frame.RequestWindow {
				t.Errorf("%d bytes came, the total is said to be %d", got, f.Total)
			}
			if dies {
				k.die()
				continue
			}
			c.answer(200, "all of it")
		}
		p.wants(200, "all of it")
	})
}

// The byte beyond is kept, too: a worker that dies before it has given credit
// costs nothing.
func TestABodyLargerThanTheFirstWindow(t *testing.T) {
	const size = frame.RequestWindow + 1
	story(t, router.Config{}, func(w *world) {
		p := w.send("PUT", "/", unknownLength(size))
		p.waiting()
		for _, dies := range []bool{true, false} {
			k := w.join("w1", 1)
			c := k.request()
			if len(c.Payload) != frame.RequestWindow || c.End() {
				t.Fatalf("%d bytes came, end: %v", len(c.Payload), c.End())
			}
			k.silent()
			if dies {
				k.die()
				continue
			}
			if got := len(c.body()); got != size {
				t.Errorf("%d bytes came of %d", got, size)
			}
			c.answer(200, "all of it")
		}
		p.wants(200, "all of it")
	})
}

// Once the worker has asked for what is not kept, there is no second try.
func TestABodyLargerThanWhatIsKept(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		r, body := io.Pipe()
		p := w.send("PUT", "/", r)
		k := w.join("w1", 1)
		w.wg.Go(func() {
			_, _ = body.Write(make([]byte, 3*frame.RequestWindow))
			_ = body.Close()
		})
		c := k.request()
		c.credit(2 * frame.RequestWindow)
		w.settle()
		other := w.join("w2", 1)
		k.die()
		p.wants(502, "more of the body had been sent than is kept")
		other.silent()
	})
}
