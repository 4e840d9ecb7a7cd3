package worker

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// tunnel is the net.Conn of a hijacked upgrade. What the handler writes first is an HTTP/1.1 head, as on a connection of net/http,
// unless WriteHeader(101) has said it all; bytes go both ways after that.
//
// It ends when it is closed. Once its stream has been aborted, it ends when the handler has returned as well.
type tunnel struct {
	x      *exchange
	remote net.Addr

	// Guarded by x.stream.mu.
	head     []byte // of an answer, as far as it has been written
	frame    []byte // the head of the frame at hand
	pending  bool   // frame is HEADERS that wait for room in the queue
	answered bool   // the final status is known
	writing  bool   // a Write is under way: another one waits
	sent     uint64 // bytes
	closed   bool   // by the handler
	ending   bool   // finish has been called, or will be
	finished bool
}

// maxRawHead is how long a head in HTTP/1.1 may be.
const maxRawHead = 64 << 10

var errUnanswered = errors.New("worker: a hijacked connection was closed before an answer was written")

// Read gives what the client sends. Its error is io.EOF after the last byte, which leaves Write working; os.ErrDeadlineExceeded
// after the deadline; net.ErrClosed after Close; and the reason once the client has gone.
func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.x.body.Read(p)
	if errors.Is(err, errBodyClosed) {
		t.x.stream.mu.Lock()
		defer t.x.stream.mu.Unlock()
		err = t.stopped()
	}
	return n, err
}

// Write queues p, and waits while the client, or the connection, takes no more. Its errors are those of Read. n bytes of p will
// be sent then, and the others may be written again.
func (t *tunnel) Write(p []byte) (n int, err error) {
	if n, err = t.write(p); err != nil {
		t.settle()
	}
	return n, err
}

func (t *tunnel) write(p []byte) (n int, err error) {
	st := &t.x.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	for t.writing { // what stops that Write stops this one
		st.writable.Wait()
	}
	if err := t.stopped(); err != nil {
		return 0, err
	}
	t.writing = true
	n, err = t.writeHead(p)
	if err == nil {
		var sent int
		sent, err = t.writeData(p[n:])
		n += sent
	}
	t.writing = false
	st.writable.Broadcast()
	return n, err
}

// stopped is why a Write goes no further.
func (t *tunnel) stopped() error {
	switch st := &t.x.stream; {
	case t.closed:
		return net.ErrClosed
	case st.cause != nil:
		return st.cause
	}
	return t.x.response.deadline.err()
}

// aborted is why not even the end can be sent.
func (t *tunnel) aborted() error { return t.x.stream.cause }

// writeHead takes the beginning of p, as far as it belongs to a head, and sends what is complete.
func (t *tunnel) writeHead(p []byte) (n int, err error) {
	for {
		if err := t.sendHead(t.stopped); err != nil {
			return n, err
		}
		if t.answered || n == len(p) {
			return n, nil
		}
		taken, err := t.collect(p[n:])
		n += taken
		if err != nil {
			t.x.stream.session.link.log.Error("answer not sent", "request", t.x.name(), "reason", err)
			t.x.stream.abortLocked(err, http2.ErrCodeInternal, err.Error())
			return n, err
		}
	}
}

// collect adds to the head what belongs to it, and puts it into frame when it is complete.
func (t *tunnel) collect(p []byte) (n int, err error) {
	old := len(t.head)
	n = min(len(p), maxRawHead-old)
	t.head = append(t.head, p[:n]...)
	end := headEnd(t.head, old)
	if end < 0 {
		if len(t.head) == maxRawHead {
			return n, fmt.Errorf("worker: no head of HTTP/1.1 ends within the first %d bytes that were written to a hijacked connection", maxRawHead)
		}
		return n, nil
	}
	t.pending = true
	t.frame, t.answered, err = t.x.appendRawHead(t.frame[:0], t.head[:end])
	t.head = nil
	return end - old, err
}

// headEnd is the length of the head that head begins with, after the empty line; -1 if that has not come. head[:old] has no end.
func headEnd(head []byte, old int) int {
	for i := max(0, old-2); ; i++ {
		feed := bytes.IndexByte(head[i:], '\n')
		if feed < 0 {
			return -1
		}
		i += feed
		switch rest := head[i+1:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return i + 2
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return i + 3
		}
	}
}

