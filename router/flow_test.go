package router_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

func TestTheFirstByteLeavesWhenTheWorkerSendsIt(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				p := w.get("/events", over(proto))
				c := k.request()
				c.head(200, "content-type", "text/event-stream")
				resp := p.head() // before there is any body
				if resp.Proto[:len(proto)] != proto {
					t.Fatalf("%s spoken", resp.Proto)
				}
				buf := make([]byte, 100)
				for i := range 3 {
					c.data(fmt.Sprintf("data: %d\n\n", i))
					n, err := resp.Body.Read(buf)
					if err != nil || string(buf[:n]) != fmt.Sprintf("data: %d\n\n", i) {
						t.Fatalf("read %q, %v", buf[:n], err)
					}
				}
				c.end()
				p.wants(200, "")
			})
		})
	}
}

// fill sends body bytes as long as the window and the limit allow, and returns
// how many.
func (c *call) fill(window *int64, limit int) (sent int) {
	c.t.Helper()
	for progress := true; progress; {
		progress = false
		for *window >= 16<<10 && sent+16<<10 <= limit {
			c.data(strings.Repeat("y", 16<<10))
			*window -= 16 << 10
			sent += 16 << 10
		}
		c.w.settle()
		for parts, ok := c.inbox.peek(); ok; parts, ok = c.inbox.peek() {
			f := parse(c.t, parts)
			if f.Type != frame.WindowUpdate || f.Stream != c.Stream {
				c.t.Fatalf("got %v on %d, want WINDOW_UPDATE", f.Type, f.Stream)
			}
			*window += int64(f.Credit)
			progress = true
		}
	}
	return sent
}

func TestH14ASlowClientHoldsUpItsOwnStreamOnly(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		slow := w.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		c := k.request()
		c.head(200, "content-length", fmt.Sprint(2<<20))
		window := int64(frame.ResponseWindow)
		sent := c.fill(&window, 2<<20)
		if sent < frame.ResponseWindow || sent > frame.ResponseWindow+256<<10 {
			t.Errorf("%d bytes were taken for a client that reads nothing", sent)
		}
		p := w.get("/other")
		other := k.request()
		other.answer(200, "swift")
		p.wants(200, "swift")

		got := 0
		for sent < 2<<20 {
			b := make([]byte, 64<<10)
			n, err := slow.nc.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got += bytes.Count(b[:n], []byte("y"))
			sent += c.fill(&window, 2<<20-sent)
		}
		c.end()
		if got += strings.Count(slow.all(), "y"); got != 2<<20 {
			t.Errorf("%d bytes came of %d", got, 2<<20)
		}
	})
}

func TestAWorkerThatExceedsItsWindow(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		slow := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		c.head(200)
		window := int64(frame.ResponseWindow)
		c.fill(&window, 1<<20)
		c.data(strings.Repeat("z", 64<<10))
		c.cancelled(http2.ErrCodeFlowControl)
		c.data("more") // what is still on its way
		c.reset(http2.ErrCodeCancel)
		if got, closed := slow.seen(); !closed || strings.HasSuffix(got, "0\r\n\r\n") {
			t.Errorf("closed: %v; the client must see that the body broke off", closed)
		}
		p := w.get("/next")
		k.request().answer(200, "the connection lives")
		p.wants(200, "the connection lives")
	})
}

// A byte costs 1,024, and credit is cost.
func TestTinyFramesUseTheWindowUp(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		c := k.request()
		c.head(200)
		for range 64 {
			c.data("z")
		}
		if f := k.next(); f.Type != frame.WindowUpdate || f.Credit != 64<<10 {
			t.Errorf("got %v of %d, want WINDOW_UPDATE of 65536 for 64 bytes", f.Type, f.Credit)
		}
		c.end()
		if _, body := p.whole(); len(body) != 64 {
			t.Errorf("%d bytes", len(body))
		}
	})
}

// received adds up the DATA that has come for the call.
func (c *call) received() (size int, cost int64, frames int) {
	c.t.Helper()
	c.w.settle()
	for parts, ok := c.inbox.peek(); ok; parts, ok = c.inbox.peek() {
		f := parse(c.t, parts)
		if f.Type != frame.Data || f.Stream != c.Stream || f.End() {
			c.t.Fatalf("got %v on %d, want DATA", f.Type, f.Stream)
		}
		size += len(f.Payload)
		cost += frame.Cost(len(f.Payload))
		frames++
	}
	return size, cost, frames
}

func TestH13TheRouterKeepsWithinTheRequestWindow(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.send("POST", "/", endless{})
		c := k.request()
		size, cost, _ := c.received()
		first := int64(frame.RequestWindow)
		if cost += frame.Cost(len(c.Payload)); cost > first || size+len(c.Payload) < frame.RequestWindow-frame.MinCost {
			t.Errorf("%d bytes that cost %d came in the first window", size+len(c.Payload), cost)
		}
		left := first - cost
		for _, credit := range []int64{frame.MinCost - left - 1, 1, 5000, 300_000, 1} {
			c.credit(uint64(credit))
			_, cost, _ := c.received()
			if left += credit - cost; left < 0 || left >= frame.MinCost {
				t.Fatalf("after a credit of %d: what came cost %d, and %d is left", credit, cost, left)
			}
		}
		c.answer(200, "enough")
		p.wants(200, "enough")
	})
}

