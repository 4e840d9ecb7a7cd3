package router

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// This file is the front on net/http, for HTTP/2 and for those who embed a
// Router as a handler. See client for the seam.

// ServeHTTP carries one request to a worker and its answer back. Where an
// answer breaks off, it aborts the client's connection: by panicking with
// http.ErrAbortHandler, as the standard library's proxy does.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.handle(w, req, writeIdle)
}

// handle gives up a client that takes nothing of an answer for limit; 0: never.
func (r *Router) handle(w http.ResponseWriter, req *http.Request, limit time.Duration) {
	r.active.Add(1)
	defer r.inactive()
	s := r.newStream()
	h := &handled{w: w, req: req, limit: limit}
	x := &exchange{r: r, c: h}
	x.reset(s, version{req.ProtoMajor, req.ProtoMinor})
	if f := r.read(&s.request, req); f != nil {
		x.answer(f, true)
		s.release()
		return
	}
	left := make(chan struct{})
	stop := context.AfterFunc(req.Context(), func() {
		defer close(left)
		s.leave()
	})
	if s.request.length != 0 {
		_ = h.control().EnableFullDuplex() // HTTP/2 is anyway; else net/http would swallow the body when the head goes out
	}
	whole := x.run()
	h.settle()
	if !stop() {
		<-left
	}
	s.release()
	if !whole {
		h.abort()
	}
}

func (r *Router) inactive() {
	if r.active.Add(-1) == 0 {
		select {
		case r.idle <- struct{}{}:
		default:
		}
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
	if h.req.ProtoMajor == 2 {
		defer h.untime() // its deadline would end a stream that has nothing to say
	}
	if err := h.control().Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func (h *handled) finish(trailers frame.Fields) error {
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
	n, err := h.req.Body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = bodyFailure(err)
	}
	return n, err
}

func bodyFailure(err error) *failure {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &failure{413, "the body is larger than allowed here", false}
	}
	return &failure{400, "the request's body broke off or is malformed", false}
}

func (h *handled) trailers(f *frame.Fields) {
	for name, values := range h.req.Trailer {
		n := appendLower(nil, name)
		if isForbiddenTrailer(n) {
			continue
		}
		for _, value := range values {
			f.AddBytes(n, []byte(value))
		}
	}
}

func (h *handled) gone() func() bool { return clientGone(h.req.Context()) }

// lingering is how long net/http may go on reading a body that nobody wants,
// so that the client reads the answer before its connection is reset.
const lingering = time.Second

func (h *handled) halt() {
	h.halted = true
	_ = h.control().SetReadDeadline(time.Unix(1, 0))
}

// settle comes when nobody reads the body any more.
func (h *handled) settle() {
	if h.halted {
		_ = h.control().SetReadDeadline(time.Now().Add(lingering))
	}
}

// abort breaks the client's connection off so that it shows: HTTP/1.0 has no
// other sign of a whole body than an orderly end.
func (h *handled) abort() {
	if h.req.ProtoMajor == 1 {
		if nc, _, err := h.control().Hijack(); err == nil {
			reset(nc)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

func reset(nc net.Conn) {
	under := nc
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		under = t.NetConn()
	}
	if t, ok := under.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = under.Close()
}
