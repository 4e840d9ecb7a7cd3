package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// packetPair is a connection on which each write arrives by itself.
func packetPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("unixpacket", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if client, err = net.Dial("unixpacket", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// An answer whose head and body are at hand leaves in one call of the kernel.
func TestAnAnswerIsOneWrite(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(c *Conn)
		want  int // bytes of the body as it is sent
	}{
		"empty":    {func(c *Conn) { reply(c, 404, "") }, 0},
		"20 bytes": {func(c *Conn) { reply(c, 200, small) }, 20},
		"16 KiB":   {func(c *Conn) { reply(c, 200, strings.Repeat("b", 16<<10)) }, 16 << 10},
		"60 KiB":   {func(c *Conn) { reply(c, 200, strings.Repeat("b", 60<<10)) }, 60 << 10},
		"a large head": {func(c *Conn) {
			c.Status(200)
			field(c, "x", strings.Repeat("v", 9000))
			c.EndHead(2)
			_ = c.Write([]byte("ok"))
			_ = c.Finish()
		}, 2},
		"small writes": {func(c *Conn) {
			c.Status(200)
			c.EndHead(4)
			_ = c.Write([]byte("on"))
			_ = c.Write([]byte("ce"))
			_ = c.Finish()
		}, 4},
		"chunked": {func(c *Conn) { c.Status(200); c.EndHead(-1); _ = c.Write([]byte("ok")); _ = c.Finish() }, len("2\r\nok\r\n0\r\n\r\n")},
		"chunks": {func(c *Conn) {
			c.Status(200)
			c.EndHead(-1)
			_ = c.Write([]byte("ok"))
			_ = c.Write([]byte("ok"))
			_ = c.Finish()
		}, len("2\r\nok\r\n2\r\nok\r\n0\r\n\r\n")},
		"60 KiB of unknown length": {func(c *Conn) {
			c.Status(200)
			c.EndHead(-1)
			_ = c.Write(bytes.Repeat([]byte("b"), 60<<10))
			_ = c.Finish()
		}, len("f000\r\n") + 60<<10 + len("\r\n")},
		"with trailers": {func(c *Conn) {
			c.Status(200)
			c.EndHead(-1)
			_ = c.Write([]byte("ok"))
			field(c, "t", "v")
			_ = c.Finish()
		}, len("2\r\nok\r\n0\r\nT: v\r\n\r\n")},
		"closing":         {func(c *Conn) { c.Close(); reply(c, 200, small) }, 20},
		"after a refusal": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "unixpacket", &Server{}, func(s *stage) {
				client, server := packetPair(t)
				v := s.admit(client, server, &actor{serve: tc.serve})
				request := asks("/")
				if tc.serve == nil {
					request = "GET /\r\n\r\n"
				}
				v.say(request)
				b := make([]byte, 1<<20)
				n, err := client.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				_, body, _ := bytes.Cut(b[:n], []byte("\r\n\r\n"))
				if tc.serve != nil && len(body) != tc.want {
					t.Errorf("the first write was %d bytes, %d of the body; want %d of it", n, len(body), tc.want)
				}
				if tc.serve == nil && !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 400 ")) {
					t.Errorf("got %q", b[:n])
				}
				_ = v.Close()
			})
		})
	}
}

// Pipelined requests are answered each in one write.
func TestPipelinedAnswersAreOneWriteEach(t *testing.T) {
	play(t, "unixpacket", &Server{}, func(s *stage) {
		client, server := packetPair(t)
		v := s.admit(client, server, &silent{smallAnswer()})
		v.say(strings.Repeat(asks("/"), 10))
		b := make([]byte, 1<<16)
		got := 0
		for answered := 0; answered < 10; got++ {
			n, err := client.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			answered += bytes.Count(b[:n], []byte(small))
		}
		if got > 10 {
			t.Errorf("%d writes for 10 answers", got)
		}
	})
}

func narrow(t *testing.T, s *stage, serve func(c *Conn)) *visitor {
	t.Helper()
	client, server := tcpPair(t)
	_ = client.(*net.TCPConn).SetReadBuffer(8 << 10)
	_ = server.(*net.TCPConn).SetWriteBuffer(8 << 10)
	return s.admit(client, server, &actor{serve: serve})
}

// On a bare socket, too, a client that takes nothing is cut, and sees that something broke off.
func TestH14AClientThatDoesNotReadIsResetOverTCP(t *testing.T) {
	play(t, "tcp", &Server{WriteTimeout: 200 * time.Millisecond}, func(s *stage) {
		var err error
		v := narrow(t, s, stuffed(10_000_000, &err))
		v.say(asks("/"))
		<-v.served
		if err == nil {
			t.Error("the handler was told that all was written")
		}
		if h, err := v.try("GET"); err == nil {
			t.Errorf("the client got %d bytes and a clean end", len(h.text))
		}
	})
}

func TestAClientThatReadsSlowlyOverTCPIsNotCut(t *testing.T) {
	t.Parallel()
	play(t, "tcp", &Server{WriteTimeout: time.Second}, func(s *stage) {
		var failed error
		v := narrow(t, s, stuffed(200_000, &failed))
		v.say(asks("/"))
		b := make([]byte, 4<<10)
		var all bytes.Buffer
		for {
			n, err := io.ReadAtLeast(v, b, min(len(b), 200_000-all.Len()))
			all.Write(b[:n])
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("after %d bytes: %v", all.Len(), err)
			}
			if all.Len() > 200_000 {
				break
			}
			time.Sleep(30 * time.Millisecond) // 1.5 s in all
		}
		_ = v.Close()
		<-v.served
		if failed != nil {
			t.Error(failed)
		}
	})
}

// The kernel takes megabytes before a write waits, and tells the writer late that there is room again: what counts is what the
// client takes.
func TestAClientThatTakesLittleOfMuchIsNotCut(t *testing.T) {
	t.Parallel()
	play(t, "tcp", &Server{WriteTimeout: 2 * time.Second}, func(s *stage) {
		client, server := tcpPair(t)
		_ = client.(*net.TCPConn).SetReadBuffer(32 << 10)
		var failed error
		v := s.admit(client, server, &actor{serve: stuffed(50_000_000, &failed)})
		v.say(asks("/"))
		b := make([]byte, 8<<10)
		for range 120 {
			if _, err := io.ReadFull(v, b); err != nil {
				t.Fatalf("the answer broke off: %v", err)
			}
			time.Sleep(50 * time.Millisecond) // 6 s in all, 160 KB a second
		}
		_ = v.Close()
		<-v.served
	})
}

// A connection waits in the kernel without a buffer, in whatever pieces its bytes come.
func TestABodyOverTCPIsReadAsItComes(t *testing.T) {
	play(t, "tcp", &Server{}, func(s *stage) {
		got := make(chan string)
		v := s.enter(&actor{serve: func(c *Conn) {
			p := make([]byte, 100)
			for {
				n, err := c.Read(p)
				if n > 0 {
					got <- string(p[:n])
				}
				if err != nil {
					break
				}
			}
			reply(c, 200, "")
		}})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		for _, piece := range []string{"one", "two", "three"} {
			v.say(string(rune('0'+len(piece))) + "\r\n" + piece)
			if g := <-got; g != piece {
				t.Errorf("got %q, want %q before more comes", g, piece)
			}
			v.say("\r\n")
		}
		v.say("0\r\n\r\n")
		v.wants("PUT", "")
	})
}
