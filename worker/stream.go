package worker

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// share is how many bytes of one stream may wait in the connection's queue: more would hold up the others.
const share = 128 << 10

// stream is what body and response have in common: who they belong to, and how it ends.
//
// For each HEADERS that opened a stream the router is owed one last frame, an END_STREAM or an RST_STREAM. The goroutine that ran
// the handler sends it, after the handler has returned.
type stream struct {
	session *session
	id      uint64
	limits  frame.Limits    // of what is sent
	context *requestContext // the request's

	mu       sync.Mutex
	readable sync.Cond // the body, or why there is no more of it, has changed
	writable sync.Cond // so has what a write waits for

	cause  error // why the stream was aborted; nil while it has not been
	code   frame.Code
	reason string
	voided bool // the router does not know the stream any more
	freed  bool // its slot is given back
	ended  bool // the last frame is queued, or none is owed any more

	window int64  // what may be sent, in cost
	gen    uint64 // of the queue that the last DATA went into
	queued int    // bytes that went into that generation
}

// abort ends the request's context, and what the handler reads and writes, for the first cause given; code and reason are for the
// RST_STREAM that follows when the handler has returned.
func (st *stream) abort(cause error, code frame.Code, reason string) {
	st.mu.Lock()
	st.abortLocked(cause, code, reason)
	st.mu.Unlock()
	st.context.cancel(cause)
}

func (st *stream) abortLocked(cause error, code frame.Code, reason string) {
	if st.cause != nil || st.ended {
		return
	}
	st.cause, st.code, st.reason = cause, code, reason
	st.readable.Broadcast()
	st.writable.Broadcast()
}

// void is abort without a last frame.
func (st *stream) void(cause error) {
	st.mu.Lock()
	st.voided = true
	st.abortLocked(cause, http2.ErrCodeCancel, "")
	st.mu.Unlock()
	st.context.cancel(cause)
}

// wake has a write look again.
func (st *stream) wake() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.writable.Broadcast()
}

// credit opens the response's window.
func (st *stream) credit(n uint64) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.window += int64(n); st.window > frame.MaxNumber {
		return frame.StreamError{Stream: st.id, Code: http2.ErrCodeFlowControl, Reason: "credit beyond 2^53"}
	}
	st.writable.Broadcast()
	return nil
}

// room is how many of n bytes may be queued now. At 0 the caller waits on writable, and asks again. mu is held.
func (st *stream) room(n int) int {
	if st.queued >= share && st.gen == st.session.conn.Gen() && st.session.awaitDrain(st, st.gen) {
		return 0
	}
	return min(frame.Fit(st.window, n), int(st.limits.Payload))
}

// send queues a frame with body bytes, or none, in its payload. last frees the slot first, since the router takes it for free
// once it has read that frame. While the connection's queue is full, send reports zmtp.ErrFull and writable will be signalled. mu
// is held.
func (st *stream) send(head, payload []byte, last bool) error {
	conn := st.session.conn
	for {
		before := conn.Gen()
		if last {
			st.free()
		}
		var gen uint64
		var err error
		if len(payload) > 0 {
			gen, err = conn.Send(st.id, zmtp.Ordinary, head, payload)
		} else {
			gen, err = conn.Send(st.id, zmtp.Ordinary, head)
		}
		switch {
		case err == nil:
			if gen != st.gen {
				st.gen, st.queued = gen, 0
			}
			st.queued += len(head) + len(payload)
			st.window -= frame.Cost(len(payload))
			st.ended = last
			return nil
		case !errors.Is(err, zmtp.ErrFull):
			return err // the connection has ended: void is on its way
		case st.session.awaitDrain(st, before):
			return zmtp.ErrFull
		}
	}
}

// free gives the slot back, once. mu is held.
func (st *stream) free() {
	if !st.freed {
		st.freed = true
		st.session.pool.release()
	}
}

// end sees to it that the last frame is sent: an RST_STREAM if no END_STREAM was. mu is held.
func (st *stream) end(reason string) {
	st.free()
	if st.ended {
		return
	}
	st.ended = true
	if st.voided {
		return
	}
	code := http2.ErrCodeInternal
	if st.cause != nil {
		code, reason = st.code, st.reason
	}
	st.session.conn.Purge(st.id)
	st.session.urgent(st.id, frame.AppendRSTStream(nil, st.id, code, reason))
}

// deadline is a point in time that ends waits.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set moves the deadline, and calls wake when it has come: not for one that has passed, callers wake those who wait.
// No deadline is the zero time.
func (d *deadline) set(t time.Time, wake func()) {
	d.stop()
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, wake)
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// err is os.ErrDeadlineExceeded once the deadline has passed.
func (d *deadline) err() error {
	if !d.at.IsZero() && !time.Now().Before(d.at) {
		return os.ErrDeadlineExceeded
	}
	return nil
}
