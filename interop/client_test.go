package interop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// request is what a client sends, whole.
type request struct {
	method, target string
	host           string // "": the address
	upload         []byte
	http10         bool
	want           []byte // the right answer's body
}

func get(target string) request { return request{method: http.MethodGet, target: target} }

func (q *request) idempotent() bool { return q.method != http.MethodPost }

// answer is what came back. err is how it broke off, or why there is none;
// status is 0 if not even its head came.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// hung reports whether the client gave up waiting.
func (a *answer) hung() bool { return errors.Is(a.err, os.ErrDeadlineExceeded) }

// client is an HTTP/1.1 client that keeps its connection and, unlike
// net/http's, never sends anything twice.
type client struct {
	addr     string
	patience time.Duration
	conn     net.Conn
	in       *bufio.Reader
}

func newClient(addr string) *client { return &client{addr: addr, patience: patience} }

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *client) dial() error {
	if c.conn != nil {
		return nil
	}
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

// send writes a request of so many body bytes, with those that are there, and
// starts the clock.
func (c *client) send(q request, length int) error {
	if err := c.dial(); err != nil {
		return err
	}
	_ = c.conn.SetDeadline(time.Now().Add(c.patience))
	var b bytes.Buffer
	minor := 1
	if q.http10 {
		minor = 0
	}
	host := q.host
	if host == "" {
		host = c.addr
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\nHost: %s\r\n", q.method, q.target, minor, host)
	if length > 0 || q.method == http.MethodPost || q.method == http.MethodPut {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", length)
	}
	b.WriteString("\r\n")
	b.Write(q.upload)
	_, err := c.conn.Write(b.Bytes())
	return err
}

// receive passes over informational heads.
func (c *client) receive(method string) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
}

// do sends q and reads the answer, in that order.
func (c *client) do(q request) (a answer) {
	if a.err = c.send(q, len(q.upload)); a.err != nil && c.conn == nil {
		return a
	}
	// Even if it could not be sent whole there may be an answer.
	resp, err := c.receive(q.method)
	if err != nil {
		a.err = err
		c.close()
		return a
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, a.err = io.ReadAll(resp.Body)
	if a.err != nil || resp.Close || q.http10 {
		c.close()
	}
	return a
}

// once is one request on a connection of its own.
func once(addr string, q request) answer {
	c := newClient(addr)
	defer c.close()
	return c.do(q)
}
