package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

const (
	bufferSize = 4 << 10  // what is gathered before a frame is sent; an answer that fits is one frame
	copySize   = 64 << 10 // of ReadFrom
	maxScratch = 16 << 10 // a larger one is not kept
)

// response is an http.ResponseWriter, and what http.ResponseController looks for.
type response struct {
	x        *exchange
	returned bool        // the handler came back by itself; owned by its goroutine
	header   http.Header // the handler's

	// Guarded by x.stream.mu.
	scratch     *scratch // nil when the handler has ended: nothing is written any more
	status      int      // 0 before WriteHeader
	left        bool     // the head is queued
	spoken      bool     // the handler has begun an answer
	abandoned   bool     // what is written shall not be sent
	late        bool     // it began after the request's deadline
	typed       bool     // the head says what the content is, or how it is encoded
	declared    int64    // content-length, -1 if there is none
	written     int64    // bytes taken from the handler
	sent        uint64   // bytes queued
	trailers    []string // keys of header that are trailers
	err         error    // why nothing more can be sent
	deadline    deadline
	superfluous bool
}

// scratch is memory that answers use one after the other.
type scratch struct {
	fields frame.Fields
	head   []byte
	text   []byte
	keys   []string
	buf    []byte // body that has not been sent
}

func newScratch() any { return &scratch{buf: make([]byte, 0, bufferSize)} }

var (
	errReturned  = errors.New("worker: the handler has returned")
	errAbandoned = errors.New("worker: the handler gave up")
	errOverdue   = fmt.Errorf("worker: the handler returned after the request's deadline, and its answer was not whole: %w", context.DeadlineExceeded)
)

// Header returns the fields that WriteHeader sends, or the first Write.
func (r *response) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

// WriteHeader is as http.ResponseWriter says: 1xx statuses are sent at once, any other once. 101 accepts an upgrade, and
// Hijack must follow.
func (r *response) WriteHeader(status int) {
	r.x.stream.mu.Lock()
	defer r.x.stream.mu.Unlock()
	r.writeHeader(status)
}

func (r *response) writeHeader(status int) {
	r.spoken = true
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("worker: WriteHeader(%d): a status has three digits", status))
	case status == http.StatusSwitchingProtocols && !r.x.upgrade:
		panic("worker: WriteHeader(101): the request is no upgrade")
	case r.scratch == nil && r.x.tunnel == nil:
	case r.status != 0:
		if !r.superfluous {
			r.superfluous = true
			r.x.stream.session.link.log.Warn("superfluous WriteHeader", "request", r.x.name(), "status", status, "sent", r.status)
		}
	case status < 200 && status != http.StatusSwitchingProtocols:
		r.inform(status)
	default:
		r.status, r.late = status, r.x.context.overdue()
		r.encodeHead()
	}
}

// Write is as http.ResponseWriter says. It waits while the client, or the connection, takes no more, and then fails when the
// request's context ends or the write deadline passes.
func (r *response) Write(p []byte) (n int, err error) {
	r.x.stream.mu.Lock()
	defer r.x.stream.mu.Unlock()
	if err := r.admit(len(p)); err != nil {
		return 0, err
	}
	total := len(p)
	if r.buffer(p) {
		return total, nil
	}
	s := r.scratch
	if n = len(s.buf); n > 0 {
		if n = cap(s.buf) - n; r.left {
			n = 0
		}
		s.buf, p = append(s.buf, p[:n]...), p[n:] // what is sniffed should not depend on how the handler cuts its writes
		if err := r.flush(); err != nil {
			return 0, err
		}
	}
	sent, err := r.transmit(p, false)
	return n + sent, err
}

// WriteString is Write for strings.
func (r *response) WriteString(p string) (int, error) {
	if len(p) > bufferSize {
		return r.Write([]byte(p))
	}
	r.x.stream.mu.Lock()
	defer r.x.stream.mu.Unlock()
	if err := r.admit(len(p)); err != nil {
		return 0, err
	}
	s := r.scratch
	if len(s.buf)+len(p) > cap(s.buf) {
		if err := r.flush(); err != nil {
			return 0, err
		}
	}
	s.buf = append(s.buf, p...)
	return len(p), nil
}

