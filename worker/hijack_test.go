package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
)

// upgrade opens a stream that asks for WebSocket.
func (l *routerLink) upgrade(id uint64, fields ...string) {
	l.t.Helper()
	l.send(frame.AppendHeaders(nil, id, requestFields("GET", "/ws", append([]string{":protocol", "websocket"}, fields...)...), false, 0), nil)
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// hijack is what most handlers of upgrades begin with.
func hijack(t testing.TB, w http.ResponseWriter) net.Conn {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		panic(http.ErrAbortHandler)
	}
	return c
}

// accept hijacks and answers 101.
func accept(t testing.TB, w http.ResponseWriter) net.Conn {
	c := hijack(t, w)
	write(t, c, switching)
	return c
}

func write(t testing.TB, w io.Writer, text string) {
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Errorf("writing %d bytes: %d, %v", len(text), n, err)
	}
}

// accepted is a worker that has upgraded stream 1.
func accepted(t *testing.T, w Worker, h func(net.Conn, *http.Request)) (*running, *routerLink) {
	t.Helper()
	r := newRouter(t)
	w.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws" {
			hello(w, r)
			return
		}
		h(accept(t, w), r)
	})
	run := r.start(w)
	l := r.join()
	l.upgrade(1)
	l.want(`HEADERS 1 [:status: 101]`)
	return run, l
}

func TestUpgradeIsShownAsHTTP11(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Proto != "HTTP/1.1" || !r.ProtoAtLeast(1, 1) || r.ProtoAtLeast(1, 2) || r.ContentLength != 0 || r.Body != http.NoBody {
				t.Errorf("%s (%d.%d), ContentLength %d, Body %T", r.Proto, r.ProtoMajor, r.ProtoMinor, r.ContentLength, r.Body)
			}
			if want := (http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "X-Own": {"1"}}); !reflect.DeepEqual(r.Header, want) {
				t.Errorf("header is %q, want %q", r.Header, want)
			}
			http.Error(w, "no", http.StatusForbidden)
		})
		l.upgrade(1, "x-own", "1", "content-length", "0")
		l.data(1, "too early")
		l.want(`HEADERS 1 [:status: 403, ` + plain + `, x-content-type-options: nosniff, content-length: 3] END 3 "no\n"`)
		l.upgrade(2, "x-own", "1", "connection", "close", "upgrade", "h2c")
		l.want(`HEADERS 2 [:status: 403, ` + plain + `, x-content-type-options: nosniff, content-length: 3] END 3 "no\n"`)
		l.wantQuiet()
	})
}

func TestMalformedUpgrade(t *testing.T) {
	for name, fields := range map[string]frame.Fields{
		"POST":          fieldsOf(":method", "POST", ":path", "/", ":protocol", "websocket"),
		"control bytes": fieldsOf(":method", "GET", ":path", "/", ":protocol", "a\r\nb: c"),
		"two protocols": fieldsOf(":method", "GET", ":path", "/", ":protocol", "a", ":protocol", "b"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
				l.send(frame.AppendHeaders(nil, 1, fields, false, 0), nil)
				if f := l.next(); f.Type != frame.RSTStream || f.Code != http2.ErrCodeProtocol {
					t.Errorf("got %s", show(f))
				}
				l.wantQuiet()
			})
		})
	}
}

