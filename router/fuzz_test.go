package router_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// firstStream is the number of the first stream in a bubble, where each router
// starts at midnight UTC 2000-01-01.
const firstStream = 946684800000001

// Whatever a native worker sends about a request costs that request at most:
// the next one is served, and the stream table is empty at the end.
func FuzzWhatANativeWorkerSends(f *testing.F) {
	ok := fields(":status", "200", "content-type", "text/plain")
	for _, head := range [][]byte{
		frame.AppendHeaders(nil, firstStream, ok, true, 4),
		frame.AppendHeaders(nil, firstStream, ok, false, 0),
		frame.AppendHeaders(nil, firstStream, fields(":status", "103"), false, 0),
		frame.AppendData(nil, firstStream, false, 0),
		frame.AppendData(nil, firstStream, true, 8),
		frame.AppendRSTStream(nil, firstStream, http2.ErrCodeRefusedStream, "full"),
		frame.AppendWindowUpdate(nil, firstStream, frame.MaxNumber),
		frame.AppendGoAway(nil, 0, http2.ErrCodeNo, ""),
		frame.AppendJoin(nil, frame.JoinInfo{Protocol: 1, Name: "w1"}),
		frame.AppendOwn(nil, frame.OwnInfo{}),
	} {
		f.Add(head, []byte("body"), frame.AppendData(nil, firstStream, true, 4), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, head1, payload1, head2, payload2 []byte) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 2)
			p := w.send("POST", "/", strings.NewReader("a body"))
			if c := k.request(); c.Stream != firstStream {
				t.Fatalf("the first stream is %d", c.Stream)
			}
			_, _ = k.conn.Send(0, zmtp.Ordinary, head1, payload1)
			w.settle()
			_, _ = k.conn.Send(0, zmtp.Ordinary, head2, payload2)
			w.settle()
			k.die()
			<-p.done
			w.settle()
			k = w.join("w2", 1)
			next := w.get("/next")
			k.request().answer(200, "served")
			next.wants(200, "served")
		})
	})
}

func FuzzWhatAREPSends(f *testing.F) {
	f.Add([]byte(nil), []byte("body"))
	f.Add([]byte(repHead(200, "content-type", "text/plain")), []byte("body"))
	f.Add([]byte(repHead(99, "x", "a\r\nb: c")), []byte("body"))
	f.Add([]byte("\x82\xa6status\xcc\xc8\xa7headers\x81\xa1x\x92\xa1a\xa1b"), []byte("body"))
	f.Fuzz(func(t *testing.T, head, body []byte) {
		story(t, router.Config{}, func(w *world) {
			k := w.rep(zmtp.Options{})
			p := w.get("/")
			k.task().reply(string(head), string(body))
			<-p.done
			if p.resp != nil {
				_ = p.resp.Body.Close()
			}
			next := w.get("/next")
			k.task().reply("", "served")
			next.wants(200, "served")
		})
	})
}