// sendHead queues HEADERS that wait for it, unless stop forbids.
func (t *tunnel) sendHead(stop func() error) error {
	for t.pending {
		switch err := t.send(nil, false, stop); {
		case err == nil:
			t.pending = false
		case !errors.Is(err, zmtp.ErrFull):
			return err
		}
	}
	return nil
}

func (t *tunnel) writeData(p []byte) (n int, err error) {
	st := &t.x.stream
	for n < len(p) {
		size := st.room(len(p) - n)
		if size == 0 {
			if err := t.stopped(); err != nil {
				return n, err
			}
			st.writable.Wait()
			continue
		}
		t.frame = frame.AppendData(t.frame[:0], st.id, false, 0)
		switch err := t.send(p[n:n+size], false, t.stopped); {
		case err == nil:
			n += size
			t.sent += uint64(size)
		case !errors.Is(err, zmtp.ErrFull):
			return n, err
		}
	}
	return n, nil
}

// send queues frame and a payload, unless stop forbids. It reports zmtp.ErrFull when it has waited for room in the queue.
func (t *tunnel) send(payload []byte, last bool, stop func() error) error {
	if err := stop(); err != nil {
		return err
	}
	err := t.x.stream.send(t.frame, payload, last)
	if errors.Is(err, zmtp.ErrFull) {
		t.x.stream.writable.Wait()
	}
	return err
}

// Close ends the stream both ways, when what was written is queued; it may wait for the connection to take that, though not for
// the client. Only the first Close does anything.
func (t *tunnel) Close() error {
	st := &t.x.stream
	st.mu.Lock()
	if t.closed {
		st.mu.Unlock()
		return nil
	}
	t.closed = true
	t.x.body.close()
	st.writable.Broadcast()
	mine := !t.ending
	if t.ending = true; mine {
		for t.writing { // it uses frame, and stops soon
			st.writable.Wait()
		}
		t.sendEnd()
	}
	st.mu.Unlock()
	if mine {
		t.finish()
	}
	return nil
}

// sendEnd queues END_STREAM, if there was an answer.
func (t *tunnel) sendEnd() {
	if !t.answered || t.sendHead(t.aborted) != nil {
		return
	}
	t.frame = frame.AppendData(t.frame[:0], t.x.stream.id, true, t.sent)
	for errors.Is(t.send(nil, true, t.aborted), zmtp.ErrFull) {
	}
}

// settle ends an aborted tunnel whose handler has returned: nobody has to close it.
func (t *tunnel) settle() {
	st := &t.x.stream
	st.mu.Lock()
	mine := st.cause != nil && t.x.ended && !t.ending
	t.ending = t.ending || mine
	st.mu.Unlock()
	if mine {
		t.finish()
	}
}

// finish is called once, by who has set ending.
func (t *tunnel) finish() {
	st := &t.x.stream
	st.mu.Lock()
	st.end(errUnanswered.Error())
	t.x.response.deadline.stop()
	t.x.body.close()
	t.head, t.frame = nil, nil
	st.writable.Broadcast()
	t.finished = true
	forget := t.x.ended
	st.mu.Unlock()
	if forget {
		t.x.forget()
	}
}

// LocalAddr is this end of the connection to the router.
func (t *tunnel) LocalAddr() net.Addr { return t.x.stream.session.nc.LocalAddr() }

// RemoteAddr is Request.RemoteAddr as a *net.TCPAddr, one without an address if that is none.
func (t *tunnel) RemoteAddr() net.Addr { return t.remote }

// parseRemote makes an address of a Request.RemoteAddr.
func parseRemote(s string) net.Addr {
	client, err := netip.ParseAddrPort(s)
	if err != nil {
		return &net.TCPAddr{}
	}
	return net.TCPAddrFromAddrPort(client)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (t *tunnel) SetDeadline(at time.Time) error {
	return t.move(at, t.x.body.moveDeadline, t.x.response.moveDeadline)
}

// SetReadDeadline bounds reads that wait and those to come, until it is moved; the zero time is no deadline.
func (t *tunnel) SetReadDeadline(at time.Time) error { return t.move(at, t.x.body.moveDeadline) }

// SetWriteDeadline bounds writes in the same way.
func (t *tunnel) SetWriteDeadline(at time.Time) error { return t.move(at, t.x.response.moveDeadline) }

func (t *tunnel) move(at time.Time, deadlines ...func(time.Time)) error {
	t.x.stream.mu.Lock()
	defer t.x.stream.mu.Unlock()
	if t.closed || t.ending {
		return net.ErrClosed
	}
	for _, move := range deadlines {
		move(at)
	}
	return nil
}
