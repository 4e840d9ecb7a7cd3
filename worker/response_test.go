package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/frame"
)

const plain = "content-type: text/plain; charset=utf-8"

func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		method string // GET
		h      http.HandlerFunc
		want   []string
	}{
		"nothing": {"", func(http.ResponseWriter, *http.Request) {}, []string{`HEADERS 1 [:status: 200, content-length: 0] END 0`}},
		"small is one frame": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-B", "2")
			w.Header()["X-A"] = []string{"1", "1b"}
			w.WriteHeader(http.StatusCreated)
			w.Header().Set("X-Late", "no")
			_, _ = w.Write([]byte("hello "))
			_, _ = io.WriteString(w, "world")
		}, []string{`HEADERS 1 [:status: 201, x-a: 1, x-a: 1b, x-b: 2, ` + plain + `, content-length: 11] END 11 "hello world"`}},
		"own type, own length": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			w.Header().Set("Content-Length", "2")
			_, _ = w.Write([]byte("hi"))
		}, []string{`HEADERS 1 [:status: 200, content-length: 2, content-type: a/b] END 2 "hi"`}},
		"no sniffing when told so": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = w.Write([]byte("hi"))
		}, []string{`HEADERS 1 [:status: 200, content-length: 2] END 2 "hi"`}},
		"no sniffing of what is encoded": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte("hi"))
		}, []string{`HEADERS 1 [:status: 200, content-encoding: gzip, content-length: 2] END 2 "hi"`}},
		"hop-by-hop fields stay": {"", func(w http.ResponseWriter, _ *http.Request) {
			for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
				w.Header().Set(name, "x")
			}
			w.Header()["upgrade"] = []string{"x"}
			w.Header()["Connection"] = []string{"close, x-named", "X-Too"}
			w.Header().Set("X-Named", "1")
			w.Header()["x-too"] = []string{"2"}
		}, []string{`HEADERS 1 [:status: 200, content-length: 0] END 0`}},
		"malformed fields stay": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["X A"] = []string{"1"}
			w.Header().Set("X-B", "1\r\nInjected: 2")
			w.Header().Set("Content-Length", "-1")
			w.Header().Set("X-C", "caf\xe9")
		}, []string{"HEADERS 1 [:status: 200, x-c: caf\xe9, content-length: 0] END 0"}},
		"204": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusNoContent)
			if _, err := w.Write([]byte("hello")); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("Write: %v", err)
			}
		}, []string{`HEADERS 1 [:status: 204] END 0`}},
		"304": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
			if _, err := w.Write([]byte("hello")); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("Write: %v", err)
			}
		}, []string{`HEADERS 1 [:status: 304, etag: "x"] END 0`}},
		"HEAD": {"HEAD", func(w http.ResponseWriter, _ *http.Request) {
			if n, err := w.Write([]byte("hello")); n != 5 || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
		}, []string{`HEADERS 1 [:status: 200, ` + plain + `, content-length: 5] END 0`}},
		"HEAD of much": {"HEAD", func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				if n, err := w.Write(make([]byte, 1000)); n != 1000 || err != nil {
					t.Errorf("Write: %d, %v", n, err)
				}
				if n, err := io.WriteString(w, "x"); n != 1 || err != nil {
					t.Errorf("WriteString: %d, %v", n, err)
				}
			}
		}, []string{`HEADERS 1 [:status: 200, content-type: application/octet-stream]`, `DATA 1 END 0`}},
		"HEAD without writing": {"HEAD", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
		}, []string{`HEADERS 1 [:status: 200, content-length: 1000] END 0`}},
		"second WriteHeader": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			w.WriteHeader(http.StatusOK)
		}, []string{`HEADERS 1 [:status: 404, content-length: 0] END 0`}},
		"flush": {"", func(w http.ResponseWriter, _ *http.Request) {
			f := w.(http.Flusher)
			f.Flush()
			f.Flush()
			_, _ = w.Write([]byte("a"))
			f.Flush()
			_, _ = w.Write([]byte("b"))
		}, []string{`HEADERS 1 [:status: 200]`, `DATA 1 "a"`, `DATA 1 END 2 "b"`}},
		"flush 204": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}, []string{`HEADERS 1 [:status: 204]`, `DATA 1 END 0`}},
		"large": {"", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 100))
			_, _ = w.Write(make([]byte, 64<<10+4096-100+1))
		}, []string{
			`HEADERS 1 [:status: 200, content-type: application/octet-stream] (4096 bytes)`, `DATA 1 (65536 bytes)`,
			"DATA 1 \"\\x00\"", `DATA 1 END 69633`,
		}},
		"large at once, its length declared": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "8192")
			_, _ = w.Write(make([]byte, 8192))
		}, []string{`HEADERS 1 [:status: 200, content-length: 8192, content-type: application/octet-stream] (8192 bytes)`, `DATA 1 END 8192`}},
		"large string": {"", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a")
			_, _ = io.WriteString(w, strings.Repeat("b", 4096))
			_, _ = io.WriteString(w, strings.Repeat("c", 5000))
		}, []string{
			`HEADERS 1 [:status: 200, ` + plain + `] "a"`, `DATA 1 (4096 bytes)`, `DATA 1 (5000 bytes)`, `DATA 1 END 9097`,
		}},
		"ReadFrom": {"", func(w http.ResponseWriter, _ *http.Request) {
			src := struct{ io.Reader }{io.MultiReader(strings.NewReader("hello "), strings.NewReader("world"))}
			if n, err := io.Copy(w, src); n != 11 || err != nil {
				t.Errorf("Copy: %d, %v", n, err)
			}
		}, []string{`HEADERS 1 [:status: 200, ` + plain + `, content-length: 11] END 11 "hello world"`}},
		"informational": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a.css>")
			w.Header().Set("Content-Length", "2")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			_, _ = w.Write([]byte("ok"))
		}, []string{
			`HEADERS 1 [:status: 103, link: </a.css>]`, `HEADERS 1 [:status: 102, link: </a.css>]`,
			`HEADERS 1 [:status: 200, content-length: 2, link: </a.css>, ` + plain + `] END 2 "ok"`,
		}},
		"trailers": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum, X-Unset, Content-Length")
			w.Header().Set("X-Sum", "too early is right in time")
			_, _ = w.Write([]byte("hi"))
			w.Header().Set("X-Sum", "1")
			w.Header().Set(http.TrailerPrefix+"X-Late", "2")
			w.Header().Set(http.TrailerPrefix+"Content-Length", "3")
		}, []string{
			`HEADERS 1 [:status: 200, trailer: X-Sum, X-Unset, Content-Length, ` + plain + `] "hi"`,
			`HEADERS 1 [x-late: 2, x-sum: 1] END 2`,
		}},
		"trailers declared, not set": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
		}, []string{`HEADERS 1 [:status: 200, trailer: X-Sum, content-length: 0] END 0`}},
		"no trailers without a body": {"HEAD", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		}, []string{`HEADERS 1 [:status: 200] END 0`}},
		"longer than declared": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, _ = w.Write([]byte("hi"))
			if n, err := w.Write([]byte("!")); n != 0 || !errors.Is(err, http.ErrContentLength) {
				t.Errorf("Write: %d, %v", n, err)
			}
		}, []string{`HEADERS 1 [:status: 200, content-length: 2, ` + plain + `] END 2 "hi"`}},
		"shorter than declared": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			_, _ = w.Write([]byte("hi"))
		}, []string{`RST_STREAM 1 INTERNAL_ERROR worker: the handler declared a content-length of 3 and wrote 2 bytes`}},
		"head too large": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 65520))
			_, _ = w.Write([]byte("hi"))
		}, []string{`RST_STREAM 1 INTERNAL_ERROR worker: the answer's header takes 65599 bytes, the router allows 65536: send less`}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, tc.h)
				method := tc.method
				if method == "" {
					method = "GET"
				}
				l.send(frame.AppendHeaders(nil, 1, requestFields(method, "/"), true, 0), nil)
				l.want(tc.want...)
				l.wantQuiet()
			})
		})
	}
}

func TestMisuseIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		run, l := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Bad", "a\nb")
			w.WriteHeader(http.StatusOK)
			w.WriteHeader(http.StatusInternalServerError)
			w.WriteHeader(http.StatusInternalServerError)
		})
		l.get(1, "/path?secret=1")
		l.next()
		if n := run.logs.count("superfluous WriteHeader"); n != 1 {
			t.Errorf("logged the second WriteHeader %d times, want once", n)
		}
		if run.logs.count("X-Bad") != 1 || run.logs.count("/path") != 2 || run.logs.count("secret") != 0 {
			t.Errorf("log:\n%s", run.logs)
		}
	})
}

func TestWritesWaitForTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var wrote int
		_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 8 {
				n, err := w.Write(make([]byte, 64<<10))
				if wrote += n; err != nil {
					t.Error(err)
				}
			}
		})
		l.get(1, "/")
		l.want(`HEADERS 1 [:status: 200, content-type: application/octet-stream] (65536 bytes)`)
		l.want(`DATA 1 (65536 bytes)`, `DATA 1 (65536 bytes)`, `DATA 1 (65536 bytes)`)
		l.wantQuiet()
		if wrote != 256<<10 {
			t.Errorf("wrote %d bytes into a window of 256 KiB", wrote)
		}
		l.credit(1, 1023)
		l.wantQuiet()
		l.credit(1, 1)
		l.want(`DATA 1 (1024 bytes)`)
		l.wantQuiet()
		l.credit(1, 1<<30)
		l.want(`DATA 1 (64512 bytes)`, `DATA 1 (65536 bytes)`, `DATA 1 (65536 bytes)`, `DATA 1 (65536 bytes)`, `DATA 1 END 524288`)
	})
}

func TestSmallWindowOfWelcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		r.start(Worker{Handler: http.HandlerFunc(hello)})
		l := r.accept()
		l.welcome(frame.WelcomeInfo{Connection: 1, Windows: frame.Windows{Response: 1}, Limits: frame.Limits{Payload: 3}})
		l.wantJoin(1)
		l.get(1, "/")
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 7]`) // the head waits for nothing
		l.wantQuiet()
		l.credit(1, 3*1024)
		l.want(`DATA 1 "hel"`, `DATA 1 "lo "`)
		l.credit(1, 1024)
		l.want(`DATA 1 END 7 "/"`)
	})
}

func TestTooMuchCredit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		l.get(1, "/")
		l.credit(1, frame.MaxNumber)
		l.want(`RST_STREAM 1 FLOW_CONTROL_ERROR credit beyond 2^53`)
	})
}

func TestWriteDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			began := time.Now()
			if err := http.NewResponseController(w).SetWriteDeadline(began.Add(time.Second)); err != nil {
				t.Error(err)
			}
			n, err := w.Write(make([]byte, 300<<10))
			if after := time.Since(began); n != 256<<10 || !errors.Is(err, os.ErrDeadlineExceeded) || after != time.Second {
				t.Errorf("Write: %d, %v after %v", n, err, after)
			}
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
			if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the answer is broken, and Write returns %v", err)
			}
		})
		l.get(1, "/")
		for range 4 {
			l.next()
		}
		l.want(`RST_STREAM 1 INTERNAL_ERROR i/o timeout`)
	})
}

func TestFullDuplex(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			if err := rc.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			buf := make([]byte, 10)
			for {
				n, err := r.Body.Read(buf)
				if err != nil {
					break
				}
				_, _ = w.Write(bytes.ToUpper(buf[:n]))
				_ = rc.Flush()
			}
		})
		l.post(1, "/")
		l.want(`WINDOW_UPDATE 1 +196608`)
		l.data(1, "a")
		l.want(`HEADERS 1 [:status: 200, ` + plain + `] "A"`)
		l.data(1, "b")
		l.want(`DATA 1 "B"`)
		l.end(1, 2, "")
		l.want(`DATA 1 END 2`)
	})
}

func TestHijackIsNotSupported(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _, err := http.NewResponseController(w).Hijack()
			fmt.Fprint(w, errors.Is(err, http.ErrNotSupported))
		})
		l.get(1, "/")
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 4] END 4 "true"`)
	})
}

