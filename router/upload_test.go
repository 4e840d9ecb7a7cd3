package router_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

func TestTheWorkerSeesTheFirstByteBeforeTheLastIsSent(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				r, body := io.Pipe()
				p := w.send("POST", "/", r, over(proto))
				c := k.request()
				for _, piece := range []string{"first", "second", "third"} {
					if _, err := io.WriteString(body, piece); err != nil {
						t.Fatal(err)
					}
					if f := k.next(); string(f.Payload) != piece || f.End() {
						t.Errorf("got %q (end %v), want %q", f.Payload, f.End(), piece)
					}
				}
				_ = body.Close()
				if f := k.next(); !f.End() || f.Total != 16 {
					t.Errorf("end %v, total %d, want 16", f.End(), f.Total)
				}
				c.answer(200, "")
				p.wants(200, "")
			})
		})
	}
}

// Both directions at once: without full duplex net/http would swallow the body
// when the response begins.
func TestAnAnswerWhileTheBodyComes(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				r, body := io.Pipe()
				p := w.send("POST", "/echo", r, over(proto))
				c := k.request()
				c.head(200)
				resp := p.head()
				buf := make([]byte, 100)
				for _, word := range []string{"one", "two", "three"} {
					_, _ = io.WriteString(body, word)
					c.data("echo " + string(k.next().Payload))
					n, err := resp.Body.Read(buf)
					if err != nil || string(buf[:n]) != "echo "+word {
						t.Fatalf("read %q, %v", buf[:n], err)
					}
				}
				_ = body.Close()
				if f := k.next(); !f.End() {
					t.Errorf("got %v", f.Type)
				}
				c.end()
				p.wants(200, "")
			})
		})
	}
}

// The worker answers and has not read the body, which still comes: the client
// gets the answer, and nothing panics.
func TestAnEarlyAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		head, first string
	}{
		"content-length": {"Content-Length: 1000000\r\n", "some"},
		"chunked":        {"Transfer-Encoding: chunked\r\n", "4\r\nsome\r\n"},
		"nothing yet":    {"Content-Length: 10\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw("POST / HTTP/1.1\r\nHost: h\r\n" + tc.head + "\r\n" + tc.first)
				c := k.request()
				w.settle()
				c.answer(413, "too large")
				w.settle()
				for range 20 { // the client has not read the answer yet, and goes on
					_, _ = io.WriteString(client.nc, strings.Repeat("x", 1000))
					w.settle()
				}
				got := client.all()
				if !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.HasSuffix(got, "too large") || !strings.Contains(got, "\r\nConnection: close\r\n") {
					t.Errorf("the client got %q", got)
				}
				if st := w.r.Workers()[0]; st.Busy != 0 {
					t.Errorf("/workers: %+v", st)
				}
			})
		})
	}
}

// The answer leaves at once, however long the body would have taken.
func TestAnEarlyAnswerDoesNotWaitForTheBody(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
		c := k.request()
		begin := time.Now()
		c.answer(403, "no")
		if got, _ := client.seen(); !strings.HasSuffix(got, "no") || time.Since(begin) > time.Millisecond {
			t.Errorf("after %v the client had %q", time.Since(begin), got)
		}
		if _, err := io.ReadAll(client.nc); err != nil {
			t.Errorf("the connection: %v", err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

func TestTheConnectionIsUsedAgainAfterABody(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("")
		for _, body := range []string{"Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "\r\n", "Content-Length: 4\r\n\r\nbody"} {
			client.write("PUT / HTTP/1.1\r\nHost: h\r\n" + body)
			c := k.request()
			if got := c.body(); !strings.HasSuffix(body, "\r\n\r\n") && body != "\r\n" && got != "body" {
				t.Errorf("the worker got %q", got)
			}
			c.answer(200, "yes")
			got, closed := client.seen()
			if closed || !strings.HasSuffix(got, "yes") || strings.Contains(got, "Connection") {
				t.Fatalf("the client got %q, closed: %v", got, closed)
			}
		}
	})
}

const expecting = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"

func TestH7ExpectContinue(t *testing.T) {
	for name, ask := range map[string]func(c *call){
		":status 100":   func(c *call) { c.head(100) },
		"WINDOW_UPDATE": func(c *call) { c.credit(65536) },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw(expecting)
				c := k.request()
				if got, _ := client.seen(); got != "" || c.End() || c.get("expect") != "100-continue" {
					t.Fatalf("before the worker asked, the client got %q; expect: %q", got, c.get("expect"))
				}
				ask(c)
				if got, _ := client.seen(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
					t.Fatalf("the client got %q", got)
				}
				client.write("body")
				f := k.next()
				if string(f.Payload) != "body" || !f.End() {
					t.Errorf("the worker got %q, end %v", f.Payload, f.End())
				}
				c.answer(200, "thanks")
				if got, closed := client.seen(); closed || !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
					t.Errorf("the client got %q, closed: %v", got, closed)
				}
			})
		})
	}
	t.Run("final status", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 1)
			client := w.raw(expecting)
			k.request().answer(401, "who are you")
			got := client.all()
			if !strings.HasPrefix(got, "HTTP/1.1 401 ") || !strings.Contains(got, "Connection: close\r\n") {
				t.Errorf("the client got %q", got)
			}
		})
	})
	t.Run("REP", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.rep(zmtp.Options{})
			client := w.raw(expecting)
			if got, _ := client.seen(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
				t.Fatalf("the client got %q", got)
			}
			client.write("body")
			j := k.task()
			if j.body != "body" {
				t.Errorf("the REP got %q", j.body)
			}
			j.reply("", "thanks")
			if got, _ := client.seen(); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
				t.Errorf("the client got %q", got)
			}
		})
	})
	t.Run("no worker", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			if got := w.raw(expecting).all(); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
				t.Errorf("the client got %q", got)
			}
		})
	})
	t.Run("something else", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 1)
			for _, other := range []string{"magic", "100-continue\r\nExpect: magic", "100-continue, magic"} {
				got, _ := w.raw(strings.Replace(expecting, "100-continue", other, 1)).seen()
				if !strings.HasPrefix(got, "HTTP/1.1 417 ") {
					t.Errorf("%q: the client got %q", other, got)
				}
			}
			w.send("POST", "/", ofSize(4), over("HTTP/2"), expect("magic")).wants(417, "")
			k.silent()
		})
	})
}

