package router

import (
	"context"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// beatsALimit is how often watch looks within ResponseTimeout: how exact it is.
const beatsALimit = 10

// watch ends requests whose workers do not begin to answer, until ctx ends.
func (r *Router) watch(ctx context.Context) {
	if r.cfg.ResponseTimeout < 0 {
		return
	}
	beat := time.NewTicker(max(r.cfg.ResponseTimeout/beatsALimit, time.Millisecond))
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		r.beats.Add(1)
		for _, p := range r.pool.snapshot() {
			p.expire()
		}
	}
}

// touch notes that the worker has got something: its time to answer begins.
func (s *stream) touch() { s.since = s.r.beats.Load() }

// expire ends the streams whose worker is overdue.
func (p *peer) expire() {
	p.mu.Lock()
	open := make([]numbered, 0, len(p.streams))
	for id, s := range p.streams {
		if s != nil {
			open = append(open, numbered{s, id})
		}
	}
	p.mu.Unlock()
	for _, o := range open {
		if o.s.expire(p, o.id) {
			p.r.log.Warn("worker did not begin its answer in time", "worker", p.name(), "stream", o.id, "limit", p.r.cfg.ResponseTimeout.String())
			p.r.pool.failed(p)
			p.abort(o.id, http2.ErrCodeCancel, errNoAnswer.reason)
		}
	}
}

// expire ends the stream if the worker has the whole request, or does not ask for
// more of its body, and has been silent for too long.
func (s *stream) expire(p *peer, id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer != p || s.id != id { // s may be another request's by now: nothing of it may be read
		return false
	}
	u := &s.upload
	waits := u.ended || u.shut || frame.Fit(u.window, 1) == 0 || p.rep == rep || s.request.protocol != "" // for the worker
	if s.final || !waits || s.r.beats.Load()-s.since <= beatsALimit {
		return false
	}
	s.detach()
	s.err = errNoAnswer
	u.stop()
	s.poke()
	return true
}