func TestAnswersToUpgrades(t *testing.T) {
	const accepting = `HEADERS 1 [:status: 101, sec-websocket-accept: x, set-cookie: a, set-cookie: b]`
	for name, tc := range map[string]struct {
		h    func(w http.ResponseWriter)
		want []string
	}{
		"head written to the connection": {func(w http.ResponseWriter) {
			c, brw, err := w.(http.Hijacker).Hijack()
			if err != nil || brw.Reader.Buffered() != 0 {
				t.Error(err)
			}
			write(t, c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n"+
				"Set-Cookie: a\r\nSet-Cookie: b\r\nKeep-Alive: 1\r\nSec-WebSocket-Accept: x\r\n\r\n")
			write(t, c, "data")
			_ = c.Close()
		}, []string{accepting, `DATA 1 "data"`, `DATA 1 END 4`}},
		"head and data through the buffer": {func(w http.ResponseWriter) {
			_, brw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Fatal(err)
			}
			write(t, brw, "HTTP/1.1 101 \nsec-websocket-accept: x\nset-cookie: a\nset-cookie: b\n\nda")
			write(t, brw, "ta")
			if err := brw.Flush(); err != nil {
				t.Error(err)
			}
		}, []string{accepting, `DATA 1 "data"`}},
		"http.Response.Write": {func(w http.ResponseWriter) {
			answer := http.Response{StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Accept": {"x"}, "Set-Cookie": {"a", "b"},
			}}
			if err := answer.Write(hijack(t, w)); err != nil {
				t.Error(err)
			}
		}, []string{accepting}},
		"WriteHeader(101)": {func(w http.ResponseWriter) {
			h := w.Header()
			h.Set("Connection", "Upgrade")
			h.Set("Upgrade", "websocket")
			h.Set("Sec-WebSocket-Accept", "x")
			h["Set-Cookie"] = []string{"a", "b"}
			w.WriteHeader(http.StatusSwitchingProtocols)
			write(t, hijack(t, w), "HTTP/1.1 data")
		}, []string{accepting, `DATA 1 "HTTP/1.1 data"`}},
		"WriteHeader(101) and Flush": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusSwitchingProtocols)
			w.(http.Flusher).Flush()
			write(t, hijack(t, w), "data")
		}, []string{`HEADERS 1 [:status: 101]`, `DATA 1 "data"`}},
		"informational first": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusEarlyHints)
			write(t, hijack(t, w), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+switching+"data")
		}, []string{`HEADERS 1 [:status: 103]`, `HEADERS 1 [:status: 103, link: </a>]`, `HEADERS 1 [:status: 102]`, `HEADERS 1 [:status: 101]`, `DATA 1 "data"`}},
		"refusal written to the connection": {func(w http.ResponseWriter) {
			c := hijack(t, w)
			write(t, c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nno")
			write(t, c, "pe")
			_ = c.Close()
		}, []string{`HEADERS 1 [:status: 400, content-length: 4, content-type: text/plain]`, `DATA 1 "no"`, `DATA 1 "pe"`, `DATA 1 END 4`}},
		"nothing but Close": {func(w http.ResponseWriter) {
			_ = hijack(t, w).Close()
		}, []string{`RST_STREAM 1 INTERNAL_ERROR worker: a hijacked connection was closed before an answer was written`}},
		"half a head": {func(w http.ResponseWriter) {
			c := hijack(t, w)
			write(t, c, switching[:len(switching)-2])
			_ = c.Close()
		}, []string{`RST_STREAM 1 INTERNAL_ERROR worker: a hijacked connection was closed before an answer was written`}},
		"WriteHeader(101) alone": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusSwitchingProtocols)
			if _, err := io.WriteString(w, "data"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("WriteString: %v", err)
			}
		}, []string{`RST_STREAM 1 INTERNAL_ERROR worker: the handler wrote status 101 and did not hijack the connection`}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) { tc.h(w) })
				l.upgrade(1)
				l.want(tc.want...)
				l.wantQuiet()
			})
		})
	}
}

func TestHeadsThatAreNone(t *testing.T) {
	for name, tc := range map[string]struct{ head, want string }{
		"no HTTP":       {"\x81\x05hello\r\n\r\n", "is no head of HTTP/1.1"},
		"no field":      {"HTTP/1.1 101 OK\r\nno field\r\n\r\n", "is no head of HTTP/1.1"},
		"no status":     {"HTTP/1.1 099 OK\r\n\r\n", "status 99 was written"},
		"chunked":       {"HTTP/1.1 400 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding was written to a hijacked connection"},
		"endless":       {"HTTP/1.1 101 OK\r\nX: " + strings.Repeat("x", 64<<10), "no head of HTTP/1.1 ends within the first 65536 bytes"},
		"too long then": {"HTTP/1.1 101 OK\r\nX: " + strings.Repeat("x", 2000) + "\r\n\r\n", "the answer's header takes 20"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRouter(t)
				run := r.start(Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					c := hijack(t, w)
					if n, err := io.WriteString(c, tc.head+"data"); n > len(tc.head) || err == nil || !strings.Contains(err.Error(), tc.want) {
						t.Errorf("Write: %d, %v", n, err)
					}
					if _, err := io.WriteString(c, switching); err == nil {
						t.Error("another Write succeeds")
					}
					if _, err := c.Read(make([]byte, 1)); err == nil {
						t.Error("Read succeeds")
					}
				})})
				l := r.accept()
				l.welcome(frame.WelcomeInfo{Connection: 1, Limits: frame.Limits{Head: 1000}})
				l.wantJoin(1)
				l.upgrade(1)
				for {
					f := l.next()
					if f.Type == frame.WindowUpdate {
						continue
					}
					if got := show(f); !strings.HasPrefix(got, "RST_STREAM 1 INTERNAL_ERROR worker: ") || !strings.Contains(got, tc.want) {
						t.Errorf("got %s", got)
					}
					break
				}
				if run.logs.count("answer not sent") != 1 {
					t.Errorf("log:\n%s", run.logs)
				}
				l.wantQuiet()
			})
		})
	}
}