// A handler may keep its writer: it must then get errors, and touch no other answer.
func TestWriterAfterReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var kept http.ResponseWriter
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keep" {
				kept = w
				return
			}
			_, _ = w.Write([]byte("a"))
			if n, err := kept.Write([]byte("b")); n != 0 || err == nil {
				t.Errorf("Write: %d, %v", n, err)
			}
			if n, err := io.WriteString(kept, "b"); n != 0 || err == nil {
				t.Errorf("WriteString: %d, %v", n, err)
			}
			rc := http.NewResponseController(kept)
			if rc.Flush() == nil || rc.SetWriteDeadline(time.Now().Add(time.Hour)) == nil {
				t.Error("Flush or SetWriteDeadline succeeds")
			}
			kept.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte("c"))
		})
		l.get(1, "/keep")
		l.next()
		l.get(2, "/")
		l.want(`HEADERS 2 [` + helloHead + `, content-length: 2] END 2 "ac"`)
	})
}

// One big answer to a router that reads slowly: others go out between its pieces, and it takes a bounded part of the queue.
func TestBigAnswerLeavesRoomInTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, nc := newGate()
		r := newRouter(t)
		var wrote int
		r.start(Worker{
			Dial: once(a),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/big" {
					hello(w, r)
					return
				}
				for range 100 {
					n, err := w.Write(make([]byte, 100<<10))
					if wrote += n; err != nil {
						return
					}
				}
			}),
		})
		l := serveLink(t, nc, zmtpDefaults, nil)
		l.welcome(frame.WelcomeInfo{Connection: 1, Windows: frame.Windows{Response: 1 << 30}})
		l.wantJoin(1)
		l.get(1, "/keep-warm")
		l.next()
		nc.shut()
		l.get(2, "/big")
		synctest.Wait()
		// 16 KiB are in the pipe; one batch is being written, one share waits behind it, and one share more may have been in that batch.
		if wrote > 400<<10 {
			t.Errorf("queued %d bytes of one answer for a router that does not read", wrote)
		}
		l.get(3, "/")
		synctest.Wait()
		nc.open()
		before := 0
		for {
			f := l.next()
			if f.Stream == 3 {
				break
			}
			before += len(f.Payload)
		}
		if before > 400<<10 {
			t.Errorf("%d bytes of the big answer went before the small one", before)
		}
		for total := before; total < 100*100<<10; {
			f := l.next()
			total += len(f.Payload)
		}
		l.want(`DATA 2 END 10240000`)
	})
}

// Many streams together can fill the connection's queue: writes wait, and all answers come whole.
func TestFullQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, nc := newGate()
		r := newRouter(t)
		r.start(Worker{
			Concurrency: 200,
			Dial:        once(a),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for range 5 {
					if _, err := w.Write(make([]byte, 50<<10)); err != nil {
						t.Error(err)
					}
				}
			}),
		})
		l := serveLink(t, nc, zmtpDefaults, nil)
		l.welcome(welcome1)
		l.wantJoin(1)
		nc.shut()
		for id := range uint64(150) {
			l.get(id+1, "/")
		}
		synctest.Wait()
		nc.open()
		totals := map[uint64]uint64{}
		for ended := 0; ended < 150; {
			f := l.next()
			totals[f.Stream] += uint64(len(f.Payload))
			if f.End() {
				if ended++; f.Total != 250<<10 || totals[f.Stream] != f.Total {
					t.Errorf("stream %d has %d bytes, and says %d", f.Stream, totals[f.Stream], f.Total)
				}
			}
		}
	})
}
