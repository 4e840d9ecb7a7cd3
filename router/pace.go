package router

import (
	"math"
	"time"
)

// pace is how fast those who wait get a worker: it counts them by the second.
type pace struct {
	second      int64 // of Unix time, that now counts
	now, before int
}

func (p *pace) turn(t time.Time) {
	switch s := t.Unix(); s - p.second {
	case 0:
	case 1:
		p.second, p.before, p.now = s, p.now, 0
	default:
		p.second, p.before, p.now = s, 0, 0
	}
}

func (p *pace) count() {
	p.turn(time.Now())
	p.now++
}

// rate is of the last second, by the second.
func (p *pace) rate() float64 {
	t := time.Now()
	p.turn(t)
	return float64(p.now) + float64(p.before)*(1-float64(t.Nanosecond())/1e9)
}

// maxRetryAfter is the longest that a client is sent away for, in seconds.
const maxRetryAfter = 60

// retryAfter is in how many seconds the requests that wait now for the service
// that s was meant for will have had their turn, as far as their pace tells. Where nobody
// gets one, it is as long as one may wait.
func (q *pool) retryAfter(s *stream) int64 {
	seconds := q.wait.Seconds()
	q.mu.Lock()
	if s.at != nil {
		v := s.at.service
		if rate := v.pace.rate(); rate > 0 {
			seconds = float64(v.waiting+1) / rate
		}
	}
	q.mu.Unlock()
	return int64(min(max(math.Ceil(seconds), 1), maxRetryAfter))
}
