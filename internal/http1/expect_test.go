package http1

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const expecting = "PUT /big HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"

func TestH7Expect100IsSentWhenTheBodyIsRead(t *testing.T) {
	for name, request := range map[string]string{
		"length":       expecting + "|body",
		"chunked":      "PUT /big HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n|4\r\nbody\r\n0\r\n\r\n",
		"byte by byte": expecting + "|b|o|d|y",
	} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, &Server{}, func(s *stage) {
				read := make(chan struct{})
				v := s.enter(&actor{serve: func(c *Conn) { <-read; echo(c) }})
				parts := strings.Split(request, "|")
				v.say(parts[0])
				synctest.Wait()
				_ = v.SetReadDeadline(time.Now().Add(time.Second))
				if b, err := v.r.Peek(1); err == nil {
					s.t.Fatalf("%q came before the handler read", b)
				}
				_ = v.SetReadDeadline(time.Time{})
				close(read)
				if h := v.hear("PUT"); h.StatusCode != http.StatusContinue || len(h.Header) > 0 {
					s.t.Fatalf("got %d %v, want a bare 100", h.StatusCode, h.Header)
				}
				for _, part := range parts[1:] {
					v.say(part)
					synctest.Wait()
				}
				v.wants("PUT", "PUT /big body")
				v.stays()
			})
		})
	}
}

func TestH7ExpectOverSockets(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		for range 3 {
			v.say(expecting)
			if h := v.hear("PUT"); h.StatusCode != http.StatusContinue {
				v.t.Fatalf("got %d, want 100", h.StatusCode)
			}
			v.say("body")
			v.wants("PUT", "PUT /big body")
		}
		v.stays()
	})
}

// A client that has not waited needs no 100 (RFC 9110 section 10.1.1).
func TestH7ExpectOfAClientThatDoesNotWait(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		v.say(expecting + "body")
		v.wants("PUT", "PUT /big body")
		v.stays()
	})
}

func TestH7ExpectAndAFinalAnswer(t *testing.T) {
	for name, then := range map[string]string{
		"the client keeps the body":           "",
		"the client sends the body":           "body",
		"the client goes on without the body": asks("/smuggled"),
		"the body looks like a request":       "body" + asks("/smuggled"),
	} {
		t.Run(name, func(t *testing.T) {
			onAll(t, func(s *stage) {
				a := &actor{serve: func(c *Conn) { reply(c, 403, "no") }}
				v := s.enter(a)
				v.say(expecting)
				if h := v.hear("PUT"); h.StatusCode != http.StatusForbidden || h.text != "no" || !h.Close {
					v.t.Errorf("got %d %q, Connection: close %v", h.StatusCode, h.text, h.Close)
				}
				v.say(then)
				v.closeWrite()
				v.ends()
				<-v.served
				if a.served() != "PUT /big" || len(a.refused) > 0 {
					v.t.Errorf("served %s, refused %v", a.served(), a.refused)
				}
			})
		})
	}
}

func TestH7ExpectOfSomethingElse(t *testing.T) {
	for _, value := range []string{"200-ok", "100-continue, x", "100-continue=1"} {
		t.Run(value, func(t *testing.T) {
			onAll(t, func(s *stage) {
				a := &actor{}
				v := s.enter(a)
				v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: " + value + "\r\n\r\n")
				if h := v.hear("PUT"); h.StatusCode != http.StatusExpectationFailed || !h.Close {
					v.t.Errorf("got %d, Connection: close %v", h.StatusCode, h.Close)
				}
				v.ends()
				if a.served() != "" {
					v.t.Errorf("served %s", a.served())
				}
			})
		})
	}
}

func TestExpectInHTTP10IsIgnored(t *testing.T) { // RFC 9110 section 10.1.1
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{})
		v.say("PUT /old HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n")
		synctest.Wait()
		v.say("body")
		v.wants("PUT", "PUT /old body")
		v.stays()
	})
}

func TestExpectWithoutABody(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		v.say(asks("/none", "Expect: 100-continue"))
		v.wants("GET", "GET /none ")
		v.stays()
	})
}

// Behind the final head a 100 would stand in the middle of the answer.
func TestH7ExpectIsNotMetAfterTheFinalHead(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(200)
			c.EndHead(-1)
			_ = c.Flush()
			body, err := readBody(c)
			if err != nil {
				s.t.Errorf("Read said %v", err)
			}
			_ = c.Write([]byte(body))
			_ = c.Finish()
		}})
		v.say(expecting)
		if _, err := v.r.Peek(1); err != nil { // the client goes on all the same
			s.t.Fatal(err)
		}
		if s.network == "pipe" {
			synctest.Wait()
		}
		v.say("body")
		if h := v.hear("PUT"); h.StatusCode != http.StatusOK || h.text != "body" || !h.Close {
			s.t.Errorf("got %d %q, Connection: close %v", h.StatusCode, h.text, h.Close)
		}
		v.ends()
	})
}

