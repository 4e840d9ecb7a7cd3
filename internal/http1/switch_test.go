package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const upgrading = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"

const switched = "HTTP/1.1 101 Switching Protocols\r\nX-Own: 1\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"

// shout answers each byte in upper case until the client has said all, and then says bye.
func shout(c *Conn) {
	c.Status(101)
	field(c, "x-own", "1")
	if c.EndSwitch([]byte("shout")) != nil {
		return
	}
	p := make([]byte, 3)
	for {
		n, err := c.Read(p)
		if c.Write(bytes.ToUpper(p[:n])) != nil || c.Flush() != nil {
			return
		}
		if errors.Is(err, io.EOF) {
			_ = c.Write([]byte("bye"))
			_ = c.Finish()
			return
		}
		if err != nil {
			c.Abort()
			return
		}
	}
}

func (v *visitor) wantsBytes(want string) {
	v.t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(v.r, b); err != nil || string(b) != want {
		v.t.Fatalf("got %q, %v; want %q", b[:n], err, want)
	}
}

func TestH9Switch(t *testing.T) {
	for name, first := range map[string]string{"waits for 101": "", "does not wait": "early words", "much at once": strings.Repeat("w", 9000)} {
		t.Run(name, func(t *testing.T) {
			onAll(t, func(s *stage) {
				a := &actor{serve: shout}
				v := s.enter(a)
				v.say(upgrading + first)
				v.wantsBytes(switched + strings.ToUpper(first))
				for range 100 {
					v.say("hello GET / HTTP/1.1\r\n\r\n")
					v.wantsBytes("HELLO GET / HTTP/1.1\r\n\r\n")
				}
				v.closeWrite()
				v.wantsBytes("bye")
				v.ends()
				if a.served() != "GET /chat" {
					s.t.Errorf("served %s", a.served())
				}
			})
		})
	}
}

func TestSwitchAfterARequestAndWithABody(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			if !c.Head().Upgrade {
				echo(c)
				return
			}
			if body, err := readBody(c); body != "body" || err != nil {
				s.t.Errorf("the body is %q, %v", body, err)
			}
			shout(c)
		}})
		v.stays()
		v.say("PUT /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: shout\r\nContent-Length: 4\r\n\r\nbodyafter")
		v.wantsBytes(switched + "AFTER")
		v.closeWrite()
		v.wantsBytes("bye")
		v.ends()
	})
}

// Both directions run at their own pace: silence in one is no timeout, and does not hold the other.
func TestSwitchedConnectionsMayBeSilent(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(101)
			_ = c.EndSwitch([]byte("tick"))
			s.conns.Go(func() {
				if b, err := io.ReadAll(readerOf(c)); string(b) != "last word" || err != nil {
					s.t.Errorf("Read said %q, %v", b, err)
				}
			})
			for range 5 {
				time.Sleep(10 * time.Minute)
				_ = c.Write([]byte("tick"))
				_ = c.Flush()
			}
			time.Sleep(10 * time.Minute)
			_ = c.Finish()
		}})
		v.say(strings.Replace(upgrading, "shout", "tick", 1))
		v.wantsBytes("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tick\r\n\r\n" + strings.Repeat("tick", 5))
		v.say("last word")
		v.closeWrite()
		v.ends()
	})
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func readerOf(c *Conn) io.Reader { return readFunc(c.Read) }

// The side that ends first leaves the other the time to read.
func TestSwitchEndedByTheServer(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(101)
			_ = c.EndSwitch([]byte("x"))
			_ = c.Write([]byte(strings.Repeat("f", 40_000)))
			_ = c.Finish()
		}})
		v.say(upgrading)
		v.say(strings.Repeat("not read", 4000))
		all, err := v.rest()
		if _, body, _ := strings.Cut(all, "\r\n\r\n"); len(body) != 40_000 || err != nil {
			s.t.Errorf("%d bytes, %v", len(body), err)
		}
	})
}

func TestHaltEndsASwitchedRead(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(101)
			_ = c.EndSwitch([]byte("x"))
			s.conns.Go(func() {
				if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
					s.t.Errorf("Read said %v", err)
				}
			})
			synctest.Wait()
			c.Halt()
			synctest.Wait()
			_ = c.Finish()
		}})
		v.say(upgrading)
		if h := v.hear("GET"); h.StatusCode != http.StatusSwitchingProtocols {
			s.t.Errorf("got %d", h.StatusCode)
		}
		<-v.served
	})
}

