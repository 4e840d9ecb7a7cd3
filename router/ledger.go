package router

import (
	"errors"
	"sync/atomic"
)

// phase is how far a request has come. It only goes forward, but for a request
// that is sent again: that waits anew.
type phase uint8

const (
	waiting phase = iota // for a worker, or for its own body to be whole
	sent                 // a worker has it, or its queue; nothing has come back
	begun                // the worker has said something about it
	done                 // no worker has it, and none will get it
)

func (p phase) String() string { return [...]string{"waiting", "sent", "begun", "done"}[p] }

// ledger is what is known of one request, and all that decides whether it is
// sent again. Guarded by stream.mu.
type ledger struct {
	phase    phase
	answered bool // its final head went to the front
	lost     int  // workers that were lost with it
	moved    int  // times that it went elsewhere, not begun
}

// maxMoves is how often a request that moves gets all of QueueWait anew.
const maxMoves = 3

// maxLost is how many workers one request may take down.
const maxLost = 2

// fail ends an attempt, for errMoved or errRefused, which say that the worker had
// not begun, or errLost. It returns nil if the request may be sent again, and
// waits then; else why not. known: the worker had certainly not begun. kept: the
// request's body is all here still.
func (l *ledger) fail(why error, q *request, kept bool) (known bool, err error) {
	known = !errors.Is(why, errLost) && l.phase != begun // a worker that has begun cannot unsay it
	if known {
		l.moved++
	} else {
		l.lost++
	}
	l.phase = done
	switch {
	case l.answered:
		return known, errBrokeOff
	case l.lost >= maxLost:
		return known, errQuarantined
	case !known && !q.repeatable:
		return known, errUnsafe
	case !kept:
		return known, errNotKept
	}
	l.phase = waiting
	return known, nil
}

// retries bounds how many requests are sent again because a worker was lost:
// a fifth of all, and what one worker can have had when it was. Workers that
// fail under load are not given more of it.
type retries struct {
	left atomic.Int64 // in fifths of a request

	again       atomic.Uint64 // requests that were sent again
	refused     atomic.Uint64 // that were not, for the budget
	quarantined atomic.Uint64 // that were not, since they took two workers down
}

const (
	retryCost  = 5              // requests earn one retry
	retryBurst = MaxConcurrency // retries that may be saved up
)

func (r *retries) init() { r.left.Store(retryBurst * retryCost) }

func (r *retries) earn() {
	if r.left.Load() < retryBurst*retryCost { // in quiet times nothing is written
		r.left.Add(1)
	}
}

func (r *retries) spend() bool {
	if r.left.Add(-retryCost) < 0 {
		r.left.Add(retryCost)
		r.refused.Add(1)
		return false
	}
	return true
}
