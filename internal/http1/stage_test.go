package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
)

// stage is a Server with its Watch, and the connections of one story.
type stage struct {
	t       *testing.T
	srv     *Server
	network string // "pipe", "tcp" or "tls"
	conns   sync.WaitGroup
}

// onPipes tells a story in a bubble.
func onPipes(t *testing.T, srv *Server, story func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { play(t, "pipe", srv, story) })
}

// onAll tells a story that does not need the clock: in a bubble, and on loopback's TCP bare and under TLS.
func onAll(t *testing.T, story func(s *stage)) {
	t.Run("pipe", func(t *testing.T) { onPipes(t, &Server{}, story) })
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) { play(t, network, &Server{}, story) })
	}
}

func play(t *testing.T, network string, srv *Server, story func(s *stage)) {
	t.Helper()
	s := &stage{t: t, srv: srv, network: network}
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { srv.Watch(ctx) })
	t.Cleanup(func() { // after the visitors' own
		s.conns.Wait()
		cancel()
		watch.Wait()
	})
	story(s)
}

// pair is a connection of the stage's network, not served yet.
func (s *stage) pair() (client, server net.Conn) {
	s.t.Helper()
	switch s.network {
	case "tcp":
		return tcpPair(s.t)
	case "tls":
		return tlsPair(s.t)
	}
	return testpipe.New()
}

// enter has a client connect.
func (s *stage) enter(h Handler) *visitor {
	s.t.Helper()
	client, server := s.pair()
	return s.admit(client, server, h)
}

func (s *stage) admit(client, server net.Conn, h Handler) *visitor {
	v := &visitor{t: s.t, Conn: client, r: bufio.NewReader(client), served: make(chan struct{})}
	s.conns.Go(func() {
		defer close(v.served)
		s.srv.ServeConn(server, h)
	})
	s.t.Cleanup(func() { _ = client.Close() })
	return v
}

func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// actor is a Handler that does what the story says.
type actor struct {
	serve func(c *Conn) // nil: echo

	mu      sync.Mutex
	calls   []string // "METHOD path" of what was served
	refused []*Error
	lefts   []time.Time
}

func (a *actor) Serve(c *Conn) {
	a.mu.Lock()
	a.calls = append(a.calls, fmt.Sprintf("%s %s", c.Head().Method, c.Head().Path))
	a.mu.Unlock()
	if a.serve == nil {
		echo(c)
		return
	}
	a.serve(c)
}

func (a *actor) Refuse(c *Conn, why *Error) {
	a.mu.Lock()
	a.refused = append(a.refused, why)
	a.mu.Unlock()
	reply(c, why.Status, why.Reason)
}

func (a *actor) Left() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lefts = append(a.lefts, time.Now())
}

func (a *actor) leftAt() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]time.Time(nil), a.lefts...)
}

func (a *actor) served() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.calls, ", ")
}

// reply is a whole answer.
func reply(c *Conn, status int, body string) {
	c.Status(status)
	c.EndHead(int64(len(body)))
	_ = c.Write([]byte(body))
	_ = c.Finish()
}

// echo reads the body, and answers with all that it got; with the fault if the client made one.
func echo(c *Conn) {
	line := fmt.Sprintf("%s %s", c.Head().Method, c.Head().Path)
	body, err := readBody(c)
	if fault, ok := errors.AsType[*Error](err); ok {
		reply(c, fault.Status, fault.Reason)
		return
	}
	if err != nil {
		c.Abort()
		return
	}
	reply(c, 200, line+" "+body)
}

func readBody(c *Conn) (string, error) {
	var b bytes.Buffer
	p := make([]byte, 1000)
	for {
		n, err := c.Read(p)
		b.Write(p[:n])
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
	}
}

// visitor is a client.
type visitor struct {
	net.Conn
	t      *testing.T
	r      *bufio.Reader
	served chan struct{} // closed when ServeConn has returned
}

func (v *visitor) say(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v, text); err != nil {
		v.t.Fatalf("writing %.40q: %v", text, err)
	}
}

// closeWrite ends the sending half.
func (v *visitor) closeWrite() {
	v.t.Helper()
	if err := v.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		v.t.Fatal(err)
	}
}

// heard is one answer as net/http's client understands it.
type heard struct {
	*http.Response
	text string
}

func (v *visitor) try(method string) (h heard, err error) {
	h.Response, err = http.ReadResponse(v.r, &http.Request{Method: method})
	if err != nil {
		return h, err
	}
	body, err := io.ReadAll(h.Body)
	h.text = string(body)
	return h, err
}

// hear waits for the answer to a request of that method.
func (v *visitor) hear(method string) heard {
	v.t.Helper()
	h, err := v.try(method)
	if err != nil {
		v.t.Fatalf("the answer: %v, after %q", err, h.text)
	}
	return h
}

// wants hears a 200 with that text.
func (v *visitor) wants(method, text string) heard {
	v.t.Helper()
	h := v.hear(method)
	if h.StatusCode != http.StatusOK || h.text != text {
		v.t.Fatalf("got %d %q, want 200 %q", h.StatusCode, h.text, text)
	}
	return h
}

// rest is all that still comes before the connection ends. A clean end is no error.
func (v *visitor) rest() (string, error) {
	b, err := io.ReadAll(v.r)
	return string(b), err
}

// ends wants the connection to end cleanly, without another byte.
func (v *visitor) ends() {
	v.t.Helper()
	if rest, err := v.rest(); rest != "" || err != nil {
		v.t.Fatalf("before the connection's end came %q, %v; want nothing and a clean end", rest, err)
	}
}

// stays wants the connection to serve one more request.
func (v *visitor) stays() {
	v.t.Helper()
	v.say("GET /still HTTP/1.1\r\nHost: h\r\n\r\n")
	v.wants("GET", "GET /still ")
}

// about compares a time with a limit that is enforced in beats.
func about(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want-beat || got > want+2*beat {
		t.Errorf("%s after %v, want %v within %v", what, got, want, beat)
	}
}

// asks is a bodiless request.
func asks(path string, fields ...string) string {
	b := "GET " + path + " HTTP/1.1\r\nHost: h\r\n"
	for _, f := range fields {
		b += f + "\r\n"
	}
	return b + "\r\n"
}