// takes is an HTTP2 that tells what it was given.
func takes(got chan<- string) func(nc net.Conn) {
	return func(nc net.Conn) {
		b, err := io.ReadAll(nc)
		if err != nil {
			b = append(b, "; "+err.Error()...)
		}
		_, _ = nc.Write([]byte("h2 here"))
		_ = nc.Close()
		got <- string(b)
	}
}

func TestHTTP2GetsItsPreface(t *testing.T) {
	all := preface + "frames " + strings.Repeat("f", 6000)
	for _, network := range []string{"pipe", "tcp", "tls"} {
		story := func(s *stage) {
			got := make(chan string, 1)
			s.srv.HTTP2 = takes(got)
			for at := range len(preface) + 3 { // 0: at once
				a := &actor{}
				v := s.enter(a)
				v.say(all[:at])
				if network == "pipe" {
					synctest.Wait()
				}
				v.say(all[at:])
				v.closeWrite()
				v.wantsBytes("h2 here")
				v.ends()
				if g := <-got; g != all || a.served() != "" || len(a.refused) > 0 {
					s.t.Errorf("split behind %d bytes, HTTP2 got %.60q, %d bytes; served %q, refused %v", at, g, len(g), a.served(), a.refused)
				}
			}
		}
		t.Run(network, func(t *testing.T) {
			if network == "pipe" {
				onPipes(t, &Server{}, story)
				return
			}
			play(t, network, &Server{}, story)
		})
	}
}

// Once handed over, the connection has none of our limits.
func TestHTTP2IsNotCut(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		got := make(chan string, 1)
		s.srv.HTTP2 = takes(got)
		v := s.enter(&actor{})
		v.say(preface[:5])
		time.Sleep(5 * time.Second)
		v.say(preface[5:])
		for range 10 {
			time.Sleep(time.Minute)
			v.say(".")
		}
		v.closeWrite()
		v.wantsBytes("h2 here")
		if g := <-got; g != preface+".........." {
			s.t.Errorf("HTTP2 got %q", g)
		}
	})
}

func TestWhatOnlyBeginsLikeHTTP2(t *testing.T) {
	for name, tc := range map[string]struct {
		parts  string // | is a pause
		status []int
	}{
		"POST":                     {"P|OST / HTTP/1.1\r\nHost: h\r\n\r\n", []int{200}},
		"PRIX":                     {"PRI|X / HTTP/1.1\r\nHost: h\r\n\r\n", []int{200}},
		"PRI of 1.1":               {"PRI /| HTTP/1.1\r\nHost: h\r\n\r\n", []int{200}},
		"PRI without SM":           {"PRI * HTTP/2.0\r\n\r\n|GET / HTTP/1.1\r\nHost: h\r\n\r\n", []int{505}},
		"PRI with SN":              {"PRI * HTTP/2.0\r\n\r\nS|N\r\n\r\n", []int{505}},
		"PRI with fields":          {"PRI * HTTP/2.0\r\n|Host: h\r\n\r\nSM\r\n\r\n", []int{505}},
		"PRI that goes no further": {"PRI * HTTP/2.0\r\n\r\nSM", []int{408}},
		"PRI after a request":      {"GET / HTTP/1.1\r\nHost: h\r\n\r\n" + preface, []int{200, 505}},
		"PRI after an empty line":  {"\r\n|" + preface, nil},
		"a P":                      {"P", []int{408}},
	} {
		t.Run(name, func(t *testing.T) {
			taken := 0
			onPipes(t, &Server{HTTP2: func(nc net.Conn) { taken++; _ = nc.Close() }}, func(s *stage) {
				v := s.enter(&actor{})
				for _, part := range strings.Split(tc.parts, "|") {
					v.say(part)
					synctest.Wait()
				}
				for _, status := range tc.status {
					if h := v.hear("POST"); h.StatusCode != status {
						s.t.Errorf("got %d, want %d", h.StatusCode, status)
					}
				}
				_ = v.Close()
				<-v.served
			})
			if taken > 0 && tc.status != nil {
				t.Error("HTTP2 got it")
			}
		})
	}
}

func TestThePrefaceIsRefusedWithoutHTTP2(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		v.say(preface)
		if h := v.hear("GET"); h.StatusCode != http.StatusHTTPVersionNotSupported || !h.Close {
			s.t.Errorf("got %d", h.StatusCode)
		}
		v.ends()
	})
}
