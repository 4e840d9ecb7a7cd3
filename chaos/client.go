package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// deadline is how long a request may take, from the time that it is scheduled
// for. A worker that falls silent is noticed within about eight seconds, and a request
// waits five for another one: that can happen twice.
const deadline = 30 * time.Second

// outcome is what a client saw of its request.
type outcome struct {
	front       string // who answered, or was asked last
	status      int    // 0: not even a head came
	whole       bool   // the body ended as HTTP says a body ends
	crossed     string // what of another request was in the answer
	short       string // what was missing from an answer that looked whole
	hung        bool
	retryAfter  string
	proxyStatus string
	err         error
	retried     bool // on the other router
	end         time.Time
}

// front is a port that clients are served on, and the connections to it.
type front struct {
	name, addr string
	trailers   bool // it passes trailers on
	http1Only  bool
	second     *http.Transport

	mu   sync.Mutex
	idle []*clientConn // the last used is used next
}

type clientConn struct {
	net.Conn
	in    *bufio.Reader
	since time.Time // it is idle
}

// idleMost is how long a connection is kept: less than any server here keeps it.
const idleMost = 30 * time.Second

func newFront(name, addr string, trailers bool) *front {
	f := &front{name: name, addr: addr, trailers: trailers, second: &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}}
	f.second.Protocols.SetUnencryptedHTTP2(true)
	return f
}

func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.idle {
		_ = c.Close()
	}
	f.idle = nil
	f.second.CloseIdleConnections()
}

// take returns a connection that is open, an idle one if there is one.
func (f *front) take(fresh bool) (*clientConn, error) {
	for !fresh {
		f.mu.Lock()
		n := len(f.idle)
		if n == 0 {
			f.mu.Unlock()
			break
		}
		c := f.idle[n-1]
		f.idle = f.idle[:n-1]
		f.mu.Unlock()
		if time.Since(c.since) < idleMost && c.quiet() {
			return c, nil
		}
		_ = c.Close()
	}
	nc, err := net.DialTimeout("tcp", f.addr, deadline)
	if err != nil {
		return nil, err
	}
	return &clientConn{Conn: nc, in: bufio.NewReader(nc)}, nil
}

func (f *front) give(c *clientConn) {
	c.since = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, c)
}

// quiet tells that the server has neither closed an idle connection nor said
// anything on it.
func (c *clientConn) quiet() bool {
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// ask sends one request once and reads what comes.
func (f *front) ask(p *plan, scheduled time.Time) (o outcome) {
	if p.http2 && !f.http1Only {
		return f.askHTTP2(p, scheduled)
	}
	o.front = f.name
	c, err := f.take(p.kind == slowReader)
	if err != nil {
		o.err, o.hung = err, isTimeout(err)
		return o
	}
	if p.kind == slowReader {
		_ = c.Conn.(*net.TCPConn).SetReadBuffer(8 << 10)
	}
	_ = c.SetDeadline(scheduled.Add(p.deadline()))
	sent := c.send(p)
	resp, err := http.ReadResponse(c.in, &http.Request{Method: p.kind.method()}) // though sending failed: there may be an answer
	if err != nil {
		_ = c.Close()
		o.err, o.hung = errors.Join(sent, err), isTimeout(err)
		return o
	}
	o.read(resp, p, f.trailers)
	if sent != nil || resp.Close || !o.whole || p.kind == slowReader {
		_ = c.Close()
	} else {
		f.give(c)
	}
	return o
}

func (c *clientConn) send(p *plan) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: chaos\r\nTE: trailers\r\n", p.kind.method(), p.target())
	if p.kind == postKeyed {
		fmt.Fprintf(&b, "Idempotency-Key: \"%d\"\r\n", p.number)
	}
	if p.key > 0 {
		fmt.Fprintf(&b, "%s: %d\r\n", keyField, p.key)
	}
	if p.patience > 0 {
		fmt.Fprintf(&b, "%s: %s\r\n", patienceField, p.seconds())
	}
	if p.upload > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", p.upload)
	}
	b.WriteString("\r\n")
	body := bodyOf(p.number, p.upload)
	if p.kind != slowWriter {
		b.Write(body)
		_, err := c.Write(b.Bytes())
		return err
	}
	if _, err := c.Write(b.Bytes()); err != nil {
		return err
	}
	for len(body) > 0 {
		drip := body[:min(len(body), 2<<10)]
		if _, err := c.Write(drip); err != nil {
			return err
		}
		body = body[len(drip):]
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

const patienceField = "Request-Timeout"

func (p *plan) seconds() string { return strconv.FormatFloat(p.patience.Seconds(), 'f', 3, 64) }

func (f *front) askHTTP2(p *plan, scheduled time.Time) (o outcome) {
	o.front = f.name
	ctx, done := context.WithDeadline(context.Background(), scheduled.Add(p.deadline()))
	defer done()
	req, err := http.NewRequestWithContext(ctx, p.kind.method(), "http://"+f.addr+p.target(), nil)
	if err != nil {
		o.err = err
		return o
	}
	req.Header.Set("TE", "trailers")
	if p.kind == postKeyed {
		req.Header.Set("Idempotency-Key", strconv.FormatUint(uint64(p.number), 10))
	}
	if p.key > 0 {
		req.Header.Set(keyField, strconv.Itoa(p.key))
	}
	if p.patience > 0 {
		req.Header.Set(patienceField, p.seconds())
	}
	if body := bodyOf(p.number, p.upload); p.upload > 0 {
		req.ContentLength, req.Body = int64(p.upload), io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil } // for what GOAWAY says was not begun
	}
	resp, err := f.second.RoundTrip(req)
	if err != nil {
		o.err, o.hung = err, isTimeout(err)
		return o
	}
	o.read(resp, p, f.trailers)
	return o
}

