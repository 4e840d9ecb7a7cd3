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

func TestBodyInHeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, echo)
		l.send(frame.AppendHeaders(nil, 1, requestFields("POST", "/"), true, 5), []byte("hello"))
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "5 hello"`) // and no WINDOW_UPDATE
	})
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	fmt.Fprintf(w, "%d %s", r.ContentLength, b)
}

func TestBodyFlowsUnderWindows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		step := make(chan int)
		_, l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			for n := range step {
				if _, err := io.ReadFull(r.Body, make([]byte, n)); err != nil {
					t.Error(err)
				}
			}
		})
		l.post(1, "/")
		l.data(1, strings.Repeat("x", 60<<10))
		l.wantQuiet() // the handler does not read yet: no credit
		step <- 1
		l.want(`WINDOW_UPDATE 1 +196608`) // from 64 to 256 KiB
		step <- 60<<10 - 1
		l.wantQuiet() // less than a quarter is consumed
		l.data(1, strings.Repeat("x", 4<<10))
		step <- 4 << 10
		l.want(`WINDOW_UPDATE 1 +65536`)
		for range 4 {
			l.data(1, strings.Repeat("x", 64<<10)) // as much as the window allows
		}
		step <- 256 << 10
		for total := 0; total < 256<<10; {
			f := l.next()
			total += int(f.Credit)
			if f.Type != frame.WindowUpdate || f.Credit < 64<<10 {
				t.Errorf("got %s, want credit of at least 64 KiB", show(f))
			}
		}
		for range 64 { // tiny payloads cost 1 KiB each
			l.data(1, "x")
		}
		step <- 64
		l.want(`WINDOW_UPDATE 1 +65536`)
		close(step)
		l.want(`HEADERS 1 [:status: 200, content-length: 0] END 0`)
	})
}

func TestShortBodyCostsNoCredit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, echo)
		l.post(1, "/", "content-length", "5")
		l.wantQuiet() // it reads, and the window is wide enough
		l.end(1, 5, "hello")
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "5 hello"`)
	})
}

func TestReadWindow(t *testing.T) {
	for window, want := range map[int]string{1 << 20: `WINDOW_UPDATE 1 +983040`, 1: ""} {
		bubble(t, func(t *testing.T) {
			r := newRouter(t)
			r.start(Worker{ReadWindow: window, Handler: http.HandlerFunc(echo)})
			l := r.join()
			l.post(1, "/")
			if want != "" {
				l.want(want)
			}
			l.wantQuiet()
			for range 4 { // a window of 64 KiB at least is kept up
				l.data(1, strings.Repeat("x", 32<<10))
				synctest.Wait()
			}
		})
	}
}

func TestRouterBeyondTheWindow(t *testing.T) {
	for name, tc := range map[string]struct {
		window uint64 // of WELCOME
		fields []string
		send   []int // sizes
		want   string
	}{
		"64 KiB and one":   {0, nil, []int{64 << 10, 1}, `payload that costs 1024, the window is 0`},
		"tiny ones":        {2048, nil, []int{1, 1, 1}, `payload that costs 1024, the window is 0`},
		"before 100":       {0, []string{"expect", "100-continue"}, []int{1}, `payload that costs 1024, the window is 0`},
		"WELCOME's window": {1 << 10, nil, []int{1025}, `payload that costs 1025, the window is 1024`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRouter(t)
				r.start(Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("Read: %v", err)
					}
					if _, err := w.Write([]byte("x")); err == nil {
						t.Error("Write succeeds")
					}
				})})
				l := r.accept()
				l.welcome(frame.WelcomeInfo{Connection: 1, Windows: frame.Windows{Request: tc.window}})
				l.wantJoin(1)
				l.post(1, "/", tc.fields...)
				l.wantQuiet()
				for _, n := range tc.send {
					l.data(1, strings.Repeat("x", n))
				}
				l.want(`RST_STREAM 1 FLOW_CONTROL_ERROR ` + tc.want)
			})
		})
	}
}

func TestEndOfBodyIsChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		fields []string
		end    func(l *routerLink)
		want   string
	}{
		"total too large": {nil, func(l *routerLink) { l.end(1, 6, "hello") }, `PROTOCOL_ERROR request's body of 5 bytes, END_STREAM says 6 and content-length -1 (-1: nothing)`},
		"total too small": {nil, func(l *routerLink) { l.end(1, 4, "hello") }, `PROTOCOL_ERROR request's body of 5 bytes, END_STREAM says 4 and content-length -1 (-1: nothing)`},
		"content-length":  {[]string{"content-length", "9"}, func(l *routerLink) { l.end(1, 5, "hello") }, `PROTOCOL_ERROR request's body of 5 bytes, END_STREAM says 5 and content-length 9 (-1: nothing)`},
		"DATA after it":   {nil, func(l *routerLink) { l.end(1, 5, "hello"); l.data(1, "x") }, `STREAM_CLOSED DATA after END_STREAM`},
		"pseudo trailers": {nil, func(l *routerLink) {
			l.send(frame.AppendHeaders(nil, 1, fieldsOf(":method", "GET"), true, 0), nil)
		}, `PROTOCOL_ERROR HEADERS on an open stream that are no trailers`},
		"trailers go on": {nil, func(l *routerLink) {
			l.send(frame.AppendHeaders(nil, 1, fieldsOf("a", "b"), false, 0), nil)
		}, `PROTOCOL_ERROR HEADERS on an open stream that are no trailers`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				errs := make(chan error, 1)
				_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					_, err := io.ReadAll(r.Body)
					errs <- err
					fmt.Fprint(w, "done")
				})
				l.post(1, "/", tc.fields...)
				l.wantQuiet()
				tc.end(l)
				l.want(`RST_STREAM 1 ` + tc.want)
				if err := <-errs; !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("Read: %v, want io.ErrUnexpectedEOF", err)
				}
			})
		})
	}
}

