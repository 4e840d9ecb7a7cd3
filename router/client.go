package router

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// client is the seam between a front, which knows HTTP, and the streams, which
// know frames: what an exchange asks of the front that its request came in by.
// There are two fronts, ServeHTTP on net/http and engine on internal/http1.
//
// A front fills s.request by intake, makes an exchange and calls run, which
// returns when the exchange is over, and then s.release. Meanwhile run calls,
// in this goroutine,
//
//	inform ...       informational heads, as they come
//	begin            the final head, which may be kept back until
//	write, flush ... the body's pieces; a slow client holds these up, and so its worker
//	finish           the end
//
// or upgrade instead of begin. In one goroutine more, if the request has a body that
// is not at hand, and after upgrade, it calls
//
//	read ...         as the worker takes it
//	halt             from run's goroutine: read must return
//
// If run returns false, the client has been given something that must not look
// whole, or has gone: the front breaks the connection off, visibly. A front
// that learns that its client has gone calls s.leave, before s.release.
type client interface {
	// inform sends an informational head if the client's version knows them.
	inform(h *answerHead) error
	// begin takes the final head. No body is sent where there must be none:
	// HEAD, 204, 205, 304.
	begin(h *answerHead) error
	// upgrade takes the head of status 101, and sends it. write and read carry
	// the new protocol from then on, and halt and finish end the connection. A
	// *failure is to be answered instead.
	upgrade(h *answerHead, protocol string) error
	// write adds to the body. last: it is the end of it.
	write(p []byte, last bool) error
	// flush sends what has been kept back.
	flush() error
	// finish ends the answer, and sends what is left of it.
	finish(trailers frame.Fields) error

	// atHand tells whether read will not wait.
	atHand() bool
	// read reads the body: io.EOF, perhaps with its last bytes, ends it. Any
	// other error is a *failure to answer with, or the client has gone.
	read(p []byte) (int, error)
	// trailers are the request's, after io.EOF.
	trailers(*request, *frame.Fields)
	// halt ends a read that waits, and those after.
	halt()
	// gone tells whether the client has gone, where only asking shows it; nil
	// where the front learns it by itself.
	gone() func() bool
}

// exchange is one request and its answer.
type exchange struct {
	r       *Router
	s       *stream
	c       client
	version version

	upload  sync.WaitGroup
	most    int64 // bytes of a request's body; 0: no limit
	begun   bool  // the final head went out
	raw     bool  // the connection was upgraded
	left    int64 // of the declared length; -1: none was declared
	bodyOK  bool  // the answer may have a body
	code    frame.Code
	reason  string
	cutting bool // more came than was declared; logged once

	head  answerHead
	named nominated    // by its Connection
	tail  frame.Fields // the request's trailers
}

// run carries the request to a worker and the answer back.
func (x *exchange) run() (whole bool) {
	s := x.s
	s.open()
	if s.request.length != 0 {
		x.startUpload()
	}
	x.code, x.reason = http2.ErrCodeCancel, "the client left"
	defer func() { // after a panic too
		s.close(x.code, x.reason)
		x.endUpload()
	}()
	return x.carry()
}

// reset makes x ready for the next request, keeping its memory.
func (x *exchange) reset(s *stream, v version) {
	x.s, x.version, x.begun, x.raw, x.cutting = s, v, false, false, false
}

// enter counts the request among those that run. A failure says that there are
// too many.
func (x *exchange) enter() *failure {
	if n := x.r.active.Add(1); x.r.cfg.MaxRequests > 0 && n > int64(x.r.cfg.MaxRequests) {
		return errBusy
	}
	return nil
}

// exit comes after enter, and at the very end.
func (x *exchange) exit() {
	if x.raw {
		x.r.upgraded.Add(-1)
	}
	if x.r.active.Add(-1) == 0 {
		select {
		case x.r.idle <- struct{}{}:
		default:
		}
	}
}

