package router

import (
	"log/slog"
	"sync"
	"time"
)

// quiet logs at most one line a second, and how many it left out: what
// strangers on the worker port can cause must not fill a disk.
type quiet struct {
	mu     sync.Mutex
	last   time.Time
	missed int
}

func (q *quiet) warn(log *slog.Logger, msg string, args ...any) {
	missed, ok := q.admit()
	if !ok {
		return
	}
	if missed > 0 {
		args = append(args, "likewise_since_last", missed)
	}
	log.Warn(msg, args...)
}

func (q *quiet) admit() (missed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if now.Sub(q.last) < time.Second {
		q.missed++
		return 0, false
	}
	missed = q.missed
	q.last, q.missed = now, 0
	return missed, true
}
