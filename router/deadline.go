package router

import (
	"strconv"
	"time"

	"golang.org/x/net/http2"
)

// This file is about the time that a whole request has: --request-timeout, or
// less where its client says so. It travels: the worker is told how much is left.

// limit takes a client's word: the shorter one counts.
func (q *request) limit(d time.Duration) {
	if q.timeout == 0 || d < q.timeout {
		q.timeout = max(d, 1) // 0: it said nothing
	}
}

// hasten sets the request's deadline. s.mu is held.
func (s *stream) hasten() {
	d := s.request.timeout
	if most := s.r.cfg.RequestTimeout; most > 0 && (d == 0 || most < d) {
		d = most
	}
	if d == 0 {
		return
	}
	s.until = s.arrived.Add(d - 1) // with no time at all it is over already
	if s.alarm == nil {
		s.alarm = time.AfterFunc(d, s.overdue)
	} else {
		s.alarm.Reset(d)
	}
}

// relax lifts it: the request is over, or has become something else. s.mu is held.
func (s *stream) relax() {
	if !s.until.IsZero() {
		s.until = time.Time{}
		s.alarm.Stop()
	}
}

// overdue ends the request. The alarm may be one that an earlier request of s
// could not stop in time: then nothing is due.
func (s *stream) overdue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.late():
	case s.ledger.phase == waiting:
		s.giveUpAndTell(errLateWaiting, http2.ErrCodeCancel)
	default:
		s.giveUpAndTell(errLate, http2.ErrCodeCancel)
	}
}

// late tells that the request's time is over. s.mu is held.
func (s *stream) late() bool { return !s.until.IsZero() && !time.Now().Before(s.until) }

// stamp tells the worker how much time is left, in the form that the client
// used; fields that come without one are as they were. s.mu is held.
func (s *stream) stamp() {
	if s.until.IsZero() {
		return
	}
	q, left := &s.request, max(time.Until(s.until), 0)
	left = (left + time.Millisecond - 1).Truncate(time.Millisecond) // the worker's end comes after ours
	var text [24]byte
	if q.grpc || q.grpcTimed {
		ms, unit := int64(left/time.Millisecond), byte('m')
		if ms > 99_999_999 {
			ms, unit = ms/1000, 'S'
		}
		q.fields.AddBytes([]byte("grpc-timeout"), append(strconv.AppendInt(text[:0], min(ms, 99_999_999), 10), unit))
	}
	if !q.grpc || q.timed {
		q.fields.AddBytes([]byte("request-timeout"), strconv.AppendFloat(text[:0], left.Seconds(), 'f', 3, 64))
	}
}

// timeoutFields bounds what stamp adds, in bytes.
const timeoutFields = 64