func TestExpectContinue(t *testing.T) {
	t.Run("by reading", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Expect"); got != "100-continue" {
					t.Errorf("Expect: %q", got)
				}
				echo(w, r)
			})
			l.post(1, "/", "expect", "100-continue", "content-length", "5")
			l.want(`WINDOW_UPDATE 1 +262144`)
			l.end(1, 5, "hello")
			l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "5 hello"`)
		})
	})
	for name, values := range map[string][]string{
		"first of two": {"100-continue", "something else"},
		"last of two":  {"something else", "100-continue"},
		"twice":        {"100-continue", "100-continue"},
		"upper case":   {"100-Continue", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, echo)
				l.post(1, "/", "expect", values[0], "x-between", "1", "expect", values[1], "content-length", "5")
				synctest.Wait()
				if len(l.got) == 0 {
					t.Fatal("the worker does not ask for the body")
				}
				l.want(`WINDOW_UPDATE 1 +262144`)
				l.end(1, 5, "hello")
				l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "5 hello"`)
			})
		})
	}
	t.Run("by WriteHeader", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			release := make(chan struct{})
			_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusContinue)
				<-release
				echo(w, r)
			})
			l.post(1, "/", "expect", "100-continue", "content-length", "5")
			l.want(`HEADERS 1 [:status: 100]`)
			l.end(1, 5, "hello")
			close(release)
			l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "5 hello"`)
		})
	})
	t.Run("refused", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) })
			l.post(1, "/", "expect", "100-continue")
			l.want(`HEADERS 1 [:status: 417, content-length: 0] END 0`)
		})
	})
}

func TestEarlyAnswerEndsBothWays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var body io.Reader
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body = r.Body
			w.WriteHeader(http.StatusForbidden)
		})
		l.post(1, "/")
		l.data(1, "x")
		l.want(`HEADERS 1 [:status: 403, content-length: 0] END 0`)
		for range 100 {
			l.data(1, strings.Repeat("x", 64<<10))
			synctest.Wait() // all of it would not fit into the queue at once
		}
		l.end(1, 1, "")
		l.wantQuiet()
		if _, err := body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("Read after the handler has returned: %v", err)
		}
	})
}

func TestClosedBodyIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		_, l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("Read: %v", err)
			}
			<-release
		})
		l.post(1, "/")
		l.data(1, strings.Repeat("x", 64<<10))
		l.wantQuiet()
		close(release)
		l.want(`HEADERS 1 [:status: 200, content-length: 0] END 0`)
	})
}

func TestReadDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			rc := http.NewResponseController(w)
			if err := rc.SetReadDeadline(began.Add(time.Minute)); err != nil {
				t.Error(err)
			}
			if err := rc.SetReadDeadline(began.Add(time.Second)); err != nil {
				t.Error(err)
			}
			b, err := io.ReadAll(r.Body)
			fmt.Fprint(w, string(b), errors.Is(err, os.ErrDeadlineExceeded), time.Since(began))
		})
		l.post(1, "/")
		l.data(1, "a")
		l.want(`WINDOW_UPDATE 1 +196608`)
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 8] END 8 "atrue 1s"`)
	})
}

func TestSlowReaderHoldsUpItsOwnStreamOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-r.Context().Done()
				return
			}
			echo(w, r)
		})
		l.post(1, "/slow")
		l.data(1, strings.Repeat("x", 64<<10))
		for id := uint64(2); id < 100; id++ {
			l.send(frame.AppendHeaders(nil, id, requestFields("POST", "/"), true, 5), []byte("hello"))
			l.want(fmt.Sprintf(`HEADERS %d [`+helloHead+`, content-length: 7] END 7 "5 hello"`, id))
		}
	})
}

// What waits unread takes no more memory than the window, however it came.
func TestBodyMemory(t *testing.T) {
	st := &stream{}
	st.readable.L = &st.mu
	b := &body{st: st, first: 64 << 10, declared: -1}
	b.open()
	want := []byte{}
	for i := range 1000 {
		p := bytes.Repeat([]byte{byte(i)}, 1+i*61%1500)
		if cost := frame.Cost(len(p)); cost > b.window {
			b.window += b.due
			b.due = 0
			b.opened = true
			b.limit = 1 << 30 // no credit is sent from here
			got := make([]byte, len(want))
			if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("read other bytes than were sent, or %v", err)
			}
			want = want[:0]
			b.limit, b.window = 64<<10, 64<<10
		}
		if err := b.receive(&frame.Frame{Payload: p}, frame.Fields{}); err != nil {
			t.Fatal(err)
		}
		want = append(want, p...)
		if cap(b.data) > 64<<10 {
			t.Fatalf("holds %d bytes", cap(b.data))
		}
	}
}

func TestBodyFramesCostNoAllocation(t *testing.T) {
	st := &stream{}
	st.readable.L = &st.mu
	b := &body{st: st, first: 64 << 10, declared: -1, opened: true}
	b.open()
	b.limit = 1 << 30 // no credit is sent from here
	f := &frame.Frame{Payload: make([]byte, 32<<10)}
	buf := make([]byte, 64<<10)
	allocs := testing.AllocsPerRun(100, func() {
		b.window = 64 << 10
		if err := b.receive(f, frame.Fields{}); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Read(buf); n != 32<<10 || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("a DATA frame costs %v allocations", allocs)
	}
}
