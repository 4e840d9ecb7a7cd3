package http1

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// drains begins to drain, and tells how long that took.
func (s *stage) drains(ctx context.Context, farewell time.Duration) (took func() time.Duration) {
	var wg sync.WaitGroup
	var d time.Duration
	wg.Go(func() {
		start := time.Now()
		s.srv.Drain(ctx, farewell)
		d = time.Since(start)
	})
	return func() time.Duration { wg.Wait(); return d }
}

func TestDrainOfNothing(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		s.srv.Drain(s.t.Context(), time.Hour)
	})
}

func TestDrainClosesIdleConnectionsAfterTheFarewell(t *testing.T) { // F3
	onPipes(t, &Server{}, func(s *stage) {
		fresh, used, late := s.enter(&actor{}), s.enter(&actor{}), s.enter(&actor{})
		used.stays()
		synctest.Wait()
		took := s.drains(s.t.Context(), time.Second)
		time.Sleep(800 * time.Millisecond)
		late.say(asks("/late")) // it was on its way
		if h := late.wants("GET", "GET /late "); !h.Close {
			s.t.Error("the last answer does not say Connection: close")
		}
		for _, v := range []*visitor{fresh, used, late} {
			v.ends()
			_ = v.Close()
		}
		about(s.t, "drained", took(), time.Second)
	})
}

// A request whose first bytes come within the farewell has its own time for the rest.
func TestDrainServesARequestThatHasBegunToCome(t *testing.T) { // F3
	for name, used := range map[string]bool{"on a new connection": false, "after another": true} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, &Server{}, func(s *stage) {
				v := s.enter(&actor{})
				if used {
					v.stays()
				}
				synctest.Wait()
				took := s.drains(s.t.Context(), time.Second)
				time.Sleep(800 * time.Millisecond)
				request := asks("/late")
				v.say(request[:9])
				time.Sleep(time.Second)
				v.say(request[9:])
				if h := v.hear("GET"); h.text != "GET /late " {
					s.t.Errorf("got %d %q", h.StatusCode, h.text)
				}
				_ = v.Close()
				took()
			})
		})
	}
}

func TestDrainWaitsForRequests(t *testing.T) { // F3
	onPipes(t, &Server{}, func(s *stage) {
		a := &actor{serve: func(c *Conn) { time.Sleep(10 * time.Second); echo(c) }}
		v := s.enter(a)
		v.say(asks("/busy"))
		synctest.Wait()
		took := s.drains(s.t.Context(), time.Second)
		if h := v.wants("GET", "GET /busy "); !h.Close {
			s.t.Error("the answer does not say Connection: close")
		}
		v.ends()
		_ = v.Close()
		about(s.t, "drained", took(), 10*time.Second)
		if len(a.leftAt()) > 0 {
			s.t.Error("Left was called")
		}
	})
}

// A client that always has the next request ready does not hold the drain up.
func TestDrainEndsThoughAClientKeepsAsking(t *testing.T) { // F3
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{})
		v.stays()
		took := s.drains(s.t.Context(), time.Second)
		for asked := 0; ; asked++ {
			time.Sleep(10 * time.Millisecond)
			if _, err := io.WriteString(v, asks("/again")); err != nil {
				break
			}
			if h, err := v.try("GET"); err != nil || h.Close {
				break
			}
			if asked == 1000 {
				s.t.Error("after 10 s it is still served")
				break
			}
		}
		_ = v.Close()
		if d := took(); d > 2*time.Second {
			s.t.Errorf("drained after %v", d)
		}
	})
}

// An empty line is no request.
func TestDrainEndsThoughAClientHasSentAnEmptyLine(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{})
		v.stays()
		v.say("\r\n")
		synctest.Wait()
		took := s.drains(s.t.Context(), time.Second)
		if d := took(); d > defaultHeadTimeout+2*beat {
			s.t.Errorf("drained after %v", d)
		}
	})
}

