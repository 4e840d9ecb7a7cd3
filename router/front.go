package router

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/http1"
)

// This file is the front on net/http, for HTTP/2 and for those who embed a
// Router as a handler. See client for the seam.

// ServeHTTP carries one request to a worker and its answer back. Where an
// answer breaks off, it aborts the client's connection: by panicking with
// http.ErrAbortHandler, as the standard library's proxy does.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	p := &Port{WriteTimeout: writeIdle}
	if req.ProtoMajor == 2 {
		r.handleHTTP2(w, req, p)
		return
	}
	r.handle(w, req, p)
}

// handle serves one request within the limits of p.
func (r *Router) handle(w http.ResponseWriter, req *http.Request, p *Port) {
	s := r.newStream()
	h := &handled{w: w, req: req, limit: p.WriteTimeout, patience: p.BodyTimeout}
	x := &exchange{r: r, c: h, most: p.MaxBody}
	x.reset(s, version{req.ProtoMajor, req.ProtoMinor})
	f := x.enter()
	defer x.exit()
	if refused := r.read(&s.request, req, p); f == nil {
		f = refused
	}
	if f != nil {
		x.answer(f, true)
		s.release()
		return
	}
	if s.request.grpc { // its client may listen for long, and have nothing to say
		h.patience = 0
	}
	left := make(chan struct{})
	stop := context.AfterFunc(req.Context(), func() {
		defer close(left)
		s.leave()
	})
	if s.request.length != 0 || s.request.protocol != "" {
		_ = h.control().EnableFullDuplex() // HTTP/2 is anyway; else net/http would swallow the body when the head goes out
	}
	whole := x.run()
	h.settle(whole)
	if !stop() {
		<-left
	}
	s.release()
	if !whole {
		h.abort()
	}
}

// handled is the client of one call of ServeHTTP.
type handled struct {
	w       http.ResponseWriter
	req     *http.Request
	rc      *http.ResponseController // nil until needed
	limit   time.Duration
	timed   bool // a write deadline is set
	nothing bool // no body may be sent
	halted  bool

	patience time.Duration // HTTP/2: how long nothing of the body may come; below 1: for ever
	waits    *time.Timer   // of read; nil until needed
	mu       sync.Mutex
	waiting  bool // read does; guarded by mu
	late     atomic.Bool

	// Once upgraded.
	raw   bool
	nc    net.Conn          // over HTTP/1.1
	ahead *bufio.ReadWriter // what was read from it before
}

func (h *handled) control() *http.ResponseController {
	if h.rc == nil {
		h.rc = http.NewResponseController(h.w)
	}
	return h.rc
}

func (h *handled) inform(a *answerHead) error {
	if !h.req.ProtoAtLeast(1, 1) {
		return nil // HTTP/1.0 knows of none (RFC 9110 section 15.2)
	}
	header := h.w.Header()
	setFields(header, a.fields)
	h.w.WriteHeader(a.status)
	clear(header) // net/http would send it again with the final head
	return nil
}

func (h *handled) begin(a *answerHead) error {
	header := h.w.Header()
	setFields(header, a.fields)
	if h.raw { // superseded over HTTP/2 (RFC 8441 section 5.1)
		header.Del("Sec-Websocket-Accept")
	}
	h.nothing = h.req.Method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusResetContent || a.status == http.StatusNotModified
	switch {
	case a.status == http.StatusNoContent:
	case a.status == http.StatusResetContent: // RFC 9110 section 15.3.6
		header["Content-Length"] = []string{"0"}
	case a.length >= 0:
		header["Content-Length"] = []string{strconv.FormatInt(a.length, 10)}
	}
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // what the worker does not name is not guessed
	}
	if a.close && h.req.ProtoMajor == 1 {
		header["Connection"] = []string{"close"}
	}
	h.w.WriteHeader(a.status)
	return nil
}

func (h *handled) upgrade(a *answerHead, protocol string) error {
	h.raw = true
	if h.req.ProtoMajor == 2 { // RFC 8441 section 5
		a.status, a.length = http.StatusOK, -1
		if err := h.begin(a); err != nil {
			return err
		}
		return h.flush()
	}
	nc, ahead, err := h.control().Hijack()
	if err != nil {
		h.raw = false
		return &failure{501, "this server cannot upgrade its connections", false}
	}
	h.nc, h.ahead = nc, ahead
	_ = nc.SetDeadline(time.Time{})
	head := append([]byte(nil), "HTTP/1.1 101 Switching Protocols\r\n"...)
	for name, value := range a.fields.All() {
		head = append(append(append(append(head, canonical(name)...), ": "...), value...), "\r\n"...)
	}
	head = append(append(append(head, "Connection: Upgrade\r\nUpgrade: "...), protocol...), "\r\n\r\n"...)
	return h.send(head)
}

// send writes to an upgraded connection.
func (h *handled) send(b []byte) error {
	if h.limit > 0 {
		_ = h.nc.SetWriteDeadline(time.Now().Add(h.limit))
	}
	_, err := h.nc.Write(b)
	return err
}

// writeIdle is how long a client may take nothing of an answer that is not
// whole yet: no piece of it goes out.
const (
	writeIdle  = time.Minute
	writePiece = 16 << 10
)