// early answers before the body has come.
func early(n int) func(c *Conn) {
	return func(c *Conn) {
		if n == 0 { // some of it
			_, _ = c.Read(make([]byte, 10))
		}
		reply(c, 413, strings.Repeat("n", n))
	}
}

// The whole answer arrives though the client goes on sending, and no reset hits it (RFC 9112 section 9.6).
func TestEarlyAnswerWhileTheBodyStillComes(t *testing.T) {
	for name, framing := range map[string]string{
		"length":  "Content-Length: 3000000",
		"chunked": "Transfer-Encoding: chunked",
	} {
		t.Run(name, func(t *testing.T) {
			onAll(t, func(s *stage) {
				a := &actor{serve: early(50_000)}
				v := s.enter(a)
				v.say("PUT /early HTTP/1.1\r\nHost: h\r\n" + framing + "\r\n\r\n")
				if framing[0] == 'T' {
					v.say("2dc6c0\r\n")
				}
				for range 30 { // while nothing reads the answer
					v.say(strings.Repeat("b", 100_000))
				}
				v.say("\r\n0\r\n\r\n" + asks("/smuggled"))
				h := v.hear("PUT")
				if h.StatusCode != http.StatusRequestEntityTooLarge || len(h.text) != 50_000 || !h.Close {
					v.t.Errorf("got %d, %d bytes, Connection: close %v", h.StatusCode, len(h.text), h.Close)
				}
				v.ends()
				if a.served() != "PUT /early" {
					v.t.Errorf("served %s", a.served())
				}
			})
		})
	}
}

func TestEarlyAnswerToABodyReadInPart(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: early(0)})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("b", 999_000))
		if h := v.hear("PUT"); h.StatusCode != http.StatusRequestEntityTooLarge || !h.Close {
			v.t.Errorf("got %d", h.StatusCode)
		}
		v.say(strings.Repeat("b", 1000))
		v.ends()
	})
}

// After an early answer the rest is thrown away while it comes, for half a minute; a client that pauses has two seconds.
func TestTheRestIsThrownAway(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{serve: early(2)})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
		start := time.Now()
		v.hear("PUT")
		var err error
		for err == nil {
			_, err = io.WriteString(v, strings.Repeat("b", 10_000))
			time.Sleep(10 * time.Millisecond)
		}
		about(s.t, "the connection ended", time.Since(start), lingeringAll)
		if silent := s.enter(&actor{serve: early(2)}); true {
			start = time.Now()
			silent.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
			silent.hear("PUT")
			<-silent.served
			about(s.t, "the silent connection ended", time.Since(start), lingering)
		}
		quick := s.enter(&actor{serve: early(2)})
		start = time.Now()
		quick.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
		quick.hear("PUT")
		_ = quick.Close()
		<-quick.served
		if took := time.Since(start); took > 0 {
			s.t.Errorf("a client that has closed is lingered for, %v", took)
		}
	})
}

// A body that is read to its end after the final head: the connection closes, as that head said.
func TestABodyReadAfterTheFinalHead(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(200)
			c.EndHead(-1)
			_ = c.Flush()
			body, err := readBody(c)
			if err != nil {
				c.Abort()
				return
			}
			_ = c.Write([]byte(body))
			_ = c.Finish()
		}})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		v.say("3\r\nabc\r\n0\r\n\r\n")
		if h := v.hear("PUT"); h.text != "abc" || !h.Close {
			v.t.Errorf("got %q, Connection: close %v", h.text, h.Close)
		}
		v.ends()
	})
}

// A client that pipelines sends its next request before it knows that the server closes.
func TestAPipelinedRequestDoesNotCostTheAnswerBeforeTheEnd(t *testing.T) {
	onAll(t, func(s *stage) {
		goOn := make(chan struct{})
		v := s.enter(&actor{serve: func(c *Conn) {
			<-goOn
			c.Close()
			reply(c, 200, strings.Repeat("a", 1_000_000))
		}})
		v.say(asks("/one"))
		v.say(asks("/two"))
		close(goOn)
		if s.network == "tcp" { // the kernel takes all of it: only a reset can lose something
			_ = v.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = v.r.Peek(1)
			_ = v.SetReadDeadline(time.Time{})
		}
		if h := v.hear("GET"); len(h.text) != 1_000_000 || !h.Close {
			v.t.Errorf("%d bytes came, Connection: close %v", len(h.text), h.Close)
		}
		v.ends()
	})
}
