package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// client is one connection, with nothing that retries.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(address string) (*client, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return wrap(nc), nil
}

func wrap(nc net.Conn) *client { return &client{nc, bufio.NewReader(nc)} }

func mustDial(t *testing.T, address string) *client {
	t.Helper()
	c, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// send writes a request: method and path, fields, body.
func (c *client) send(what, body string, fields ...string) error {
	fields = append(fields, "Host: localhost", fmt.Sprintf("Content-Length: %d", len(body)))
	_, err := fmt.Fprintf(c, "%s HTTP/1.1\r\n%s\r\n\r\n%s", what, strings.Join(fields, "\r\n"), body)
	return err
}

func (c *client) head() (*http.Response, error) { return http.ReadResponse(c.r, nil) }

// whole reads an answer to its end.
func (c *client) whole() (*http.Response, string, error) {
	resp, err := c.head()
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// awaitClosed reads the end: an orderly one, after nothing more. Then c closes as well.
func (c *client) awaitClosed(t *testing.T) {
	t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		t.Errorf("the connection went on with %q and ended with %v, want its end", rest, err)
	}
	_ = c.Close()
}

// checkOpen sees neither bytes nor an end.
func (c *client) checkOpen(t *testing.T) {
	t.Helper()
	if !c.isOpen(50 * time.Millisecond) {
		b, err := c.r.Peek(1)
		t.Errorf("read %q, %v; want the connection to be open and silent", b, err)
	}
}

// isOpen tells whether nothing comes for a while, not even the end.
func (c *client) isOpen(wait time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	_, err := c.r.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// load is clients that ask one thing after another until told to stop, or,
// once that is allowed, until nobody listens any more.
type load struct {
	t       *testing.T
	address string
	clients sync.WaitGroup
	stop    atomic.Bool
	ending  atomic.Bool // refused connections are fine
	served  atomic.Int64
	failed  atomic.Int64 // written as a whole, and no whole 200 came
}

// startLoad runs n clients; every second one opens a connection for each
// request.
func startLoad(t *testing.T, address string, n int) *load {
	l := &load{t: t, address: address}
	for i := range n {
		l.clients.Go(func() { l.run(i) })
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop.Store(true)
	l.clients.Wait()
}

// awaitServed waits for n more answers.
func (l *load) awaitServed(n int64) {
	l.t.Helper()
	until := l.served.Load() + n
	eventually(l.t, "answers under load", func() bool { return l.served.Load() >= until || l.t.Failed() })
}

func (l *load) run(i int) {
	var c *client
	for n := 0; !l.stop.Load(); n++ {
		if c == nil {
			var err error
			if c, err = dial(l.address); err != nil {
				if !l.ending.Load() {
					l.t.Errorf("client %d: %v", i, err)
				}
				return
			}
		}
		if !l.once(c, i, n) || i%2 == 1 {
			_ = c.Close()
			c = nil
		}
	}
	if c != nil {
		_ = c.Close()
	}
}

// once returns whether the connection may be used again.
func (l *load) once(c *client, i, n int) bool {
	what, body := "GET /work", ""
	if n%2 == 1 {
		what, body = "POST /work", strings.Repeat("x", n*37%5000)
	}
	if c.send(what, body) != nil {
		return false // it closed before the request was there
	}
	resp, got, err := c.whole()
	want := fmt.Sprintf("%d bytes\n", len(body))
	if err != nil || resp.StatusCode != http.StatusOK || got != want {
		l.failed.Add(1)
		l.t.Errorf("client %d, request %d, %s with %d bytes: %v %q %v", i, n, what, len(body), resp, got, err)
		return false
	}
	l.served.Add(1)
	return !resp.Close
}
