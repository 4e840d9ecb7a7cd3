package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/dialmux/dialmux/worker"
)

// fault is an answer of the app that is none.
type fault struct {
	kind string // of Proxy-Status (RFC 9209 section 2.3)
	err  error
}

func (f *fault) Error() string { return f.err.Error() }

var errMalformed = errors.New("its head is malformed, or no HTTP/1.1 at all")

var errUnsent = errors.New("the app closed the connection before the request was written, or hangs")

// forward asks over HTTP/1.1. An app may close a connection that it has kept just when a request comes: that is no fault of either, and the
// request goes again on a fresh one if it can.
func (a *App) forward(w http.ResponseWriter, q request) {
	c, sent := a.idle.take(q.again), false
	for {
		x := exchange{a: a, c: c, q: &q, w: w}
		if c == nil {
			var err error
			x.newcomer = a.idle.await(turn)
			if c, err = a.connect(q.Context()); err != nil {
				x.newcomer.end()
				a.refuse(&q, err, sent)
			}
			x.c = c
		}
		err := x.run()
		switch {
		case err == nil:
			return
		case !x.stale:
			a.fail(w, &q, err, x.begun)
			return
		}
		a.idle.learn(c.idle)
		if sent = !errors.Is(err, errUnsent); sent && !q.again {
			a.lose(&q, err, false)
		}
		c = nil
	}
}

// refuse has the router send a request elsewhere for which there is no connection. sent: it was lost on another one before.
func (a *App) refuse(q *request, err error, sent bool) {
	if q.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	a.note(err)
	if sent {
		panic(fmt.Errorf("%w: %w", worker.ErrLost, err))
	}
	panic(fmt.Errorf("%w: %w", worker.ErrRefused, err))
}

// note tells Run if nobody listens where the app should. Connections that it has kept are about to break, then: a request that was lost on one
// must not be lost on the next.
func (a *App) note(dialling error) {
	if errors.Is(dialling, syscall.ECONNREFUSED) || errors.Is(dialling, syscall.ENOENT) {
		a.Close()
		select {
		case a.refusing <- struct{}{}:
		default:
		}
	}
}

// lastBreath is the most that a request which was lost is held before the router hears of it.
const lastBreath = 250 * time.Millisecond

// expire returns when the app is certainly dead, or lives on. The port of a process that dies takes connections for a moment longer than its
// connections last: who tries again at once is lost again.
func (a *App) expire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastBreath)
	defer cancel()
	for pause := 5 * time.Millisecond; ctx.Err() == nil; pause *= 2 {
		nc, err := a.dial(ctx)
		if err != nil {
			a.note(err)
			return
		}
		_ = nc.Close()
		sleep(ctx, pause)
	}
}

// fail ends a request that has no whole answer. begun: the client has its head.
func (a *App) fail(w http.ResponseWriter, q *request, err error, begun bool) {
	malformed, ok := errors.AsType[*fault](err)
	switch {
	case q.Context().Err() != nil, errors.Is(err, http.ErrAbortHandler):
		panic(http.ErrAbortHandler)
	case ok && begun:
		a.log.Warn("the app's answer broke off", "app", a.target, "method", q.Method, "err", err)
		panic(http.ErrAbortHandler)
	case ok:
		a.log.Warn("the app's answer cannot be forwarded", "app", a.target, "method", q.Method, "err", err)
		h := w.Header()
		clear(h)
		h["Proxy-Status"] = []string{proxyStatus(malformed)}
		http.Error(w, "the app's answer cannot be forwarded: "+err.Error(), http.StatusBadGateway)
	case errors.Is(err, errUnsent):
		panic(fmt.Errorf("%w: %w", worker.ErrRefused, err))
	case errors.Is(err, errHung): // which Run logs
		panic(fmt.Errorf("%w: %w", worker.ErrLost, err))
	default:
		if !begun {
			a.expire(q.Context())
		}
		a.lose(q, err, begun)
	}
}

// lose gives a request up that the app had. The router takes it for one that this worker lost: only here is it known better.
func (a *App) lose(q *request, err error, begun bool) {
	msg := "the app broke off without an answer"
	if begun {
		msg = "the app's answer broke off"
	}
	a.log.Warn(msg, "app", a.target, "method", q.Method, "err", err)
	panic(fmt.Errorf("%w: %w", worker.ErrLost, err))
}

// exchange is one request on one connection.
type exchange struct {
	a        *App
	c        *conn
	q        *request
	w        http.ResponseWriter
	newcomer *newcomer // nil: the connection was kept
	waiter   *waiter   // nil: no other worker may have the request
	upload   *upload   // nil: there is no body
	heard    bool      // something of an answer came
	begun    bool      // its head went out
	stale    bool      // it failed since the app had closed the connection, as far as anyone can see
}