// read checks an answer as it comes.
func (o *outcome) read(resp *http.Response, p *plan, trailers bool) {
	defer resp.Body.Close()
	o.status, o.retryAfter, o.proxyStatus = resp.StatusCode, resp.Header.Get("Retry-After"), resp.Header.Get("Proxy-Status")
	if o.status != http.StatusOK {
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		o.whole, o.err, o.hung = err == nil, err, isTimeout(err)
		return
	}
	if got, want := resp.Header.Get(numberField), strconv.FormatUint(uint64(p.number), 10); got != want {
		o.crossed = fmt.Sprintf("the answer is to %q", got)
	}
	if got, want := resp.Header.Get(sumField), sumOf(bodyOf(p.number, p.upload)); got != want && o.crossed == "" {
		o.crossed = fmt.Sprintf("the worker got a body of sum %s, and %s was sent", got, want)
	}
	buf := buffers.Get().(*[2 * piece]byte)
	defer buffers.Put(buf)
	in, want := buf[:piece], buf[piece:]
	if p.kind == slowReader {
		in = in[:8<<10]
	}
	at := 0
	for {
		n, err := resp.Body.Read(in)
		fill(want[:n], p.number, at)
		if !bytes.Equal(in[:n], want[:n]) && o.crossed == "" {
			o.crossed = fmt.Sprintf("from byte %d on the body is another's: %.32q", at, in[:n])
		}
		if at += n; err != nil {
			o.whole = errors.Is(err, io.EOF)
			if !o.whole {
				o.err, o.hung = err, isTimeout(err)
			}
			break
		}
		if p.kind == slowReader {
			time.Sleep(10 * time.Millisecond)
		}
	}
	switch ended := resp.Trailer.Get(endTrailer); {
	case at > p.size && o.crossed == "":
		o.crossed = fmt.Sprintf("%d bytes of body, want %d", at, p.size)
	case o.whole && at < p.size:
		o.short = fmt.Sprintf("%d bytes of %d, and they look whole", at, p.size)
	case o.whole && trailers && resp.Header.Get(trailersField) != "" && ended != resp.Header.Get(numberField):
		o.short = fmt.Sprintf("the trailer %s is %q", endTrailer, ended)
	}
}

var buffers = sync.Pool{New: func() any { return new([2 * piece]byte) }}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
