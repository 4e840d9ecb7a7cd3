package worker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// Hijack is as http.Hijacker says, for a request to upgrade that has not been answered, except by WriteHeader(101), which is sent
// now. Otherwise the handler writes an HTTP/1.1 head to the connection, of status 101 to accept. For other requests, and after another
// answer, the error is an http.ErrNotSupported.
//
// The connection may outlive the handler, and keeps its slot until it is closed. There is no CloseWrite: the protocol
// ends an upgraded stream both ways when the worker ends it.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	t, err := r.hijack()
	if err != nil {
		return nil, nil, err
	}
	return t, bufio.NewReadWriter(bufio.NewReader(t), bufio.NewWriter(t)), nil
}

func (r *response) hijack() (*tunnel, error) {
	x := r.x
	st := &x.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	accepted := r.status == http.StatusSwitchingProtocols
	switch {
	case x.tunnel != nil:
		return nil, http.ErrHijacked
	case x.ended:
		return nil, errReturned
	case !x.upgrade:
		return nil, fmt.Errorf("worker: Hijack of a request that is no upgrade: %w", http.ErrNotSupported)
	case r.status != 0 && !accepted:
		return nil, fmt.Errorf("worker: Hijack after status %d was written: %w", r.status, http.ErrNotSupported)
	case accepted && !r.left:
		if err := r.transmitHead(false); err != nil {
			return nil, err
		}
	}
	r.left, r.spoken, r.status = true, true, http.StatusSwitchingProtocols
	x.tunnel = &tunnel{x: x, remote: parseRemote(x.request.RemoteAddr), answered: accepted}
	x.body.lean = true
	r.moveDeadline(time.Time{})
	x.body.moveDeadline(time.Time{})
	r.close()
	return x.tunnel, nil
}

// appendRawHead makes HEADERS of a head in HTTP/1.1, and reports whether its status is final.
func (x *exchange) appendRawHead(dst, head []byte) (_ []byte, final bool, err error) {
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	if err != nil {
		return dst, false, fmt.Errorf("worker: what was written to a hijacked connection is no head of HTTP/1.1: %w", err)
	}
	_ = answer.Body.Close()
	status := answer.StatusCode
	switch {
	case status < 100 || status > 599:
		return dst, false, fmt.Errorf("worker: status %d was written to a hijacked connection: it must lie between 100 and 599", status)
	case len(answer.TransferEncoding) > 0:
		return dst, false, errors.New("worker: transfer-encoding was written to a hijacked connection: write the body as it is, its end is Close")
	}
	if status == http.StatusContinue {
		x.body.open()
	}
	r := response{x: x, header: answer.Header, status: status}
	r.open()
	defer r.close()
	r.encodeHead()
	dst = frame.AppendHeaders(dst, x.stream.id, r.scratch.fields, false, 0)
	return dst, status == http.StatusSwitchingProtocols || status >= http.StatusOK, r.fits(dst)
}
