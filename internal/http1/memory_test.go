package http1

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

const small = "twenty bytes, body.."

// smallAnswer allocates nothing of its own.
func smallAnswer() func(c *Conn) {
	body, name, value := []byte(small), []byte("content-type"), []byte("text/plain")
	return func(c *Conn) {
		c.Status(200)
		c.Field(name, value)
		c.EndHead(int64(len(body)))
		_ = c.Write(body)
		_ = c.Finish()
	}
}

// A bodiless request and its small answer allocate nothing once a connection is warm.
func TestARequestAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("SKIPPED: the race detector allocates by itself; run this without -race")
	}
	request := []byte(asks("/some/path?with=query", "User-Agent: test", "Accept: */*", "Cookie: a=b; c=d"))
	for name, pipelined := range map[string]int{"one by one": 1, "pipelined": 5} {
		for _, network := range []string{"tcp", "pipe"} {
			t.Run(network+", "+name, func(t *testing.T) {
				play(t, network, &Server{}, func(s *stage) {
					v := s.enter(&silent{smallAnswer()})
					v.say(string(request))
					answer := v.r // the first shows how long each is
					b, err := answer.Peek(1)
					for err == nil && !strings.HasSuffix(string(b), small) {
						b, err = answer.Peek(len(b) + 1)
					}
					if err != nil {
						t.Fatal(err)
					}
					_, _ = answer.Discard(len(b))
					out, in := []byte(strings.Repeat(string(request), pipelined)), make([]byte, pipelined*len(b))
					round := func() {
						if _, err := v.Write(out); err != nil {
							t.Fatal(err)
						}
						for n := 0; n < len(in); {
							k, err := v.Read(in[n:])
							if err != nil {
								t.Fatal(err)
							}
							n += k
						}
					}
					for range 200 {
						round()
					}
					const rounds = 5000
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					for range rounds {
						round()
					}
					runtime.ReadMemStats(&after)
					// Date's line of each second, and what the runtime does meanwhile, may.
					if n := after.Mallocs - before.Mallocs; n > rounds/50 {
						t.Errorf("%d allocations, %d bytes, in %d requests", n, after.TotalAlloc-before.TotalAlloc, rounds*pipelined)
					}
					if string(in[len(in)-len(small):]) != small {
						t.Errorf("the last answer ends in %q", in[len(in)-len(small):])
					}
				})
			})
		}
	}
}

// silent is a Handler that keeps no account of its calls.
type silent struct{ serve func(c *Conn) }

func (s *silent) Serve(c *Conn)              { s.serve(c) }
func (s *silent) Refuse(c *Conn, why *Error) { reply(c, why.Status, why.Reason) }
func (s *silent) Left()                      {}

// requests are those after which a connection must hold nothing.
var requests = map[string]struct {
	text string
	n    int // of requests in it
}{
	"small":                 {asks("/"), 1},
	"a large head":          {asks("/", "F: "+strings.Repeat("f", 50_000)), 1},
	"many fields":           {asks("/", strings.Split(strings.Repeat("F: f|", 200)+"G: g", "|")...), 1},
	"a large head, a small": {asks("/", append(strings.Split(strings.Repeat("F: f|", 10)+"G: g", "|"), "F: "+strings.Repeat("f", 50_000))...) + asks("/"), 2},
	"a body":                {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("b", 9000), 1},
	"trailers":              {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nF: " + strings.Repeat("f", 50_000) + "\r\n\r\n", 1},
	"many trailers":         {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("F: f\r\n", 200) + "\r\n", 1},
}

func TestIdleConnectionsHoldNoBuffers(t *testing.T) { // O7
	for name, request := range requests {
		for _, network := range []string{"pipe", "tls"} {
			t.Run(network+", "+name, func(t *testing.T) {
				story := func(s *stage) {
					v := s.enter(&actor{})
					v.say(request.text)
					for range request.n {
						v.hear("GET")
					}
					s.srv.mu.Lock()
					c := s.srv.conns[0]
					s.srv.mu.Unlock()
					if network == "pipe" {
						synctest.Wait()
					}
					for !c.idle.Load() { // by then it waits with nothing in hand
						runtime.Gosched()
					}
					if c.buf != nil || c.out != nil {
						s.t.Errorf("it holds %d and %d bytes", cap(c.buf), cap(c.out))
					}
					if c.head.Method != nil || c.head.Path != nil || c.head.Authority != nil {
						s.t.Error("the head still points into its buffer")
					}
					for _, f := range append(c.head.Fields[:cap(c.head.Fields)], c.in.trailers[:cap(c.in.trailers)]...) {
						if f.Name != nil || f.Value != nil {
							s.t.Fatalf("the field %.20s still points into a buffer", f.Name)
						}
					}
				}
				if network == "pipe" {
					onPipes(t, &Server{}, story)
					return
				}
				play(t, network, &Server{}, story)
			})
		}
	}
}

// What a thousand idle connections cost on the heap, their clients' ends included.
func TestAThousandIdleConnections(t *testing.T) { // O7
	if raced {
		t.Skip("SKIPPED: the race detector has memory of its own for each connection; run this without -race")
	}
	const n, most = 1000, 4 << 10
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			play(t, "tcp", &Server{}, func(s *stage) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = l.Close() }()
				h := &silent{func(c *Conn) {
					_, _ = readBody(c)
					c.Status(204)
					c.EndHead(0)
					_ = c.Finish()
				}}
				before := heap()
				clients := make([]net.Conn, n)
				in := make([]byte, 1000)
				for i := range clients {
					client, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						t.Fatalf("connection %d: %v", i, err)
					}
					server, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					clients[i] = client
					s.conns.Go(func() { s.srv.ServeConn(server, h) })
					if _, err := io.WriteString(client, request.text); err != nil {
						t.Fatal(err)
					}
					for got := ""; strings.Count(got, "\r\n\r\n") < request.n; {
						k, err := client.Read(in)
						if err != nil {
							t.Fatal(err)
						}
						got += string(in[:k])
					}
				}
				each := (heap() - before) / n
				t.Logf("%d bytes each", each)
				if each > most {
					t.Errorf("%d bytes for each idle connection, more than %d", each, most)
				}
				for _, nc := range clients {
					_ = nc.Close()
				}
			})
		})
	}
}

// heap is what is in use once the collector, and the pools that empty at every second turn of it, are done.
func heap() int {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
