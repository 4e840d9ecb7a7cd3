package router_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// firstStream is the number of the first stream in a bubble, where each router
// starts at midnight UTC 2000-01-01.
const firstStream = 946684800000001

// captures are heads that real workers sent (their name has this prefix), as if
// about the first stream.
func captures(tb testing.TB, prefix string) (heads [][]byte) {
	tb.Helper()
	file, err := os.ReadFile("../frame/testdata/captures.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		who, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(who, prefix) {
			continue
		}
		head, err := hex.DecodeString(text)
		if err != nil {
			tb.Fatal(err)
		}
		if fr, err := frame.Parse(head, nil); err == nil && fr.Stream != 0 {
			fr.Stream = firstStream
			head = fr.Append(nil)
		}
		heads = append(heads, head)
	}
	if len(heads) == 0 {
		tb.Fatalf("no captures of %s", prefix)
	}
	return heads
}

// Whatever a native worker sends about a request costs that request at most:
// another one, at another worker, gets its own answer, the next one is served,
// and the stream table is empty at the end.
func FuzzWhatANativeWorkerSends(f *testing.F) {
	for _, prefix := range []string{"dealer-", "router-"} {
		heads := captures(f, prefix)
		for i, head := range heads {
			f.Add(head, []byte("body"), heads[(i+1)%len(heads)], []byte(nil))
		}
	}
	f.Add(frame.AppendHeaders(nil, firstStream+1, fields(":status", "200"), false, 0), []byte("stolen"), frame.AppendRSTStream(nil, firstStream+1, 8, ""), []byte(nil))
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
			k := w.join("w1", 1)
			p := w.send("POST", "/", strings.NewReader("a body"))
			if c := k.request(); c.Stream != firstStream {
				t.Fatalf("the first stream is %d", c.Stream)
			}
			honest := w.join("w0", 1)
			other := w.get("/other")
			its := honest.request()
			_, _ = k.conn.Send(0, zmtp.Ordinary, head1, payload1)
			w.settle()
			_, _ = k.conn.Send(0, zmtp.Ordinary, head2, payload2)
			w.settle()
			if !other.waiting() {
				t.Fatal("another's request was answered")
			}
			its.answer(200, "its own")
			if resp := other.wants(200, "its own"); resp.Header.Get("Dialmux-Worker") != "w0" {
				t.Fatalf("its answer is from %q", resp.Header.Get("Dialmux-Worker"))
			}
			honest.die()
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

// Whatever comes before a worker has joined, and in place of JOIN, costs that
// connection at most, and no request goes there unless it has joined.
func FuzzWhoJoins(f *testing.F) {
	join := frame.JoinInfo{Protocol: 1, Connection: 1, Instance: "i", Name: "w0", Concurrency: 1, Token: "secret"}
	for _, prefix := range []string{"dealer-", "router-", "FROM-ROUTER.dealer"} {
		for i, head := range captures(f, prefix) {
			f.Add(head, []byte(nil), i%2 == 0)
		}
	}
	f.Add(frame.AppendJoin(nil, join), []byte("payload"), true)
	join.Concurrency, join.Name = frame.MaxNumber, "a\r\nb"
	f.Add(frame.AppendJoin(nil, join), []byte(nil), true)
	join.Protocol, join.Name = 2, "w0;2"
	f.Add(frame.AppendJoin(nil, join), []byte(nil), true)
	f.Add(frame.AppendGoAway(nil, 0, 0, "\x1b[2J"), []byte(nil), false)
	f.Fuzz(func(t *testing.T, head, payload []byte, echo bool) {
		// A JOIN echoes what only WELCOME says: so that some are taken.
		story(t, router.Config{Token: "secret"}, func(w *world) {
			joined := false
			k := w.native("w1")
			said := head
			if fr, err := frame.Parse(head, payload); err == nil && fr.Type == frame.Join {
				if info, err := frame.ParseJoin(&fr); err == nil {
					if echo {
						info.Connection = k.connection
						said = frame.AppendJoin(nil, info)
					}
					joined = info.Connection == k.connection && info.Token == "secret"
				}
			}
			_, _ = k.conn.Send(0, zmtp.Ordinary, said, payload)
			w.settle()
			for _, status := range w.r.Workers() {
				if !joined && (status.State == "ready" || status.State == "busy") {
					t.Fatalf("%x: a stranger is let in: %+v", said, status)
				}
				if strings.ContainsFunc(status.Name+status.Why, unicode.IsControl) {
					t.Fatalf("%x: listed as %+v", said, status)
				}
			}
			if log := w.log.String(); strings.Contains(log, "token=secret") || strings.ContainsFunc(strings.ReplaceAll(log, "\n", ""), unicode.IsControl) {
				t.Fatalf("%x: logged as %q", said, log)
			}
			k.die()
			w.settle()
			honest := w.native("w2")
			honest.join(1, func(j *frame.JoinInfo) { j.Token = "secret" })
			next := w.get("/next")
			honest.request().answer(200, "served")
			next.wants(200, "served")
		})
	})
}

func FuzzWhatAREPSends(f *testing.F) {
	for _, prefix := range []string{"rep-ruby", "rep-python-null"} {
		for _, head := range captures(f, prefix) {
			f.Add(head, []byte("body"))
		}
	}
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