// Whether the body is held back is the router's to say: Connection cannot take
// it from the worker, and it is said once.
func TestH7ExpectReachesTheWorkerOnce(t *testing.T) {
	for name, lines := range map[string]string{
		"named in Connection": "Connection: expect\r\nExpect: 100-continue\r\n",
		"twice":               "Expect: 100-continue\r\nExpect: 100-continue\r\n",
		"in other letters":    "Expect: 100-Continue\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				client := w.raw(strings.Replace(expecting, "Expect: 100-continue\r\n", lines, 1))
				c := k.request()
				if got := c.values("expect"); !slices.Equal(got, []string{"100-continue"}) {
					t.Errorf("the worker got expect: %q", got)
				}
				k.silent()
				c.head(100)
				if got, _ := client.seen(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
					t.Errorf("the client got %q", got)
				}
				client.write("body")
				if got := c.body(); got != "body" {
					t.Errorf("the worker got %q", got)
				}
				c.answer(200, "thanks")
				if got, closed := client.seen(); closed || !strings.HasSuffix(got, "thanks") {
					t.Errorf("the client got %q, closed: %v", got, closed)
				}
			})
		})
	}
}

// Where there is nothing to hold back the worker hears of no Expect: it would
// wait.
func TestH7ExpectThatMeansNothingStays(t *testing.T) {
	for name, request := range map[string]func(w *world) *pending{
		"no body":         func(w *world) *pending { return w.get("/", expect("100-continue")) },
		"no body, HTTP/2": func(w *world) *pending { return w.get("/", over("HTTP/2"), expect("100-continue")) },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.join("w1", 1)
				p := request(w)
				c := k.request()
				if got := c.values("expect"); got != nil {
					t.Errorf("the worker got expect: %q", got)
				}
				c.body()
				c.answer(200, "served")
				p.wants(200, "served")
			})
		})
	}
}

// expect is an edit for send.
func expect(what string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set("Expect", what) }
}

// Each worker asks for the body anew; the client is asked once.
func TestH7ExpectContinueOnASecondWorker(t *testing.T) {
	for name, sent := range map[string]bool{"before the body": false, "after the body": true} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				a, b := w.join("a", 1), w.join("b", 1)
				client := w.raw(strings.Replace(expecting, "POST", "PUT", 1))
				c := a.request()
				c.head(100)
				if got, _ := client.seen(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
					t.Fatalf("the client got %q", got)
				}
				if sent {
					client.write("body")
					w.settle()
				}
				a.die()
				if !sent {
					client.write("body")
				}
				c = b.request()
				b.silent()
				c.head(100)
				if got := c.body(); got != "body" {
					t.Errorf("the second worker got %q", got)
				}
				c.answer(200, "")
				if got, _ := client.seen(); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
					t.Errorf("the client got %q", got)
				}
			})
		})
	}
}

func TestABodyOfUnknownLength(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
		c := k.request()
		if c.values("content-length") != nil || c.values("transfer-encoding") != nil || c.get("trailer") != "x-sum" {
			t.Errorf("content-length %q, transfer-encoding %q, trailer %q", c.values("content-length"), c.values("transfer-encoding"), c.get("trailer"))
		}
		client.write("4\r\nbody\r\n0\r\nX-Sum: 42\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: x\r\n\r\n")
		if f := k.next(); string(f.Payload) != "body" || f.End() {
			t.Errorf("got %q, end %v", f.Payload, f.End())
		}
		f := k.next()
		if f.Type != frame.Headers || !f.End() || f.Total != 4 || string(f.Fields.Get("x-sum")) != "42" || f.Fields.Len() != 1 {
			t.Errorf("trailers: %v, end %v, total %d, %d fields", f.Type, f.End(), f.Total, f.Fields.Len())
		}
		c.answer(200, "")
		client.seen()
	})
}

func TestAMalformedBodyIs400(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		c := k.request()
		client.write("zz\r\n")
		c.cancelled(http2.ErrCodeCancel)
		c.reset(http2.ErrCodeCancel)
		if got := client.all(); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("the client got %q", got)
		}
	})
}

func TestAMalformedBodyIs400WhileItsRequestWaits(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		client := w.raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		w.settle()
		client.write("zz\r\n")
		if got, _ := client.seen(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("at once the client got %q", got)
		}
		w.join("w1", 1).silent()
	})
}

func TestABodyThatAHandlerBeforeTheRouterLimits(t *testing.T) {
	limit := func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, 1000) }
	storyBehind(t, router.Config{}, netHTTP, limit, func(w *world) {
		k := w.join("w1", 1)
		r, body := io.Pipe()
		p := w.send("POST", "/", r)
		c := k.request()
		_, _ = io.WriteString(body, strings.Repeat("x", 1001))
		_ = body.Close()
		for f := k.next(); f.Type != frame.RSTStream; f = k.next() {
			if f.End() {
				t.Fatal("the body ended cleanly")
			}
		}
		c.reset(http2.ErrCodeCancel)
		p.wants(413, "larger than allowed")
	})
}