func TestDrainCutsWhatIsLeftWhenItsContextEnds(t *testing.T) { // F3
	onPipes(t, &Server{}, func(s *stage) {
		ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
		defer cancel()
		w := newWaits(func(c *Conn) { c.Status(200); c.EndHead(100); _ = c.Flush() })
		asked := s.enter(w)
		asked.say(asks("/hangs"))
		var err error
		reads := s.enter(&actor{serve: func(c *Conn) { _, err = readBody(c); c.Abort() }})
		reads.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
		idle := s.enter(&actor{})
		synctest.Wait()
		took := s.drains(ctx, time.Hour)
		if d := took(); d < 30*time.Second || d > 30*time.Second+10*beat {
			s.t.Errorf("drained after %v, want 30 s and what the handler takes", d)
		}
		if n := len(w.leftAt()); n != 1 {
			s.t.Errorf("Left was called %d times", n)
		}
		if err == nil {
			s.t.Error("Read goes on")
		}
		idle.ends()
		if _, err := asked.try("GET"); err == nil {
			s.t.Error("the answer that was cut looks whole")
		}
	})
}

// Over TCP the cut is a reset: half an answer that ends with the connection must not look whole.
func TestDrainResetsOverTCP(t *testing.T) {
	play(t, "tcp", &Server{}, func(s *stage) {
		w := newWaits(func(c *Conn) { c.Status(200); c.EndHead(-1); _ = c.Write([]byte("half")); _ = c.Flush() })
		v := s.enter(w)
		v.say("GET / HTTP/1.0\r\n\r\n")
		if _, err := v.r.Peek(1); err != nil {
			s.t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(s.t.Context())
		cancel()
		s.srv.Drain(ctx, time.Hour)
		if all, err := v.rest(); err == nil {
			s.t.Errorf("a clean end after %q", all)
		}
	})
}

// Abort shows, even where only the connection's end says that the answer is whole.
func TestAbort(t *testing.T) { // F1
	for _, network := range []string{"tcp", "tls"} {
		for name, request := range map[string]string{"1.0": "GET / HTTP/1.0\r\n\r\n", "1.1": asks("/"), "close": asks("/", "Connection: close")} {
			t.Run(network+" "+name, func(t *testing.T) {
				play(t, network, &Server{}, func(s *stage) {
					for _, work := range []func(c *Conn){
						func(c *Conn) { c.Abort() },
						func(*Conn) {}, // forgotten: no Finish
					} {
						read := make(chan struct{})
						v := s.enter(&actor{serve: func(c *Conn) {
							c.Status(200)
							c.EndHead(-1)
							_ = c.Write([]byte(strings.Repeat("half", 5000)))
							_ = c.Flush()
							<-read
							work(c)
						}})
						v.say(request)
						if _, err := v.r.Peek(100); err != nil {
							s.t.Fatal(err)
						}
						close(read)
						if all, err := v.rest(); err == nil {
							s.t.Errorf("a clean end after %d bytes", len(all))
						}
					}
				})
			})
		}
	}
}

func TestAbortBeforeTheHead(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(200)
			c.Abort()
		}})
		v.say(asks("/") + asks("/"))
		v.ends()
	})
}

// A request that begins while connections are cut is told of it, and one that comes after is not served.
func TestARequestInTheMomentOfTheCut(t *testing.T) {
	play(t, "tcp", &Server{}, func(s *stage) {
		left := make(chan struct{})
		v := s.enter(&leaver{left: left, serve: func(c *Conn) {
			Reset(c.nc) // as cut does, before it sees that a request is served
			<-left
			c.Abort()
		}})
		v.say(asks("/"))
		<-v.served
	})
	play(t, "pipe", &Server{}, func(s *stage) {
		begun, end := make(chan struct{}), make(chan struct{})
		busy := s.enter(&actor{serve: func(c *Conn) {
			close(begun)
			<-end
			c.Abort()
		}})
		busy.say(asks("/"))
		<-begun
		over, stop := context.WithCancel(context.Background())
		stop()
		var draining sync.WaitGroup
		draining.Go(func() { s.srv.Drain(over, 0) })
		for cutting := false; !cutting; time.Sleep(time.Millisecond) {
			s.srv.mu.Lock()
			cutting = s.srv.cutting
			s.srv.mu.Unlock()
		}
		late := &actor{}
		client, server := s.pair()
		if _, err := io.WriteString(client, asks("/")); err != nil {
			s.t.Fatal(err)
		}
		v := s.admit(client, server, late)
		<-v.served
		if len(late.calls) > 0 {
			s.t.Error("a connection that came after the cut was served")
		}
		close(end)
		draining.Wait()
	})
}

type leaver struct {
	serve func(c *Conn)
	left  chan struct{}
}

func (l *leaver) Serve(c *Conn)            { l.serve(c) }
func (l *leaver) Refuse(c *Conn, _ *Error) { c.Abort() }
func (l *leaver) Left()                    { close(l.left) }