// carry writes the parts of the response as they come.
func (x *exchange) carry() (whole bool) {
	for {
		p, err := x.s.next()
		if err != nil {
			return x.fail(err)
		}
		if p.status != 0 {
			if why := x.makeHead(&p); why != "" {
				x.r.log.Warn("worker's answer cannot be passed on", "worker", p.worker, "target", x.s.request.target(), "what", why)
				x.code, x.reason = http2.ErrCodeProtocol, why
				return x.fail(errBroken)
			}
			if err := x.sendHead(); err != nil {
				f, ours := errors.AsType[*failure](err)
				return ours && x.answer(f, true)
			}
		}
		if len(p.body) > 0 && !x.writeBody(p.body, p.end) {
			return false
		}
		if p.end {
			if x.left > 0 && x.bodyOK {
				x.r.log.Warn("worker's answer is shorter than its content-length", "worker", x.s.worker, "target", x.s.request.target(), "missing", x.left)
				_ = x.c.flush() // the head: a connection that ends without a byte makes clients ask again
				return false
			}
			if x.head.fields.Reset(); !x.raw {
				x.makeTrailers(p.trailers)
			}
			return x.c.finish(x.head.fields) == nil
		}
		if x.begun && x.c.flush() != nil {
			return false
		}
	}
}

// sendHead fails if the client has gone, or with a *failure to answer with.
func (x *exchange) sendHead() error {
	h := &x.head
	switch {
	case h.status == 101:
		return x.switchOver()
	case h.status < 200:
		return x.c.inform(h)
	}
	x.begun = true
	x.bodyOK = x.s.request.method != "HEAD" && h.status != 204 && h.status != 205 && h.status != 304
	x.left = h.length
	h.close = x.r.draining.Load() || x.unread()
	return x.c.begin(h)
}

// switchOver upgrades the connection.
func (x *exchange) switchOver() error {
	x.begun, x.raw, x.bodyOK, x.left = true, true, true, -1
	x.r.upgraded.Add(1)
	x.s.mu.Lock()
	x.s.relax()
	x.s.mu.Unlock()
	if err := x.c.upgrade(&x.head, x.s.request.protocol); err != nil {
		return err
	}
	x.upload.Go(x.readBody)
	return nil
}

// fail ends the exchange early.
func (x *exchange) fail(err error) (whole bool) {
	f, ours := errors.AsType[*failure](err)
	switch {
	case errors.Is(err, errLeft): // the client, or a handler around this one, has given up
		x.r.log.Debug("client left", "status", 499, "method", x.s.request.method, "target", x.s.request.target())
		return false
	case x.begun && x.version.major == 1 && !x.raw && (x.left == 0 || !x.bodyOK): // the client has it whole, and may have asked again
		return x.c.finish(frame.Fields{}) == nil
	case x.begun:
		level := slog.LevelWarn
		if ours && f.status < 500 { // the client's doing
			level = slog.LevelDebug
		}
		x.r.log.Log(context.Background(), level, "answer broke off", "target", x.s.request.target(), "err", err)
		return false
	case !ours:
		f = &failure{502, err.Error(), false}
	}
	return x.answer(f, x.unread())
}

