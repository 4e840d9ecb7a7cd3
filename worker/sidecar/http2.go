package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/http2"
)

// newHTTP2 speaks HTTP/2 without TLS, and nothing else. It sends a request again only where the app has said that it did not begin.
func (a *App) newHTTP2() *http.Transport {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) },
		Protocols:              &protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		IdleConnTimeout:        idleFor,
	}
}

// forwardHTTP2 asks over HTTP/2. Upgrades do not come here: an app that speaks HTTP/2 in the clear takes them over HTTP/1.1.
func (a *App) forwardHTTP2(w http.ResponseWriter, q request) {
	in := informer{w: w}
	ctx := httptrace.WithClientTrace(q.Context(), &httptrace.ClientTrace{Got1xxResponse: in.take})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiter, ok := a.waiting.join(&q, cancel)
	if !ok {
		a.fail(w, &q, errUnsent, false)
		return
	}
	res, err := a.askHTTP2(ctx, &q)
	in.end()
	lost := a.waiting.leave(waiter)
	if err == nil {
		defer func() { _ = res.Body.Close() }()
		err = check(res, &q)
	}
	switch {
	case lost:
		a.fail(w, &q, errHung, false)
		return
	case res == nil:
		a.failHTTP2(w, q, err)
		return
	case err != nil:
		a.fail(w, &q, err, false)
		return
	}
	a.hear(res.StatusCode)
	if err := a.copyAnswer(w, res, nil); err != nil {
		a.fail(w, &q, err, true)
	}
}

// askHTTP2 returns the final head. An answer in HTTP/1.1 looks like a frame that is too large, and so the connection like one that never was;
// net/http exports neither error.
func (a *App) askHTTP2(ctx context.Context, q *request) (*http.Response, error) {
	res, err := a.h2.RoundTrip(a.requestHTTP2(ctx, q))
	if err != nil && (strings.Contains(err.Error(), "frame too large") || strings.Contains(err.Error(), "conn could not be established")) {
		err = fmt.Errorf("%w; if the app speaks HTTP/1.1, http://%s is right", err, a.host)
	}
	return res, err
}

func (a *App) requestHTTP2(ctx context.Context, q *request) *http.Request {
	h := make(http.Header, len(q.Header)+1)
	for name, values := range q.Header {
		if q.passes(name) && name != "Expect" {
			h[name] = values
		}
	}
	if q.prefix != "" {
		h["X-Forwarded-Prefix"] = []string{q.prefix}
	}
	if q.Header["Te"] != nil {
		h["Te"] = []string{"trailers"}
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // none, rather than net/http's own
	}
	u := &url.URL{Opaque: q.target}        // as it came
	if strings.HasPrefix(q.target, "//") { // of which Opaque would make a host
		if path, err := url.ParseRequestURI(q.target); err == nil {
			u = path
		}
	}
	u.Scheme, u.Host = "http", a.address
	out := &http.Request{
		Method: q.Method, URL: u, Host: q.Host, Header: h, Body: q.Body, ContentLength: q.ContentLength, Trailer: q.Trailer,
		Proto: "HTTP/2.0", ProtoMajor: 2,
	}
	if !hasBody(q.Request) {
		out.Body, out.ContentLength = nil, 0
	}
	return out.WithContext(ctx)
}

// failHTTP2 ends a request to which there is no head.
func (a *App) failHTTP2(w http.ResponseWriter, q request, err error) {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		a.refuse(&q, err, false)
	}
	stream, isStream := errors.AsType[http2.StreamError](err)
	_, isConn := errors.AsType[http2.ConnectionError](err)
	switch {
	case isStream && stream.Code == http2.ErrCodeRefusedStream:
		a.fail(w, &q, errUnsent, false)
	case isStream, isConn, errors.Is(err, errInforms):
		a.fail(w, &q, &fault{"http_protocol_error", err}, false)
	default:
		a.fail(w, &q, err, false)
	}
}

// informer passes informational heads on, which net/http reads in a goroutine of its own.
type informer struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	n     int
	ended bool
}

func (in *informer) take(status int, h textproto.MIMEHeader) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.n++; in.n > maxInforms {
		return errInforms
	}
	if !in.ended && status != http.StatusContinue && checkFields(http.Header(h)) == nil {
		inform(in.w, status, http.Header(h))
	}
	return nil
}

func (in *informer) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
}
