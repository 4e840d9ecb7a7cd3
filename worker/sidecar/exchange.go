package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math"
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

var errUnsent = errors.New("the app closed the connection before the request was written")

// forward asks over HTTP/1.1.
func (a *App) forward(w http.ResponseWriter, q request) {
	for {
		c, err := a.take(q.Context())
		if err != nil {
			a.refuse(q, err)
		}
		x := exchange{a: a, c: c, q: &q, w: w}
		err = x.run()
		if errors.Is(err, errUnsent) && c.kept {
			continue // another one may be fresh
		}
		if err != nil {
			a.fail(w, &q, err, x.begun)
		}
		return
	}
}

// refuse has the router send a request elsewhere that could not be sent here.
func (a *App) refuse(q request, err error) {
	if q.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	a.note(err)
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
	end := time.Now().Add(lastBreath)
	for pause := 5 * time.Millisecond; ctx.Err() == nil && time.Now().Before(end); pause *= 2 {
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
	default:
		if !begun {
			a.expire(q.Context())
		}
		panic(fmt.Errorf("%w: %w", worker.ErrLost, err))
	}
}

// exchange is one request on one connection.
type exchange struct {
	a      *App
	c      *conn
	q      *request
	w      http.ResponseWriter
	upload *upload // nil: there is no body
	begun  bool    // the answer's head went out
}

func (x *exchange) run() (err error) {
	c := x.c
	stop := context.AfterFunc(x.q.Context(), func() { _ = c.Close() })
	reusable := false
	var sending sync.WaitGroup
	defer func() { // a panic of the ResponseWriter too
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
				err = http.ErrAbortHandler
			}
		}
	}()

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
	if res.StatusCode == http.StatusSwitchingProtocols {
		return x.tunnel(res)
	}
	x.begun = true
	err = x.a.copyAnswer(x.w, res, c)
	reusable = err == nil && !res.Close && c.answers.Buffered() == 0
	return err
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
		c.limit = math.MaxInt64
		switch {
		case err != nil && full:
			return nil, &fault{"http_response_header_section_size", errHeadTooLarge}
		case err != nil && c.broken:
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