// However a handler cuts what it writes, the same comes of it.
func TestHeadInAnyCuts(t *testing.T) {
	r := newRouter(t)
	cuts := make(chan []string, 1)
	r.start(Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := hijack(t, w)
		for _, piece := range <-cuts {
			write(t, c, piece)
		}
		_ = c.Close()
	})})
	l := r.join()
	id := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		id++
		value := rapid.StringMatching(`[!-~]{1,20}`).Draw(t, "value")
		body := rapid.StringMatching(`[\r\na-z]{0,40}`).Draw(t, "body")
		raw := "HTTP/1.1 101 Switching Protocols\r\nX-Value: " + value + "\r\nX-Empty:\r\n\r\n" + body
		if rapid.Bool().Draw(t, "bare") {
			raw = strings.ReplaceAll(raw[:len(raw)-len(body)], "\r", "") + body
		}
		var pieces []string
		for rest := raw; rest != ""; {
			n := rapid.IntRange(0, len(rest)).Draw(t, "cut")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		cuts <- pieces
		l.upgrade(id)
		if got, want := show(l.next()), fmt.Sprintf("HEADERS %d [:status: 101, x-empty: , x-value: %s]", id, value); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		var got []byte
		for f := l.next(); ; f = l.next() {
			if got = append(got, f.Payload...); f.End() {
				break
			}
		}
		if string(got) != body {
			t.Fatalf("got %q, want %q", got, body)
		}
	})
}

// FuzzRawHead lets a handler write anything, at once and in two pieces: both have the same outcome.
func FuzzRawHead(f *testing.F) {
	f.Add([]byte(switching+"data"), 20)
	f.Add([]byte("HTTP/1.1 103 \n\n"+switching), 14)
	f.Add([]byte("HTTP/1.0 204 No\r\nContent-Length: 3\r\nConnection: a,, b\r\nA: 1\r\n\r\n"), 3)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTrailer: X\r\nX: 1\r\nX Y: 2\r\n:status: 3\r\n\r\n\r\n"), 60)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		synctest.Test(t, func(t *testing.T) {
			cut = min(max(cut, 0), len(raw))
			r := newRouter(t)
			r.start(Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c := hijack(t, w)
				if r.Header.Get("X-Cut") == "" {
					_, _ = c.Write(raw)
				} else {
					_, _ = c.Write(raw[:cut])
					_, _ = c.Write(raw[cut:])
				}
				_ = c.Close()
			})})
			l := r.join()
			var outcomes [2]string
			for i := range outcomes {
				id := uint64(i + 1)
				if i == 0 {
					l.upgrade(id)
				} else {
					l.upgrade(id, "x-cut", "1")
				}
				var heads []string
				var body bytes.Buffer
				for ended := false; !ended; {
					f := l.next()
					switch f.Type {
					case frame.Headers:
						for name := range f.Fields.All() {
							if !bytes.Equal(name, []byte(":status")) && bytes.IndexByte(name, ':') >= 0 {
								t.Errorf("field %q", name)
							}
						}
						f.Stream = 0
						heads = append(heads, show(f))
					case frame.RSTStream:
						heads = append(heads, "RST_STREAM "+string(f.Reason))
						body.Reset() // as much of it as the reset did not catch
					}
					body.Write(f.Payload)
					if ended = f.End() || f.Type == frame.RSTStream; f.End() && f.Total != uint64(body.Len()) {
						t.Errorf("%d bytes came, END_STREAM says %d", body.Len(), f.Total)
					}
				}
				outcomes[i] = strings.Join(heads, "; ") + "; " + body.String()
			}
			if reset := strings.Index(outcomes[0], "RST_STREAM"); reset >= 0 { // it takes along what is queued
				outcomes[0], outcomes[1] = outcomes[0][reset:], outcomes[1][max(0, strings.Index(outcomes[1], "RST_STREAM")):]
			}
			if outcomes[0] != outcomes[1] {
				t.Errorf("at once: %s\nin two:  %s", outcomes[0], outcomes[1])
			}
		})
	})
}

func TestContinueThenUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			c := hijack(t, w)
			write(t, c, "HTTP/1.1 100 Continue\r\n\r\n"+switching)
			<-release
			if got, err := io.ReadAll(c); len(got) != 64<<10 || err != nil {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			_ = c.Close()
		})
		l.upgrade(1, "expect", "100-continue")
		l.want(`HEADERS 1 [:status: 100]`, `HEADERS 1 [:status: 101]`)
		l.end(1, 64<<10, strings.Repeat("x", 64<<10))
		synctest.Wait()
		close(release)
		l.want(`DATA 1 END 0`)
	})
}

