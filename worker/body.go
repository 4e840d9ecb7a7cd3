package worker

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// body is a request's: the router fills it as far as its window goes, the handler empties it.
type body struct {
	st       *stream
	first    int64               // the router's first window
	readable int64               // ReadWindow: the window once the handler reads
	declared int64               // content-length, -1 if there is none
	trailer  map[string][]string // the request's, filled in when the handler has read everything; nil from then on

	// Guarded by st.mu.
	data     []byte // data[off:] is unread
	off      int
	limit    int64  // how wide the window has been opened
	window   int64  // what the router may still send, in cost
	due      int64  // cost that the handler has consumed and the router has not got back
	surplus  int64  // by how much data's cost exceeds its length
	received uint64 // bytes
	ended    bool   // END_STREAM came
	opened   bool   // to readable
	closed   bool   // the handler wants no more
	touched  bool   // the handler has read, or tried to
	lean     bool   // reads may wait for very long: they give memory back first
	deadline deadline
	trailers frame.Fields
}

// open is the router's first window: from the start, or with expect when a head of status 100 is sent.
func (b *body) open() {
	if b.limit == 0 {
		b.limit, b.window = b.first, b.first
	}
}

// receive takes a frame's payload and, with END_STREAM, the end and the trailers. An error aborts the stream.
func (b *body) receive(f *frame.Frame, trailers frame.Fields) error {
	b.st.mu.Lock()
	defer b.st.mu.Unlock()
	if b.st.ended || b.st.cause != nil {
		return nil
	}
	if b.ended {
		return b.fault(http2.ErrCodeStreamClosed, "%v after END_STREAM", f.Type)
	}
	cost := frame.Cost(len(f.Payload))
	if cost > b.window {
		return b.fault(http2.ErrCodeFlowControl, "payload that costs %d, the window is %d", cost, b.window)
	}
	b.window -= cost
	b.received += uint64(len(f.Payload))
	if f.End() {
		if f.Total != b.received || b.declared >= 0 && f.Total != uint64(b.declared) {
			return b.fault(http2.ErrCodeProtocol, "request's body of %d bytes, END_STREAM says %d and content-length %d (-1: nothing)",
				b.received, f.Total, b.declared)
		}
		b.ended = true
		b.trailers.CopyFrom(trailers)
	}
	if !b.closed {
		b.surplus += cost - int64(len(f.Payload))
		b.append(f.Payload)
	}
	b.st.readable.Broadcast()
	return nil
}

func (b *body) fault(code frame.Code, format string, args ...any) error {
	return frame.StreamError{Stream: b.st.id, Code: code, Reason: fmt.Sprintf(format, args...)}
}

// append keeps data no larger than the window: what is unread fits in it.
func (b *body) append(p []byte) {
	unread := len(b.data) - b.off
	if need := unread + len(p); len(b.data)+len(p) > cap(b.data) {
		grown := b.data
		if need > cap(b.data) {
			grown = make([]byte, min(max(need, 2*cap(b.data)), max(need, int(b.limit))))
		}
		copy(grown[:unread], b.data[b.off:])
		b.data, b.off = grown[:unread], 0
	}
	b.data = append(b.data, p...)
}

// Read is as io.Reader says. Its error after the last byte is io.EOF, and Request.Trailer is filled in then. It is
// os.ErrDeadlineExceeded after the deadline, and the context's cause once that has ended.
func (b *body) Read(p []byte) (int, error) {
	b.st.mu.Lock()
	defer b.st.mu.Unlock()
	for {
		switch err := b.deadline.err(); {
		case b.closed:
			return 0, errBodyClosed
		case err != nil:
			return 0, err
		case b.st.cause != nil:
			return 0, b.st.cause
		case len(p) == 0:
			return 0, nil
		}
		b.touched = true
		b.replenish()
		if b.off < len(b.data) {
			break
		}
		if b.ended {
			if b.trailer != nil {
				readTrailers(b.trailer, b.trailers)
				b.trailer = nil
			}
			return 0, io.EOF
		}
		if b.lean && cap(b.data) > bufferSize {
			b.data = nil
		}
		b.st.readable.Wait()
	}
	n := copy(p, b.data[b.off:])
	b.off += n
	b.due += int64(n)
	if b.off == len(b.data) {
		b.data, b.off = b.data[:0], 0
		b.due += b.surplus
		b.surplus = 0
	}
	b.replenish()
	return n, nil
}

// replenish gives credit: the wider window when the handler begins to read, then what it has consumed, a quarter of the window
// at a time. A body that is all here, or whose rest fits, costs no frame.
func (b *body) replenish() {
	if b.ended {
		return
	}
	grant := int64(0)
	if !b.opened && (b.declared < 0 || b.declared-int64(b.received) > b.window) {
		b.opened = true
		grant = b.readable - b.limit
		b.limit += grant
	}
	if b.due >= b.limit/4 || grant > 0 {
		grant += b.due
		b.due = 0
	}
	if grant > 0 {
		b.window += grant
		var head [32]byte
		b.st.session.urgent(b.st.id, frame.AppendWindowUpdate(head[:0], b.st.id, uint64(grant)))
	}
}

// close ends what the handler may still hold. b.st.mu is held.
func (b *body) close() {
	b.deadline.stop()
	b.closed = true
	b.data, b.off = nil, 0
	b.st.readable.Broadcast()
}

// Close drops what has come and will come.
func (b *body) Close() error {
	b.st.mu.Lock()
	defer b.st.mu.Unlock()
	b.closed = true
	b.data, b.off = nil, 0
	b.st.readable.Broadcast()
	return nil
}

func (b *body) setDeadline(t time.Time) {
	b.st.mu.Lock()
	defer b.st.mu.Unlock()
	b.moveDeadline(t)
}

// moveDeadline is setDeadline with b.st.mu held.
func (b *body) moveDeadline(t time.Time) {
	b.deadline.set(t, func() {
		b.st.mu.Lock()
		defer b.st.mu.Unlock()
		b.st.readable.Broadcast()
	})
	b.st.readable.Broadcast()
}
