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
	s.reserved, s.progress = extra, time.Now()
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
		if s.reserved > 0 && now.Sub(s.progress) >= stale {
			idlers = append(idlers, idle{s, s.progress})
		}
		s.mu.Unlock()
	}
	slices.SortFunc(idlers, func(a, b idle) int { return a.since.Compare(b.since) })
	for _, i := range idlers {
		if m.left.Load() >= 2*m.low {
			return
		}
		i.s.shed(i.since)
	}
}

// shed ends s, which has made no progress since then, and lets go of what it holds.
func (s *stream) shed(since time.Time) {
	s.mu.Lock()
	if s.reserved == 0 || !s.progress.Equal(since) { // it has moved on, or is another request's by now
		s.mu.Unlock()
		return
	}
	p, id := s.drop()
	s.mu.Unlock()
	if p != nil {
		p.abort(id, http2.ErrCodeEnhanceYourCalm, errMemory.reason)
	}
}

// drop ends s for want of memory, and returns whom to tell. s.mu is held.
func (s *stream) drop() (*peer, uint64) {
	p, id := s.giveUp(errMemory)
	s.err, s.ledger.phase = errMemory, done // though the answer be here to its end
	s.rewind()
	s.upload.buf = nil
	s.account()
	return p, id
}