func (x *exchange) run() (err error) {
	c := x.c
	stop := context.AfterFunc(x.q.Context(), func() { _ = c.Close() })
	reusable := false
	var sending sync.WaitGroup
	defer func() { // a panic of the ResponseWriter too
		x.served()
		if x.a.waiting.leave(x.waiter) {
			err = errHung
		}
		x.stale = err != nil && c.kept && !x.heard && x.q.Context().Err() == nil && !errors.Is(err, errHung)
		whole := x.settle(reusable)
		if !stop() || !whole || !reusable || err != nil {
			_ = c.Close()
		} else {
			x.a.idle.put(c)
		}
		sending.Wait()
		if u := x.upload; u != nil {
			x.a.buffers.Put(u.buf)
			if err != nil && u.truncated {
				err, x.stale = http.ErrAbortHandler, false
			}
		}
	}()

	var ok bool
	if x.waiter, ok = x.a.waiting.join(x.q, func() { _ = c.Close() }); !ok {
		return errUnsent
	}
	c.scratch = x.q.appendHead(c.scratch[:0], x.a.host)
	n, err := c.Write(c.scratch)
	if err != nil && n == 0 {
		return errUnsent
	}
	if err != nil {
		return err
	}
	if hasBody(x.q.Request) {
		u := &upload{c: c, q: x.q, buf: x.a.buffers.Get().(*[bufferSize]byte), cancel: make(chan struct{}), done: make(chan struct{})}
		if x.q.Header["Expect"] != nil {
			u.resume = make(chan struct{})
		}
		x.upload = u
		sending.Go(u.run)
	}
	res, err := x.readHead() // its body is not closed, which would be to read it to the end: the connection is what holds anything
	if err != nil {
		return err
	}
	if x.a.waiting.leave(x.waiter) {
		return errHung
	}
	x.a.hear(res.StatusCode)
	if res.StatusCode == http.StatusSwitchingProtocols {
		return x.tunnel(res)
	}
	if len(res.TransferEncoding) > 0 && res.Body != http.NoBody { // chunked: there is no other
		res.Body = io.NopCloser(&chunks{c: c, res: res})
	}
	x.begun = true
	err = x.a.copyAnswer(x.w, res, c)
	reusable = err == nil && !res.Close && c.answers.Buffered() == 0
	return err
}

// served is called when the app has turned to the request, or nobody waits for that any more.
func (x *exchange) served() {
	if x.newcomer != nil {
		x.newcomer.end()
		x.newcomer = nil
	}
}

// settle ends the upload, and reports whether it was whole.
func (x *exchange) settle(answered bool) bool {
	u := x.upload
	if u == nil {
		return true
	}
	if answered && u.ending.Load() {
		_ = x.c.SetWriteDeadline(time.Now().Add(time.Second)) // the app has answered: it will hardly leave the last bytes
		<-u.done
		return u.err == nil && x.c.SetWriteDeadline(time.Time{}) == nil
	}
	select {
	case <-u.done:
		return u.err == nil
	default:
	}
	close(u.cancel)
	_ = x.c.Close()
	_ = x.q.Body.Close() // what waits for the client ends
	return false
}

// readHead returns the final head.
func (x *exchange) readHead() (*http.Response, error) {
	c := x.c
	for range maxInforms + 1 {
		c.limit = maxHead
		res, err := http.ReadResponse(c.answers, x.q.Request)
		full := c.limit <= 0
		x.heard = x.heard || c.limit < maxHead
		x.served()
		c.limit = math.MaxInt64
		switch {
		case err != nil && full:
			return nil, &fault{"http_response_header_section_size", errHeadTooLarge}
		case err != nil && c.broken:
			if _, network := errors.AsType[net.Error](err); !network && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				err = errMalformed // as below
			}
			return nil, err
		case err != nil:
			return nil, &fault{"http_protocol_error", errMalformed} // err may quote what is secret
		}
		if err := check(res, x.q); err != nil {
			return nil, err
		}
		switch {
		case res.StatusCode == http.StatusContinue:
			if u := x.upload; u != nil && u.resume != nil {
				select {
				case <-u.resume:
				default:
					close(u.resume)
				}
			}
		case res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols:
			inform(x.w, res.StatusCode, res.Header)
		default:
			return res, nil
		}
	}
	return nil, &fault{"http_protocol_error", errInforms}
}
