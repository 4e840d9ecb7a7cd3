package router

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// This file is called by the peer's read loop: what the worker says on a stream.

// isSorry tells an answer by which a worker says that what it answers from has
// failed: 502, all in one frame, with an error in Proxy-Status (RFC 9209).
func isSorry(f *frame.Frame) bool {
	if f.Type != frame.Headers || !f.End() {
		return false
	}
	_, status, fields := f.Fields.Next()
	if string(status) != "502" {
		return false
	}
	for fields.Len() > 0 {
		var name, value []byte
		if name, value, fields = fields.Next(); string(name) == "proxy-status" && hasError(value) {
			return true
		}
	}
	return false
}

func hasError(proxyStatus []byte) bool {
	for _, rest, more := bytes.Cut(proxyStatus, []byte(";")); more; _, rest, more = bytes.Cut(rest, []byte(";")) {
		if bytes.HasPrefix(bytes.TrimLeft(rest, " "), []byte("error=")) {
			return true
		}
	}
	return false
}

// arrive takes a HEADERS or DATA frame of the stream with this number. sorry:
// it is an answer that another worker may have a better one for. The error is a
// StreamError: what the worker did wrong.
func (s *stream) arrive(id uint64, f *frame.Frame, sorry bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != id {
		return nil
	}
	if s.late() { // what a worker says that watches the deadline may look whole, and be cut short
		s.giveUpAndTell(errLate, http2.ErrCodeCancel)
		return nil
	}
	s.ledger.phase = begun
	if err := s.accept(f); err != nil {
		return frame.StreamError{Stream: id, Code: err.code, Reason: err.reason}
	}
	switch {
	case sorry:
		s.detach()
		s.err = errLost // and here is what the client gets if it cannot be sent again
	case s.ended:
		s.ledger.phase = done
		s.detach()
		s.upload.stop()
	}
	if !s.account() {
		s.drop()
	}
	s.poke()
	return nil
}

type breach struct {
	code   frame.Code
	reason string
}

func (s *stream) accept(f *frame.Frame) *breach {
	if f.Type == frame.Headers {
		if b := s.acceptHead(f); b != nil {
			return b
		}
	} else if !s.final {
		return &breach{http2.ErrCodeProtocol, "DATA before HEADERS"}
	}
	if n := len(f.Payload); n > 0 {
		if !s.final {
			return &breach{http2.ErrCodeProtocol, "an informational head has a payload"}
		}
		cost := frame.Cost(n)
		if cost > s.window {
			return &breach{http2.ErrCodeFlowControl, "more was sent than the window allows"}
		}
		s.window -= cost
		s.cost += cost
		s.got += uint64(n)
		s.body.add(f.Payload)
	}
	if f.End() {
		if f.Total != s.got {
			return &breach{http2.ErrCodeProtocol, fmt.Sprintf("the body's total is said to be %d; %d bytes came", f.Total, s.got)}
		}
		s.ended = true
	}
	return nil
}

func (s *stream) acceptHead(f *frame.Frame) *breach {
	status, isHead, ok := statusOf(f.Fields)
	switch {
	case !isHead:
		if !s.final || !f.End() {
			return &breach{http2.ErrCodeProtocol, "HEADERS without :status, which is neither an answer nor trailers at its end"}
		}
		s.tail.CopyFrom(f.Fields)
		return nil
	case !ok:
		return &breach{http2.ErrCodeProtocol, fmt.Sprintf(":status %.20q; 100 to 599 is right", f.Fields.Get(":status"))}
	case s.final:
		return &breach{http2.ErrCodeProtocol, "a second answer on one stream"}
	case status == 101 && s.request.protocol == "":
		return &breach{http2.ErrCodeProtocol, ":status 101, and no upgrade was asked for"}
	case status == 101:
		s.final = true
	case status < 200 && f.End():
		return &breach{http2.ErrCodeProtocol, "an informational head cannot end the stream"}
	case status == 100:
		s.upload.grant(s, 0)
		return nil
	case status < 200:
		if s.infos++; s.infos > maxInfos {
			return &breach{http2.ErrCodeEnhanceYourCalm, "too many informational heads"}
		}
	default:
		s.final = true
	}
	_, _, fields := f.Fields.Next()
	s.keepHead(status, fields)
	return nil
}

// keepHead copies a head for next.
func (s *stream) keepHead(status int, fields frame.Fields) {
	var h arrival
	if n := len(s.spares); n > 0 {
		h, s.spares = s.spares[n-1], s.spares[:n-1]
	}
	h.status = status
	h.fields.CopyFrom(fields)
	s.heads = append(s.heads, h)
}

// maxInfos bounds the informational heads of one stream.
const maxInfos = 16

// statusOf reads the :status that an answer's fields begin with. isHead is
// false for fields without any pseudo field: trailers.
func statusOf(f frame.Fields) (status int, isHead, ok bool) {
	if f.Len() == 0 {
		return 0, false, false
	}
	name, value, _ := f.Next()
	if len(name) == 0 || name[0] != ':' {
		return 0, false, false
	}
	if string(name) != ":status" || len(value) != 3 {
		return 0, true, false
	}
	status, err := strconv.Atoi(string(value))
	return status, true, err == nil && status >= 100 && status <= 599 && value[0] != '+'
}

// arriveReply takes a REP worker's whole answer.
func (s *stream) arriveReply(id uint64, status int, fields frame.Fields, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != id {
		return
	}
	if s.late() {
		s.giveUpAndTell(errLate, http2.ErrCodeCancel)
		return
	}
	s.ledger.phase = begun
	s.keepHead(status, fields)
	s.body.add(body)
	s.got = uint64(len(body))
	s.final, s.ended = true, true
	s.upload.buf = keep(s.upload.buf) // its client may take long to read the answer
	if s.detach(); !s.account() {
		s.drop()
	}
	s.ledger.phase = done
	s.upload.stop()
	s.poke()
}

// credited takes a WINDOW_UPDATE: the worker has begun to read the body.
func (s *stream) credited(id, credit uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != id {
		return nil
	}
	s.ledger.phase = begun
	if !s.upload.grant(s, credit) {
		return frame.StreamError{Stream: id, Code: http2.ErrCodeFlowControl, Reason: "the window grew beyond 2^53-1"}
	}
	s.poke()
	return nil
}

// fail ends the stream under this number for a reason of the worker's: one
// that retry knows, or a *failure.
func (s *stream) fail(id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != id {
		return
	}
	s.detach()
	if _, ours := errors.AsType[*failure](err); ours && s.late() {
		err = errLate // the worker watches the deadline too, and our alarm is about to go off
	}
	s.err = err
	s.poke()
}