// answer sends a response of the router's own. unread: the request's body is,
// and the connection cannot be used again.
func (x *exchange) answer(f *failure, unread bool) (whole bool) {
	why := f.reason
	if f == errQueueFull || f == errQueueWait {
		if name := x.r.pool.serviceOf(x.s); name != "" {
			why = "service " + name + ": " + why
		}
	}
	x.r.unserved.warn(x.r.log, "request not served", "status", f.status, "method", x.s.request.method, "target", x.s.request.target(), "why", why)
	h := &x.head
	h.fields.Reset()
	h.fields.Add("content-type", "text/plain; charset=utf-8")
	h.fields.Add("cache-control", "no-store")
	if f.retry {
		seconds := int64(1)
		if f == errQueueFull || f == errQueueWait {
			seconds = x.r.pool.retryAfter(x.s)
		}
		var digits [20]byte
		h.fields.AddBytes([]byte("retry-after"), strconv.AppendInt(digits[:0], seconds, 10))
	}
	if f.status == 405 { // RFC 9110 section 15.5.6
		h.fields.Add("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	h.fields.Add("via", x.version.via())
	x.signed("")
	h.fields.Add("proxy-status", proxyStatus(f.kind(), why))
	body := "dialmux: " + why + "\n"
	if q := &x.s.request; q.grpc && (f == errLate || f == errLateWaiting) { // 504 would be UNAVAILABLE to its client
		h.fields.Reset()
		h.fields.Add("content-type", "application/grpc")
		h.fields.Add("grpc-status", "4") // DEADLINE_EXCEEDED
		h.fields.Add("grpc-message", f.reason)
		h.fields.Add("proxy-status", f.proxyStatus())
		h.status, h.length, h.close = 200, 0, unread || x.r.draining.Load()
		return x.c.begin(h) == nil && x.c.finish(frame.Fields{}) == nil
	}
	h.status, h.length, h.close = f.status, int64(len(body)), unread || x.r.draining.Load()
	if x.c.begin(h) != nil {
		return false
	}
	if x.s.request.method != "HEAD" && x.c.write([]byte(body), true) != nil {
		return false
	}
	return x.c.finish(frame.Fields{}) == nil
}

// unread tells whether some of the request's body has not been read.
func (x *exchange) unread() bool {
	if x.s.request.protocol != "" && !x.raw { // the client waits for 101 before it says more
		return false
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	return !x.s.upload.eof
}

// writeBody cuts what exceeds the declared length. False: the client has gone.
func (x *exchange) writeBody(b []byte, last bool) bool {
	if !x.bodyOK {
		return true
	}
	if x.left >= 0 && int64(len(b)) > x.left {
		if !x.cutting {
			x.cutting = true
			x.r.log.Warn("worker's answer is longer than its content-length, and cut", "worker", x.s.worker, "target", x.s.request.target())
		}
		b = b[:x.left]
	}
	if x.left >= 0 {
		x.left -= int64(len(b))
	}
	return len(b) == 0 || x.c.write(b, last) == nil
}

// bodyBuffers are what bodies are read into.
var bodyBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

func newBodyBuffer(small bool) []byte {
	if small {
		return newBlock(smallBlock)[:smallBlock]
	}
	return bodyBuffers.Get().(*[16 << 10]byte)[:]
}

func freeBodyBuffer(b []byte) {
	if len(b) == 16<<10 {
		bodyBuffers.Put((*[16 << 10]byte)(b))
	} else {
		freeBlock(b)
	}
}

// startUpload reads the body: at once if it is at hand, else beside the
// response.
func (x *exchange) startUpload() {
	if q := &x.s.request; !q.expect && q.length <= keptLimit && x.c.atHand() {
		x.readBody()
		x.s.choose()
		return
	}
	x.upload.Go(x.readBody)
}

func (x *exchange) readBody() {
	defer x.survive()
	var buf []byte
	defer func() { freeBodyBuffer(buf) }()
	gone := x.c.gone()
	for got, last := int64(0), 0; ; {
		n := x.s.wantBody(gone)
		if n == 0 {
			return
		}
		if small := x.raw && last < smallBlock; small != (len(buf) == smallBlock) || buf == nil { // nothing may come for long
			freeBodyBuffer(buf)
			buf = newBodyBuffer(small)
		}
		n, err := x.c.read(buf[:min(n, len(buf))])
		got, last = got+int64(n), n
		x.r.memory.relieve()
		switch {
		case x.most > 0 && got > x.most && !x.raw:
			x.s.spoil(errBodySize)
			return
		case err == nil:
			x.s.feed(buf[:n], false, frame.Fields{})
		case errors.Is(err, io.EOF):
			x.tail.Reset()
			if !x.raw { // RFC 9113 section 8.5
				x.c.trailers(&x.s.request, &x.tail)
			}
			x.s.feed(buf[:n], true, x.tail)
			return
		default:
			x.s.spoil(err)
			return
		}
	}
}

// survive keeps a fault in the reading goroutine, which no server stands
// around, from ending the process.
func (x *exchange) survive() {
	if fault := recover(); fault != nil {
		x.r.log.Error("panic while a request's body was read; please report it", "target", x.s.request.target(), "fault", fault, "stack", string(debug.Stack()))
		x.s.spoil(&failure{500, "the request's body could not be read", false})
	}
}

// endUpload waits for the reading goroutine.
func (x *exchange) endUpload() {
	if (x.s.request.length != 0 || x.raw) && x.unread() {
		x.c.halt()
	}
	x.upload.Wait()
}
