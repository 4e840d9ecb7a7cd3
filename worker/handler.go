package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// exchange is one request and its answer, in one piece of memory. A handler may keep hold of any part of it for ever, so no
// exchange is used twice.
type exchange struct {
	stream   stream
	body     body
	response response
	context  requestContext
	request  http.Request
	url      url.URL
	values   [fewFields]string // of the request's fields, if there are so few
	handler  http.Handler
	method   string // of the request, that the handler may change
	path     string // without the query, which may be secret
	upgrade  bool   // the request asks for another protocol

	// Guarded by stream.mu.
	ended  bool    // the handler has, in whichever way
	tunnel *tunnel // what it hijacked
}

// newExchange makes a request of the HEADERS that opened a stream. A malformed one is an error.
func newExchange(s *session, f *frame.Frame) (*exchange, error) {
	x := &exchange{handler: s.pool.Handler}
	x.context.base = s.pool.base
	st, w := &x.stream, &s.welcome
	st.session, st.id, st.limits, st.window = s, f.Stream, w.Limits, int64(w.Windows.Response)
	st.context = &x.context
	st.readable.L, st.writable.L = &st.mu, &st.mu
	x.body.st, x.response.x = st, x

	wish, err := x.readRequest(f.Fields)
	if err != nil {
		return nil, err
	}
	if wish.timed {
		x.context.until = time.Now().Add(wish.timeout)
	}
	x.method = x.request.Method
	x.path, _, _ = strings.Cut(x.request.RequestURI, "?")
	b := &x.body
	b.readable, b.declared, b.first = max(int64(s.pool.ReadWindow), int64(w.Windows.Request)), x.request.ContentLength, int64(w.Windows.Request)
	if !wish.expects {
		b.open()
	}
	if err := b.receive(f, frame.Fields{}); err != nil {
		return nil, err
	}
	setBody(&x.request, b, x.upgrade)
	if wish.unread {
		x.handler = http.HandlerFunc(refusePath)
	}
	return x, nil
}

func refusePath(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the target's path is malformed", http.StatusBadRequest)
}

// receive takes a frame of the open stream.
func (x *exchange) receive(f *frame.Frame) {
	var err error
	switch f.Type {
	case frame.Data:
		err = x.body.receive(f, frame.Fields{})
	case frame.Headers:
		if !f.End() || opens(f.Fields) {
			err = x.body.fault(http2.ErrCodeProtocol, "HEADERS on an open stream that are no trailers")
		} else {
			err = x.body.receive(f, f.Fields)
		}
	case frame.WindowUpdate:
		err = x.stream.credit(f.Credit)
	case frame.RSTStream:
		cause := fmt.Errorf("worker: the client is gone (%v: %s): %w", f.Code, f.Reason, context.Canceled)
		x.abort(cause, http2.ErrCodeCancel, "")
	}
	if err == nil {
		return
	}
	var fault frame.StreamError
	if errors.As(err, &fault) {
		x.abort(fmt.Errorf("%w: %w", errTruncated, fault), fault.Code, fault.Reason)
	}
}

// abort is stream.abort.
func (x *exchange) abort(cause error, code frame.Code, reason string) {
	x.stream.abort(cause, code, reason)
	x.settle()
}

// void is stream.void.
func (x *exchange) void(cause error) {
	x.stream.void(cause)
	x.settle()
}

// settle ends a hijacked connection that is good for nothing any more.
func (x *exchange) settle() {
	x.stream.mu.Lock()
	t := x.tunnel
	x.stream.mu.Unlock()
	if t != nil {
		t.settle()
	}
}

// serve runs the handler, in the goroutine of a runner.
func (x *exchange) serve() {
	defer x.finish()
	if x.context.Err() == nil { // else it was cancelled before it began
		x.response.open()
		x.handler.ServeHTTP(&x.response, &x.request)
	}
	x.response.returned = true
}

// finish sends what the handler left, and takes everything back from it but what it hijacked. It is deferred, since handlers end by
// panic and Goexit too.
func (x *exchange) finish() {
	if !x.response.returned {
		x.salvage(recover())
	}
	st := &x.stream
	st.mu.Lock()
	x.ended = true
	t := x.tunnel
	forget := t == nil || t.finished
	if t == nil {
		x.response.complete()
		st.end(x.response.why())
		x.response.close()
		x.body.close()
	}
	st.mu.Unlock()
	st.context.cancel(nil)
	if forget {
		x.forget()
	} else {
		t.settle()
	}
}

// forget is called when the handler has ended, and what it hijacked too: by whichever is last.
func (x *exchange) forget() {
	x.stream.session.done(x)
	x.stream.session.pool.handlers.Done()
}

// salvage answers for a handler that did not return.
func (x *exchange) salvage(panicked any) {
	err, _ := panicked.(error)
	if x.giveAway(err) {
		return
	}
	aborted := errors.Is(err, http.ErrAbortHandler)
	if !aborted {
		what := "handler panicked"
		if panicked == nil {
			what = "handler ended its goroutine"
		}
		x.stream.session.link.log.Error(what, "request", x.name(), "panic", panicked, "stack", string(debug.Stack()))
	}
	if aborted || !x.response.restart() {
		x.response.abandon()
		return
	}
	http.Error(&x.response, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

// name tells a log's reader which request is meant.
func (x *exchange) name() string { return fmt.Sprintf("%s %q", x.method, x.path) }