func TestHijackThatCannotBe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leaked := make(chan http.ResponseWriter, 1)
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, upgrade := r.Header["Upgrade"]
			if r.URL.Query().Has("late") || upgrade {
				w.WriteHeader(http.StatusAccepted)
			}
			_, _, err := http.NewResponseController(w).Hijack()
			if !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("Hijack: %v", err)
			}
			w.WriteHeader(http.StatusAccepted)
			leaked <- w
		})
		l.get(1, "/")
		l.want(`HEADERS 1 [:status: 202, content-length: 0] END 0`)
		<-leaked
		l.upgrade(2)
		l.want(`HEADERS 2 [:status: 202, content-length: 0] END 0`)
		synctest.Wait()
		if _, _, err := (<-leaked).(http.Hijacker).Hijack(); !errors.Is(err, errReturned) {
			t.Errorf("Hijack after the handler has returned: %v", err)
		}
	})
}

func TestResponseWriterAfterHijack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			c := accept(t, w)
			if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("Hijack: %v", err)
			}
			w.WriteHeader(http.StatusOK)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("Write: %v", err)
			}
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("WriteString: %v", err)
			}
			if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("Flush: %v", err)
			}
			if n, err := r.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("Body.Read: %d, %v", n, err)
			}
			_ = c.Close()
		})
		l.upgrade(1)
		l.data(1, "for the connection")
		l.want(`HEADERS 1 [:status: 101]`, `DATA 1 END 0`)
		if run.logs.count("superfluous WriteHeader") != 1 {
			t.Errorf("log:\n%s", run.logs)
		}
	})
}

func TestConnectionOutlivesTheHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		conns := make(chan net.Conn, 1)
		var ctx context.Context
		_, l := accepted(t, Worker{Concurrency: 1}, func(c net.Conn, r *http.Request) {
			ctx = r.Context()
			conns <- c
		})
		c := <-conns
		synctest.Wait()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("the context of a handler that has returned: %v", ctx.Err())
		}
		l.data(1, "ping")
		got := make([]byte, 10)
		if n, err := c.Read(got); string(got[:n]) != "ping" || err != nil {
			t.Errorf("Read: %q, %v", got[:n], err)
		}
		l.want(`WINDOW_UPDATE 1 +196608`)
		write(t, c, "pong")
		l.want(`DATA 1 "pong"`)
		l.get(2, "/")
		l.want(`RST_STREAM 2 REFUSED_STREAM all slots are taken`)
		_ = c.Close()
		l.want(`DATA 1 END 4`)
		l.get(3, "/free")
		l.want(`HEADERS 3 [` + helloHead + `, content-length: 11] END 11 "hello /free"`)
		if err := c.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		l.data(1, "late")
		l.cancel(1)
		l.wantQuiet()
	})
}

func TestHandlerOutlivesTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run, l := accepted(t, Worker{Concurrency: 1}, func(c net.Conn, r *http.Request) {
			_ = c.Close()
			if r.Context().Err() != nil {
				t.Error("Close ended the context")
			}
			<-r.Context().Done()
		})
		l.want(`DATA 1 END 0`)
		l.get(2, "/free")
		l.want(`HEADERS 2 [` + helloHead + `, content-length: 11] END 11 "hello /free"`)
		run.cancel()
		l.want(`GOAWAY 0 last 2 NO_ERROR worker drains`)
		l.wantClosed()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestPanicAfterHijack(t *testing.T) {
	for name, end := range map[string]func(){
		"panic":           func() { panic("boom") },
		"ErrAbortHandler": func() { panic(http.ErrAbortHandler) },
		"Goexit":          runtimeGoexit,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				conns := make(chan net.Conn, 1)
				run, l := accepted(t, Worker{}, func(c net.Conn, _ *http.Request) {
					conns <- c
					time.Sleep(time.Second) // the head has left
					end()
				})
				l.want(`RST_STREAM 1 INTERNAL_ERROR worker: the handler gave up`)
				if want := name != "ErrAbortHandler"; run.logs.count("level=ERROR") > 0 != want {
					t.Errorf("log:\n%s", run.logs)
				}
				c := <-conns
				if _, err := c.Write([]byte("x")); !errors.Is(err, errAbandoned) {
					t.Errorf("Write: %v", err)
				}
				_ = c.Close()
				l.get(2, "/ok")
				l.want(`HEADERS 2 [` + helloHead + `, content-length: 9] END 9 "hello /ok"`)
				l.wantQuiet()
			})
		})
	}
}