// ReadFrom spares io.Copy its buffer.
func (r *response) ReadFrom(src io.Reader) (n int64, err error) {
	buf := r.x.stream.session.pool.copies.Get().(*[copySize]byte)
	defer r.x.stream.session.pool.copies.Put(buf)
	for {
		got, readErr := src.Read(buf[:])
		if got > 0 {
			wrote, err := r.Write(buf[:got])
			n += int64(wrote)
			if err != nil {
				return n, err
			}
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

func newCopyBuffer() any { return new([copySize]byte) }

// Flush is FlushError without the error.
func (r *response) Flush() { _ = r.FlushError() }

// FlushError sends what is written so far, the head too.
func (r *response) FlushError() error {
	r.x.stream.mu.Lock()
	defer r.x.stream.mu.Unlock()
	if err := r.admit(0); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		return err
	}
	return r.flush()
}

// SetReadDeadline bounds reads of the request's body.
func (r *response) SetReadDeadline(t time.Time) error {
	r.x.body.setDeadline(t)
	return nil
}

// SetWriteDeadline bounds writes. An answer that a deadline cut off stays broken.
func (r *response) SetWriteDeadline(t time.Time) error {
	r.x.stream.mu.Lock()
	defer r.x.stream.mu.Unlock()
	if r.scratch == nil && r.x.tunnel == nil || r.x.stream.ended {
		return errReturned
	}
	r.moveDeadline(t)
	return nil
}

// moveDeadline bounds writes. x.stream.mu is held.
func (r *response) moveDeadline(t time.Time) {
	r.deadline.set(t, r.x.stream.wake)
	r.x.stream.writable.Broadcast()
}

// EnableFullDuplex has nothing to do: bodies always flow both ways at once.
func (r *response) EnableFullDuplex() error { return nil }

// admit counts n bytes of body, if they may be written.
func (r *response) admit(n int) error {
	if err := r.blocked(); err != nil {
		return err
	}
	if r.status == 0 {
		r.writeHeader(http.StatusOK)
	}
	switch {
	case !bodyAllowed(r.status):
		return http.ErrBodyNotAllowed
	case r.declared >= 0 && r.written+int64(n) > r.declared:
		return http.ErrContentLength
	}
	r.written += int64(n)
	return nil
}

// blocked is why nothing more is sent.
func (r *response) blocked() error {
	switch {
	case r.x.tunnel != nil:
		return http.ErrHijacked
	case r.scratch == nil, r.x.stream.ended:
		return errReturned
	case r.x.stream.cause != nil:
		return r.x.stream.cause
	case r.err != nil:
		return r.err
	}
	return r.deadline.err()
}

// buffer keeps p, if there is room.
func (r *response) buffer(p []byte) bool {
	s := r.scratch
	if len(s.buf)+len(p) > cap(s.buf) {
		return false
	}
	s.buf = append(s.buf, p...)
	return true
}

// flush sends what is buffered, and the head.
func (r *response) flush() error {
	s := r.scratch
	_, err := r.transmit(s.buf, false)
	if err == nil {
		s.buf = s.buf[:0]
	}
	return err
}

// transmit queues p in as many frames as it takes, together with the head if that has not left, and with end the end of the
// stream. It gives up the lock while it waits; an error is the last that is sent.
func (r *response) transmit(p []byte, end bool) (n int, err error) {
	trailing := end && r.trailing()
	if !r.left {
		r.completeHead(p, end && !trailing)
	}
	size := len(p)
	if r.noBody() {
		p = nil
	}
	for done := len(p) == 0 && r.left && (!end || trailing); !done; done = len(p) == 0 {
		sent, err := r.transmitFrame(p, end && !trailing)
		if err != nil {
			r.err = err
			return n, err
		}
		n, p = n+sent, p[sent:]
	}
	if trailing {
		if err := r.transmitTrailers(); err != nil {
			r.err = err
			return n, err
		}
	}
	return size, nil
}

// transmitFrame queues the beginning of p: all, if it fits into a frame and the window.
func (r *response) transmitFrame(p []byte, end bool) (n int, err error) {
	st := &r.x.stream
	for {
		if err := r.blocked(); err != nil {
			return 0, err
		}
		n := st.room(len(p))
		if n == 0 && len(p) > 0 && r.left {
			st.writable.Wait()
			continue
		}
		last := end && n == len(p)
		total := r.sent + uint64(n)
		s := r.scratch
		if r.left {
			s.head = frame.AppendData(s.head[:0], st.id, last, total)
		} else {
			s.head = frame.AppendHeaders(s.head[:0], st.id, s.fields, last, total)
		}
		switch err := r.send(p[:n], last); {
		case errors.Is(err, zmtp.ErrFull):
			st.writable.Wait()
			continue
		case err != nil:
			return 0, err
		}
		r.left = true
		r.sent = total
		return n, nil
	}
}

// transmitHead queues the fields in scratch alone: a head before the answer's own, or trailers.
func (r *response) transmitHead(last bool) error {
	st := &r.x.stream
	for {
		if err := r.blocked(); err != nil {
			return err
		}
		s := r.scratch
		s.head = frame.AppendHeaders(s.head[:0], st.id, s.fields, last, r.sent)
		err := r.send(nil, last)
		if !errors.Is(err, zmtp.ErrFull) {
			return err
		}
		st.writable.Wait()
	}
}

// send queues scratch.head and a payload.
func (r *response) send(payload []byte, last bool) error {
	st := &r.x.stream
	if err := r.fits(r.scratch.head); err != nil {
		st.session.link.log.Error("answer not sent", "request", r.x.name(), "reason", err)
		return err
	}
	return st.send(r.scratch.head, payload, last)
}

func (r *response) fits(head []byte) error {
	if most := r.x.stream.limits.Head; uint64(len(head)) > most {
		return fmt.Errorf("worker: the answer's header takes %d bytes, the router allows %d: send less", len(head), most)
	}
	return nil
}

// complete sends what a handler that ended has left. mu is held, but while it waits.
func (r *response) complete() {
	st := &r.x.stream
	if !r.abandoned && r.cutShort() {
		st.abortLocked(errOverdue, http2.ErrCodeCancel, errOverdue.Error())
	}
	if r.abandoned || r.blocked() != nil {
		return
	}
	if r.status == 0 {
		r.writeHeader(http.StatusOK)
	}
	if r.status == http.StatusSwitchingProtocols {
		r.err = errors.New("worker: the handler wrote status 101 and did not hijack the connection")
		st.session.link.log.Error("answer broken off", "request", r.x.name(), "reason", r.err)
		return
	}
	if r.declared >= 0 && r.written != r.declared && !r.noBody() {
		r.err = fmt.Errorf("worker: the handler declared a content-length of %d and wrote %d bytes", r.declared, r.written)
		st.session.link.log.Error("answer broken off", "request", r.x.name(), "reason", r.err)
		return
	}
	_, _ = r.transmit(r.scratch.buf, true)
}

// cutShort reports whether the handler that has returned may have done so because the request's deadline had passed, as its context
// tells it to. What was begun before that is whole only if it has the length that its head says; what was begun after it was meant so.
func (r *response) cutShort() bool {
	switch {
	case !r.x.context.overdue(), r.late:
		return false
	case r.status == 0:
		return true
	case r.noBody():
		return false
	}
	return r.written != r.declared || len(r.trailers) > 0
}

// restart takes back what is written, if none of it has left.
func (r *response) restart() bool {
	r.x.stream.mu.Lock()
	defer r.x.stream.mu.Unlock()
	if r.left {
		return false
	}
	r.header, r.trailers = nil, nil
	r.status, r.late, r.written, r.declared = 0, false, 0, -1
	if r.scratch != nil {
		r.scratch.buf = r.scratch.buf[:0]
	}
	return true
}

// abandon breaks the answer off.
func (r *response) abandon() {
	r.x.stream.mu.Lock()
	defer r.x.stream.mu.Unlock()
	r.abandoned = true
	r.err = errAbandoned
	if r.x.tunnel != nil {
		r.x.stream.abortLocked(errAbandoned, http2.ErrCodeInternal, errAbandoned.Error())
	}
}

// open readies r for the handler.
func (r *response) open() {
	r.scratch = r.x.stream.session.pool.scratches.Get().(*scratch)
	r.declared = -1
}

// close takes the memory back. mu is held.
func (r *response) close() {
	r.deadline.stop()
	r.x.stream.writable.Broadcast()
	s := r.scratch
	if r.scratch = nil; s == nil || cap(s.head) > maxScratch {
		return
	}
	s.buf = s.buf[:0]
	clear(s.keys)
	r.x.stream.session.pool.scratches.Put(s)
}

// why is the reason of an RST_STREAM for an answer that was not sent whole.
func (r *response) why() string {
	if r.err != nil {
		return r.err.Error()
	}
	return "the handler ended without an answer"
}
