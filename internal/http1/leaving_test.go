package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A client may close its sending half right behind its request: an answer within 50 ms reaches it, wherever between two
// beats of the clock the request came.
func TestH15HalfCloseBehindARequest(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		for shift := time.Duration(0); shift < beat; shift += time.Millisecond {
			a := &actor{serve: func(c *Conn) { time.Sleep(49 * time.Millisecond); echo(c) }}
			v := s.enter(a)
			time.Sleep(beat - time.Duration(time.Now().UnixNano())%beat + shift)
			v.say(asks("/half"))
			v.closeWrite()
			v.wants("GET", "GET /half ")
			v.ends()
			if left := a.leftAt(); len(left) > 0 {
				s.t.Errorf("%v after a beat: Left was called", shift)
			}
		}
	})
}

func TestHalfCloseBehindPipelinedRequests(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		v.say(asks("/one") + asks("/two") + "PUT /three HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
		v.closeWrite()
		v.wants("GET", "GET /one ")
		v.wants("GET", "GET /two ")
		v.wants("PUT", "PUT /three body")
		v.ends()
	})
}

func TestH15HalfCloseWithinARequest(t *testing.T) {
	for name, tc := range map[string]struct {
		request string
		status  int // 0: silence
	}{
		"before it":         {"", 0},
		"after a line":      {"\r\n", 0},
		"in the head":       {partHead, 400},
		"in a length":       {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", 400},
		"before a length":   {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n", 400},
		"in a chunk":        {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", 400},
		"behind a chunk":    {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc", 400},
		"before the end":    {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 400},
		"within the end":    {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", 400},
		"in the trailers":   {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n", 400},
		"waiting for a 100": {expecting, 400},
	} {
		t.Run(name, func(t *testing.T) {
			onAll(t, func(s *stage) {
				v := s.enter(&actor{})
				v.say(tc.request)
				v.closeWrite()
				if tc.status != 0 {
					h := v.hear("PUT")
					if h.StatusCode == http.StatusContinue {
						h = v.hear("PUT")
					}
					if h.StatusCode != tc.status || !h.Close {
						v.t.Errorf("got %d, Connection: close %v", h.StatusCode, h.Close)
					}
				}
				v.ends()
			})
		})
	}
}

// waits is a Serve that goes on until Left, and then for a while.
type waits struct {
	actor
	left chan struct{}
}

func newWaits(work func(c *Conn)) *waits {
	w := &waits{left: make(chan struct{}, 1)}
	w.serve = func(c *Conn) {
		if work != nil {
			work(c)
		}
		<-w.left
		time.Sleep(4 * beat) // a second call would come now
		c.Abort()
	}
	return w
}

func (w *waits) Left() {
	w.actor.Left()
	w.left <- struct{}{} // the second would block the sweep for ever
}

// whereTo leaves are the phases that a client may leave in, and what the handler has done by then.
var whereTo = map[string]struct {
	request string
	work    func(c *Conn)
}{
	"bodiless":           {asks("/"), nil},
	"body unread":        {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("b", 9000), nil},
	"body read":          {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody", func(c *Conn) { _, _ = readBody(c) }},
	"body to come":       {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", nil},
	"waiting for 100":    {expecting, nil},
	"a request behind":   {asks("/") + asks("/next"), nil},
	"the head has gone":  {asks("/"), func(c *Conn) { c.Status(200); c.EndHead(-1); _ = c.Flush() }},
	"part has gone":      {asks("/"), func(c *Conn) { c.Status(200); c.EndHead(9); _ = c.Write([]byte("part")); _ = c.Flush() }},
	"an info has gone":   {asks("/"), func(c *Conn) { c.Status(103); _ = c.EndInfo() }},
	"HTTP/1.0":           {"GET / HTTP/1.0\r\n\r\n", nil},
	"Connection: close":  {asks("/", "Connection: close"), nil},
	"after some answers": {asks("/", "X-First: 1"), nil},
}

func TestH15AClientThatLeavesIsNoticed(t *testing.T) {
	for name, tc := range whereTo {
		for how, leave := range map[string]func(v *visitor){
			"closes": func(v *visitor) { _ = v.Close() },
			"halves": func(v *visitor) { v.closeWrite() },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				onPipes(t, &Server{}, func(s *stage) {
					for _, after := range []time.Duration{0, 13 * time.Millisecond, 49 * time.Millisecond, time.Second, time.Minute} {
						w := newWaits(tc.work)
						v := s.enter(w)
						v.say(tc.request)
						time.Sleep(after)
						start := time.Now()
						leave(v)
						<-v.served
						left := w.leftAt()
						if len(left) != 1 {
							s.t.Fatalf("Left was called %d times", len(left))
						}
						if took := left[0].Sub(start); took > 150*time.Millisecond {
							s.t.Errorf("noticed after %v", took)
						}
						if n := len(w.calls); n != 1 {
							s.t.Errorf("%d requests were served", n)
						}
					}
				})
			})
		}
	}
}

// What the kernel, or TLS above it, says of a client that has left.
func TestH15AClientThatLeavesIsNoticedOverSockets(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		for how, leave := range map[string]func(nc net.Conn){
			"closes": func(nc net.Conn) { _ = nc.Close() },
			"halves": func(nc net.Conn) { _ = nc.(*net.TCPConn).CloseWrite() },
			"resets": func(nc net.Conn) { _ = nc.(*net.TCPConn).SetLinger(0); _ = nc.Close() },
		} {
			t.Run(network+", "+how, func(t *testing.T) {
				play(t, network, &Server{}, func(s *stage) {
					begun := make(chan struct{})
					handlers, visitors := map[string]*waits{}, map[string]*visitor{}
					for name, tc := range whereTo {
						handlers[name] = newWaits(func(c *Conn) {
							if tc.work != nil {
								tc.work(c)
							}
							begun <- struct{}{}
						})
						visitors[name] = s.enter(handlers[name])
						visitors[name].say(tc.request)
						<-begun
						under := visitors[name].Conn
						if u, ok := under.(interface{ NetConn() net.Conn }); ok {
							under = u.NetConn()
						}
						leave(under)
					}
					for name, v := range visitors {
						<-v.served // it waits for Left
						if n := len(handlers[name].leftAt()); n != 1 {
							s.t.Errorf("%s: Left was called %d times", name, n)
						}
					}
				})
			})
		}
	}
}

// Who stays is not taken for one who has left, however long it takes, and whatever it sends meanwhile.
func TestAClientThatStaysHasNotLeft(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		a := &actor{serve: func(c *Conn) { time.Sleep(10 * time.Minute); echo(c) }}
		v := s.enter(a)
		v.say(asks("/one"))
		time.Sleep(time.Minute)
		v.say(asks("/two"))
		v.wants("GET", "GET /one ")
		v.wants("GET", "GET /two ")
		_ = v.Close()
		<-v.served
		if len(a.leftAt()) > 0 {
			s.t.Error("Left was called, with nothing being served or the client there")
		}
	})
}

// A client that leaves between two requests is nobody's loss.
func TestAClientThatLeavesWhileIdle(t *testing.T) {
	onAll(t, func(s *stage) {
		a := &actor{}
		v := s.enter(a)
		v.say(asks("/"))
		v.wants("GET", "GET / ")
		_ = v.Close()
		<-v.served
		if len(a.leftAt()) > 0 || len(a.refused) > 0 {
			v.t.Errorf("left %v, refused %v", a.leftAt(), a.refused)
		}
	})
}

// A client that leaves while its body is read: Read says so at once, without the sweep.
func TestH15AClientThatLeavesWithinItsBody(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		var got error
		a := &actor{serve: func(c *Conn) {
			_, got = readBody(c)
			c.Abort()
		}}
		v := s.enter(a)
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
		time.Sleep(time.Second)
		start := time.Now()
		_ = v.Close()
		<-v.served
		if took := time.Since(start); !errors.Is(got, errBodyCut) || took > 0 {
			s.t.Errorf("Read said %v after %v", got, took)
		}
	})
}

// Writing to a client that has left fails, and the handler is told.
func TestH15AClientThatLeavesWhileItIsAnswered(t *testing.T) {
	onAll(t, func(s *stage) {
		var err error
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(200)
			c.EndHead(-1)
			for err == nil {
				err = c.Write(make([]byte, 10_000))
			}
		}})
		v.say(asks("/"))
		_, _ = io.CopyN(io.Discard, v, 1000)
		_ = v.Close()
		<-v.served
		if err == nil {
			v.t.Error("no error")
		}
	})
}