func (h *handled) write(b []byte, last bool) error {
	if h.nothing {
		return nil
	}
	if h.nc != nil {
		return h.send(b)
	}
	// HTTP/2's end waits for the client's window, in a handler that is still there.
	for (!last || h.req.ProtoMajor == 2) && h.limit > 0 && len(b) > 0 {
		h.timed = true
		_ = h.control().SetWriteDeadline(time.Now().Add(h.limit))
		n, err := h.w.Write(b[:min(len(b), writePiece)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	if last && h.req.ProtoMajor == 1 {
		h.untime()
	}
	if len(b) == 0 {
		return nil
	}
	_, err := h.w.Write(b)
	return err
}

// untime lets the end of the answer out, however long ago its last piece was.
func (h *handled) untime() {
	if h.timed {
		h.timed = false
		_ = h.control().SetWriteDeadline(time.Time{})
	}
}

// flush may not get through a handler around this one: then the client gets
// the answer late, but whole.
func (h *handled) flush() error {
	if h.nc != nil {
		return nil
	}
	if h.req.ProtoMajor == 2 {
		defer h.untime() // its deadline would end a stream that has nothing to say
	}
	if err := h.control().Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func (h *handled) finish(trailers frame.Fields) error {
	if h.nc != nil { // settle closes it
		if w, ok := h.nc.(interface{ CloseWrite() error }); ok {
			return w.CloseWrite()
		}
		return nil
	}
	if h.req.ProtoMajor == 1 { // HTTP/2's ends with the stream
		h.untime()
	}
	if trailers.Len() == 0 {
		return nil
	}
	if err := h.flush(); err != nil { // now, or net/http would give a short answer a length, which leaves no place for trailers
		return err
	}
	header := h.w.Header()
	for name, value := range trailers.All() {
		header.Add(http.TrailerPrefix+canonical(name), string(value))
	}
	return nil
}

func (h *handled) atHand() bool { return false }

func (h *handled) read(p []byte) (int, error) {
	if h.nc != nil {
		return h.readRaw(p)
	}
	if h.patience > 0 && h.req.ProtoMajor == 2 && !h.raw {
		h.wait(true)
		if h.waits == nil {
			h.waits = time.AfterFunc(h.patience, h.giveUp)
		} else {
			h.waits.Reset(h.patience)
		}
		defer func() {
			h.waits.Stop()
			h.wait(false)
		}()
	}
	n, err := h.req.Body.Read(p)
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	case h.raw:
		return n, errLeft
	case h.late.Load():
		return n, errBodyLate
	}
	return n, bodyFailure(err)
}

func (h *handled) readRaw(p []byte) (int, error) {
	if n := h.ahead.Reader.Buffered(); n > 0 {
		return h.ahead.Read(p[:min(n, len(p))])
	}
	n, err := h.nc.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = errLeft
	}
	return n, err
}

func (h *handled) wait(is bool) {
	h.mu.Lock()
	h.waiting = is
	h.mu.Unlock()
}

// giveUp ends a read that has waited too long. A timer may fire as its read
// returns, and net/http's HTTP/2 panics if it is asked for a deadline after the
// handler's end: so read does not return meanwhile.
func (h *handled) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waiting {
		return
	}
	h.late.Store(true)
	_ = h.control().SetReadDeadline(time.Unix(1, 0))
}

func bodyFailure(err error) *failure {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodySize
	}
	return &failure{400, "the request's body broke off or is malformed", false}
}

func (h *handled) trailers(q *request, f *frame.Fields) {
	for name, values := range h.req.Trailer {
		n := appendLower(nil, name)
		if !q.keeps(n) {
			continue
		}
		for _, value := range values {
			f.AddBytes(n, []byte(value))
		}
	}
}

func (h *handled) gone() func() bool {
	if h.raw { // its reading shows it, and half of it may be closed
		return nil
	}
	return clientGone(h.req.Context())
}

// lingering is how long net/http may go on reading a body that nobody wants,
// so that the client reads the answer before its connection is reset.
const lingering = time.Second

func (h *handled) halt() {
	if h.nc != nil {
		_ = h.nc.SetReadDeadline(time.Unix(1, 0))
		return
	}
	h.halted = true
	_ = h.control().SetReadDeadline(time.Unix(1, 0))
}

// settle comes when nobody reads the body any more. An upgraded connection that
// has come to its end lingers, or the client might lose that to a reset.
func (h *handled) settle(whole bool) {
	switch {
	case h.nc != nil && whole:
		_ = h.nc.SetReadDeadline(time.Now().Add(lingering))
		_, _ = io.Copy(io.Discard, h.nc)
		_ = h.nc.Close()
	case h.halted:
		_ = h.control().SetReadDeadline(time.Now().Add(lingering))
	}
}

// abort breaks the client's connection off so that it shows: HTTP/1.0 has no
// other sign of a whole body than an orderly end.
func (h *handled) abort() {
	if h.nc != nil {
		http1.Reset(h.nc)
		return
	}
	if h.req.ProtoMajor == 1 {
		if nc, _, err := h.control().Hijack(); err == nil {
			http1.Reset(nc)
			return
		}
	}
	panic(http.ErrAbortHandler)
}