func TestTinyPiecesOfABodyCost1024Each(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		c := k.request()
		for range 100 {
			client.write("1\r\nx\r\n")
			w.settle()
		}
		size, cost, frames := c.received()
		if size != 64 || cost != 64<<10 || frames != 64 {
			t.Errorf("%d bytes in %d frames that cost %d came; the window is 65536", size, frames, cost)
		}
		c.credit(1024)
		if size, _, frames := c.received(); size != 36 || frames != 1 {
			t.Errorf("%d bytes in %d frames came for a credit of 1024; what waits goes in one", size, frames)
		}
		c.answer(200, "")
		client.seen()
	})
}

func TestAWindowBeyondItsLimit(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.send("POST", "/", strings.NewReader("x"))
		c := k.request()
		w.settle()
		c.credit(frame.MaxNumber)
		for f := k.next(); ; f = k.next() {
			if f.Type == frame.RSTStream {
				if f.Code != http2.ErrCodeFlowControl {
					t.Errorf("%v", f.Code)
				}
				break
			}
		}
		c.reset(http2.ErrCodeCancel)
		p.wants(502, "broke the protocol")
	})
}

func TestAFullQueueTakesTheWorkerOut(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 1000)
		a.nc.freeze(true)
		var all []*pending
		size := 0
		for ; w.r.Streams().Waiting == 0; size += 64 << 10 {
			all = append(all, w.send("PUT", "/", strings.NewReader(strings.Repeat("x", 64<<10))))
			w.settle()
		}
		if size < 4<<20 || size > 5<<20 {
			t.Errorf("the worker counted as full after %d bytes", size)
		}
		all[len(all)-1].leave()
		w.settle() // or b is given that one
		all = all[:len(all)-1]
		if st := w.r.Workers()[0]; st.State != "busy" {
			t.Errorf("/workers: %+v", st)
		}
		b := w.join("b", 1000)
		for range 4 {
			p := w.get("/swift")
			b.request().answer(200, "from b")
			p.wants(200, "from b")
		}
		b.die()
		waits := w.get("/waits")
		if !waits.waiting() {
			t.Fatal("answered")
		}
		a.nc.freeze(false)
		calls, _ := a.requests(len(all) + 1)
		for _, c := range calls {
			c.answer(200, "")
		}
		for _, p := range all {
			p.wants(200, "")
		}
		waits.wants(200, "")
	})
}

// One upload does not fill a worker's queue, so that other streams get on.
func TestAnUploadTakesAShareOfTheQueue(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 4)
		big := w.send("POST", "/", endless{})
		c := k.request()
		c.received()
		k.nc.freeze(true)
		c.credit(100 << 20)
		w.settle()
		p := w.get("/other")
		w.settle()
		k.nc.freeze(false)
		before := 0
		for f := k.next(); f.Type != frame.Headers; f = k.next() {
			before += len(f.Payload)
			c.Frame = f
		}
		if before > 1<<20 {
			t.Errorf("%d bytes of an upload stood before another request", before)
		}
		big.leave()
		p.leave()
		w.settle()
		k.die()
	})
}

// deaf is a connection whose writes can be made to fail while it still reads.
type deaf struct{ net.Conn }

type deafListener struct {
	net.Listener
	last chan *deaf
}

func (l deafListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d := &deaf{nc}
	l.last <- d
	return d, nil
}

// SetWriteDeadline is the router's no more.
func (d *deaf) SetWriteDeadline(time.Time) error { return nil }

// A worker that can be heard and not be spoken to any more: its uploads wait
// for its end, and cost nothing meanwhile.
func TestAnUploadToAConnectionThatTakesNothing(t *testing.T) {
	// The channel belongs to the bubble, so the story makes it.
	story(t, router.Config{}, func(w *world) {
		l := deafListener{testpipe.NewListener(), make(chan *deaf, 1)}
		r := newWorld(w.t, router.Config{Listeners: []net.Listener{l}}, w.front, nil)
		nc, err := l.Listener.(*testpipe.Listener).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k := r.over(nc, "DEALER", zmtp.Options{})
		k.name = "w1"
		k.welcomed()
		k.join(4)
		w.settle()
		p := r.send("POST", "/", endless{})
		c := k.request()
		w.settle()
		k.nc.freeze(true)
		c.credit(10 << 20)
		w.settle()
		_ = (<-l.last).Conn.SetWriteDeadline(time.Now()) // what the router writes fails from now on
		w.settle()
		c.credit(1)
		w.settle()
		k.die()
		p.wants(502, "")
	})
}