func TestHalt(t *testing.T) {
	for name, body := range map[string]string{"nothing has come": "", "some has come": "abc", "a buffer full": strings.Repeat("b", 9000)} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, &Server{}, func(s *stage) {
				var first, second error
				v := s.enter(&actor{serve: func(c *Conn) {
					var wg sync.WaitGroup
					wg.Go(func() { _, first = readBody(c) })
					synctest.Wait()
					c.Halt()
					wg.Wait()
					_, second = c.Read(make([]byte, 1))
					reply(c, 200, "enough")
				}})
				v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + body)
				if h := v.hear("PUT"); h.text != "enough" || !h.Close {
					s.t.Errorf("got %q, Connection: close %v", h.text, h.Close)
				}
				if first == nil || errors.Is(first, io.EOF) || second == nil || errors.Is(second, io.EOF) {
					s.t.Errorf("Read said %v, then %v", first, second)
				}
				v.say(strings.Repeat("b", 200_000)) // thrown away: the client can still read
				v.closeWrite()
				v.ends()
			})
		})
	}
}

func TestHaltBeforeRead(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Halt()
			n, err := c.Read(make([]byte, 10))
			if n > 0 || err == nil || errors.Is(err, io.EOF) {
				s.t.Errorf("Read said %d, %v", n, err)
			}
			reply(c, 200, "enough")
		}})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
		v.wants("PUT", "enough")
		v.closeWrite()
		v.ends()
	})
}

// A Halt that comes too late costs nothing.
func TestHaltAfterTheBody(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			body, _ := readBody(c)
			c.Halt()
			reply(c, 200, body)
		}})
		for range 3 {
			v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
			if h := v.wants("PUT", "body"); h.Close {
				v.t.Error("Connection: close")
			}
		}
	})
}
