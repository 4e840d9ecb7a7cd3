package conform

import (
	"fmt"
	"net"
	"strings"
	"sync"
)

// client is one HTTP/1.1 connection of the kit's own, that shows and sees
// bytes. It has one request at a time.
type client struct {
	s      *scene
	nc     net.Conn
	method string // of the request
	target string
	got    []byte // that belongs to no answer yet
	closed bool
	closes bool // the last answer said that the connection will
	read   sync.Once
}

// client connects.
func (s *scene) client() *client {
	c := s.deafClient()
	c.listen()
	return c
}

// deafClient connects, and reads nothing before listen is called.
func (s *scene) deafClient() *client {
	nc, err := new(net.Dialer).DialContext(s.ctx, "tcp", s.kit.address)
	if err != nil {
		failf("expected the router to accept a client; %v", err)
	}
	c := &client{s: s, nc: nc}
	s.clients = append(s.clients, c)
	return c
}

func (c *client) listen() {
	c.read.Do(func() {
		c.s.readers.Go(func() {
			for {
				b := make([]byte, 64<<10)
				n, err := c.nc.Read(b)
				if n > 0 {
					c.s.post(event{c: c, bytes: b[:n]})
				}
				if err != nil {
					c.s.post(event{c: c, ended: err})
					return
				}
			}
		})
	})
}

// get asks for a path of this scene, over a connection of its own.
func (s *scene) get(what string, lines ...string) *client {
	c := s.client()
	c.ask("GET", what, "", lines...)
	return c
}

// posts sends a request with a whole body, over a connection of its own.
func (s *scene) posts(what string, body []byte) *client {
	c := s.client()
	c.ask("POST", what, string(body), fmt.Sprintf("Content-Length: %d", len(body)))
	return c
}

// ask sends a request: its lines, and its body as it is. No two requests of a
// scene have one path.
func (c *client) ask(method, what, body string, lines ...string) {
	c.s.asked++
	c.method, c.target = method, fmt.Sprintf("%s%s-%d", c.s.path, what, c.s.asked)
	lines = append([]string{method + " " + c.target + " HTTP/1.1", "Host: conform.test"}, lines...)
	c.write(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
}

// write sends bytes. A router that takes its time with them holds up nothing
// here.
func (c *client) write(text string) {
	c.s.kit.transcript.say(fmt.Sprintf("client <- %d bytes: %.200q", len(text), text))
	if len(text) < 4096 { // a small text fits into the socket
		_, _ = c.nc.Write([]byte(text)) // a router that has closed shows when the case waits
		return
	}
	c.s.readers.Go(func() { _, _ = c.nc.Write([]byte(text)) }) // likewise
}

func (c *client) leave() { _ = c.nc.Close() }

func (c *client) parse() answer { return parseAnswer(c.got, c.method, c.closed) }

// answered tells whether there is an end to what the client waits for.
func (c *client) answered() bool { return c.closed || c.parse().whole }

// peek says what the client has got.
func (c *client) peek() string {
	a := c.parse()
	switch {
	case len(c.got) == 0 && c.closed:
		return "nothing, and the connection closed"
	case len(c.got) == 0:
		return "nothing"
	case !a.begun:
		return fmt.Sprintf("%.200q", c.got)
	}
	state := "so far"
	if a.whole {
		state = "in all"
	} else if c.closed {
		state = "and then the connection closed"
	}
	return fmt.Sprintf("status %d with %d bytes of body (%.80q) %s", a.head.status, len(a.body), a.body, state)
}

// awaitHead waits for the final head.
func (c *client) awaitHead() answer {
	c.s.until("a status line for "+c.target, func() bool { return c.closed || c.parse().begun })
	a := c.parse()
	if !a.begun {
		failf("expected a status line for %s; the client got %s", c.target, c.peek())
	}
	return a
}

// awaitInfo waits for the n-th informational head.
func (c *client) awaitInfo(n int) {
	c.s.until("an informational head for "+c.target, func() bool { return c.answered() || len(c.parse().infos) >= n })
	if len(c.parse().infos) < n {
		failf("expected an informational head for %s; the client got %s", c.target, c.peek())
	}
}

// awaitBody waits until n bytes of the body are there.
func (c *client) awaitBody(n int) {
	c.s.until(fmt.Sprintf("%d bytes of body for %s", n, c.target), func() bool { return c.answered() || len(c.parse().body) >= n })
	if len(c.parse().body) < n {
		failf("expected %d bytes of body for %s; the client got %s", n, c.target, c.peek())
	}
}

// wants waits for a whole answer with this status, and takes it.
func (c *client) wants(status int) answer {
	c.s.until(fmt.Sprintf("a whole answer of status %d for %s", status, c.target), c.answered)
	a := c.parse()
	if !a.whole || a.head.status != status {
		failf("expected a whole answer of status %d for %s; the client got %s", status, c.target, c.peek())
	}
	for _, v := range a.head.get("connection") {
		c.closes = c.closes || strings.EqualFold(v, "close")
	}
	c.got = c.got[a.size:]
	return a
}

// breaks waits until the connection closes amid the answer, or before it.
func (c *client) breaks() {
	c.s.until("the answer for "+c.target+" to break off", c.answered)
	if c.parse().whole {
		failf("expected the answer for %s to break off visibly; the client got %s", c.target, c.peek())
	}
}
