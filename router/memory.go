package router

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// memory is what all streams together may hold beyond what each may. Who holds
// more is listed: when memory runs short, those go whose clients take nothing.
type memory struct {
	left atomic.Int64
	low  int64 // relieve before it is less

	mu    sync.Mutex
	heavy map[*stream]struct{} // guarded by mu

	relief   sync.Mutex
	relieved time.Time // guarded by relief
}

const (
	// share is what a stream may hold without asking: a piece of an answer, and a
	// little more.
	share = largeBlock + smallBlock
	// stale is how long a heavy stream may go without progress when memory is short.
	stale = 5 * time.Second
	// slow is the same when there is hardly any left.
	slow = 500 * time.Millisecond
	// progressStep is how much must come or go to be progress, in bytes: less is a
	// client that keeps its place by a trickle.
	progressStep = 16 << 10
	// reliefPause is how often who can go is looked for.
	reliefPause = 100 * time.Millisecond
)

func (m *memory) init(most int64) {
	m.left.Store(most)
	m.low, m.heavy = most/8, map[*stream]struct{}{}
}

// held is what s keeps of bodies and of heads. s.mu is held.
func (s *stream) held() int64 {
	n := int64(len(s.upload.buf)) + s.body.size + int64(s.tail.Size())
	for i := range s.heads {
		n += int64(s.heads[i].fields.Size())
	}
	return n
}

// account takes from the router's memory, or gives back, what s holds more or
// less than when it was last called. False: there is no more, and nothing was
// taken. s.mu is held.
func (s *stream) account() bool {
	extra, m := max(s.held()-share, 0), &s.r.memory
	switch {
	case extra == s.reserved:
		return true
	case extra > s.reserved && m.left.Add(s.reserved-extra) < 0:
		m.left.Add(extra - s.reserved)
		return false
	case extra < s.reserved:
		m.left.Add(s.reserved - extra)
	}
	was := s.reserved
	s.reserved = extra
	if d := extra - s.noted; d >= progressStep || d <= -progressStep || was == 0 {
		s.noted, s.progress = extra, time.Now()
	}
	if (was == 0) != (extra == 0) {
		m.mu.Lock()
		if extra > 0 {
			m.heavy[s] = struct{}{}
		} else {
			delete(m.heavy, s)
		}
		m.mu.Unlock()
	}
	return true
}

// relieve makes room when memory is short: of those that hold more than their
// share, it ends who has made no progress for long. No lock is held.
func (m *memory) relieve() {
	if m.left.Load() >= m.low || !m.relief.TryLock() {
		return
	}
	defer m.relief.Unlock()
	now := time.Now()
	if now.Sub(m.relieved) < reliefPause {
		return
	}
	m.relieved = now
	type idle struct {
		s     *stream
		since time.Time
	}
	var idlers []idle
	m.mu.Lock()
	heavy := make([]*stream, 0, len(m.heavy))
	for s := range m.heavy {
		heavy = append(heavy, s)
	}
	m.mu.Unlock()
	for _, s := range heavy {
		s.mu.Lock()
		if s.idle() && now.Sub(s.progress) >= slow {
			idlers = append(idlers, idle{s, s.progress})
		}
		s.mu.Unlock()
	}
	slices.SortFunc(idlers, func(a, b idle) int { return a.since.Compare(b.since) })
	for _, i := range idlers {
		left := m.left.Load()
		if left >= 2*m.low || left >= m.low/2 && now.Sub(i.since) < stale {
			return
		}
		i.s.shed(i.since)
	}
}

// shed ends s, which has made no progress since then, and lets go of what it holds.
func (s *stream) shed(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserved > 0 && s.progress.Equal(since) { // else it has moved on, or is another request's by now
		s.drop()
	}
}

// drop ends s for want of memory. What a worker may have carried out is not to be
// asked again unless it may be. s.mu is held.
func (s *stream) drop() {
	why := errMemory
	if s.ledger.phase != waiting && !s.request.repeatable {
		why = errMemoryLate
	}
	s.giveUpAndTell(why, http2.ErrCodeEnhanceYourCalm)
	s.err, s.ledger.phase = why, done // though the answer be here to its end
	s.rewind()
	s.upload.buf = nil
	s.account()
}

// idle tells that it is the client that s waits for: one that does not take its
// answer, or whose body does not come. s.mu is held.
func (s *stream) idle() bool {
	return s.reserved > 0 && (!s.body.empty() || s.ledger.phase == waiting && !s.upload.eof)
}
