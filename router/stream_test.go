package router

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// The two may happen in one moment: the worker is lost, and the client's body
// breaks off. Sent again, the request would wait for the rest of it for ever.
func TestABodyThatBreaksOffIsNotForgottenByASecondTry(t *testing.T) {
	for name, between := range map[string]func(s *stream){
		"before the second try": func(s *stream) { s.fail(7, errLost) },
		"once it is decided":    func(s *stream) { s.err = errLost },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := New(Config{})
			if err != nil {
				t.Fatal(err)
			}
			s := r.newStream()
			s.request.method, s.request.length, s.request.repeatable = "PUT", 10, true
			s.open()
			s.id = 7
			between(s)
			s.spoil(bodyFailure(io.ErrUnexpectedEOF))
			err = s.retry(errLost)
			var f *failure
			if !errors.As(err, &f) || f.status != 400 {
				t.Errorf("the second try ended with %v, want 400", err)
			}
			if r.pool.waiting != 0 {
				t.Error("it waits for a worker")
			}
		})
	}
}

// The worker's end may be heard before the alarm goes off.
func TestAWorkerThatGivesUpBeforeTheAlarm(t *testing.T) {
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		until time.Time
		want  error
	}{
		"overdue":      {time.Now().Add(-time.Second), errLate},
		"in good time": {time.Now().Add(time.Hour), errBroken},
		"no deadline":  {time.Time{}, errBroken},
	} {
		s := r.newStream()
		s.id, s.until = 7, tc.until
		if s.fail(7, errBroken); !errors.Is(s.err, tc.want) {
			t.Errorf("%s: %v, want %v", name, s.err, tc.want)
		}
	}
}

// What a connection had still said when another took over from it comes late.
func TestAConnectionThatWasTakenOverDoesNotComeBack(t *testing.T) {
	q := newPool(&Config{QueueLimit: 1, QueueWait: time.Second, Forget: time.Hour})
	info := frame.JoinInfo{Name: "w1", Instance: "i"}
	a, b := &peer{conn: new(zmtp.Conn)}, &peer{conn: new(zmtp.Conn)}
	q.add(a)
	q.add(b)
	q.join(a, info, everything)
	if old, _ := q.join(b, info, everything); old != a {
		t.Fatal("the second connection of one instance took nothing over")
	}
	if old, err := q.join(a, info, everything); err == nil || old != nil || q.workers != 1 || q.turn(q.routes.only, anyWorker) != b {
		t.Error("the first connection took the worker back")
	}
}
