package router

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// This file is what stands around net/http's HTTP/2, where a frame that costs
// a client nothing can cost a server much.

// The limits of one HTTP/2 connection.
const (
	http2Streams      = 250      // at once; RFC 9113 section 6.5.2 wants 100 at least
	http2Frame        = 16 << 10 // bytes, as every peer may send (section 4.2)
	http2Table        = 4 << 10  // bytes of HPACK's state, each way
	http2StreamWindow = 256 << 10
	http2Window       = 1 << 20 // of all streams: one that nobody reads must not hold up the others

	// A request that its client cancels has cost a worker work. Two connections'
	// worth of them are forgiven, as when somebody leaves a page, and then one
	// after each pause; nghttp2 and Envoy draw the line at 500 to 1000 too.
	http2Cancelled = 2 * http2Streams
	http2Forgiven  = 20 * time.Millisecond
)

// http2Config is for a client that may be dead, or take nothing of an answer, for p.WriteTimeout.
func http2Config(p *Port) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: http2Streams, MaxReadFrameSize: http2Frame,
		MaxDecoderHeaderTableSize: http2Table, MaxEncoderHeaderTableSize: http2Table,
		MaxReceiveBufferPerConnection: http2Window, MaxReceiveBufferPerStream: http2StreamWindow,
		WriteByteTimeout: p.WriteTimeout,
		// A PING may stand behind all that a slow client has yet to read.
		SendPingTimeout: max(p.WriteTimeout, 0) / 2, PingTimeout: p.WriteTimeout,
	}
}

// http2Conn is what is known of one HTTP/2 connection.
type http2Conn struct {
	tls *tls.ConnectionState // of a connection that is metered; nil: none is spoken

	mu       sync.Mutex
	forgiven time.Time // when all requests that were cancelled will be
}

type http2Key struct{}

func withHTTP2Conn(ctx context.Context, nc net.Conn) context.Context {
	c := new(http2Conn)
	if m, ok := nc.(*metered); ok {
		c.tls = m.tls()
	}
	return context.WithValue(ctx, http2Key{}, c)
}

// cancelled counts a request that was begun and given up: by RST_STREAM
// (CVE-2023-44487), or by frames that make the server send it (CVE-2025-8671).
func (c *http2Conn) cancelled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.forgiven.Before(now) {
		c.forgiven = now
	}
	c.forgiven = c.forgiven.Add(http2Forgiven)
}

func (c *http2Conn) exhausted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(c.forgiven) >= http2Cancelled*http2Forgiven
}

var errCancelled = &failure{429, "this connection has cancelled too many requests", true}

// handleHTTP2 is handle, and ends a connection that withHTTP2Conn has marked
// when its client has cancelled too many requests.
func (r *Router) handleHTTP2(w http.ResponseWriter, req *http.Request, p *Port) {
	c, marked := req.Context().Value(http2Key{}).(*http2Conn)
	if !marked {
		r.handle(w, req, p)
		return
	}
	if c.exhausted() {
		w.Header().Set("Connection", "close") // net/http sends GOAWAY for it, and closes after the streams that run
		r.refuse(w, req, p, errCancelled)
		return
	}
	if c.tls != nil { // net/http sees the meter only
		req.TLS = c.tls
	}
	body := &watchedBody{ReadCloser: req.Body}
	if req.Body != http.NoBody { // which tells that there is none
		req.Body = body
	}
	defer func() {
		if req.Context().Err() != nil || body.broken.Load() {
			c.cancelled()
		}
	}()
	r.handle(w, req, p)
}

// watchedBody tells whether a request's body broke off: net/http answers a
// frame that breaks its rules by RST_STREAM, which may come after the handler's end.
type watchedBody struct {
	io.ReadCloser
	broken atomic.Bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) { // the last is a deadline of our own
		b.broken.Store(true)
	}
	return n, err
}

// refuse answers with f, and tells no worker.
func (r *Router) refuse(w http.ResponseWriter, req *http.Request, p *Port, f *failure) {
	s := r.newStream()
	s.request.method = req.Method
	x := &exchange{r: r, c: &handled{w: w, req: req, limit: p.WriteTimeout}}
	x.reset(s, version{req.ProtoMajor, req.ProtoMinor})
	x.answer(f, true)
	s.release()
}
