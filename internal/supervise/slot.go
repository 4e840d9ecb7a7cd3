package supervise

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	// steady is how long an instance must have been announced for its death to be the first of a row.
	steady = 10 * time.Second
)

// errAgain ends a replacement because all are to be replaced once more.
var errAgain = errors.New("another one was asked for")

// rolled is the instance that was replaced, nil if none was, or why not.
type rolled struct {
	old *instance
	err error
}

// slot is where one instance runs after another.
type slot struct {
	group *Group
	name  string
	log   *slog.Logger
	rolls chan chan rolled // asks for a replacement, and hears what became of it

	// Owned by run.
	current *instance
	pause   time.Duration
	started bool // an instance was, once
}

func (s *slot) run(ctx context.Context) error {
	s.current = s.launch(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case done := <-s.rolls:
			done <- s.replace(ctx)
		case <-s.current.exited:
			if ctx.Err() != nil {
				return nil
			}
			if err := s.fatal(s.current); err != nil {
				return err
			}
			if !s.rest(ctx) {
				return nil
			}
			s.current = s.launch(ctx)
		}
	}
}

// fatal returns why another instance would fare no better than in.
func (s *slot) fatal(in *instance) error {
	s.started = s.started || in.process != nil
	if in.gaveUp || !s.started {
		return in.err
	}
	return nil
}

// rest waits before the next start, longer each time, and returns whether there is to be one. A roll cuts it short.
func (s *slot) rest(ctx context.Context) bool {
	if s.current.upFor() >= steady {
		s.pause = 0
	}
	s.pause = min(max(firstPause, 2*s.pause), lastPause)
	pause := s.pause/2 + rand.N(s.pause/2)
	s.log.Warn("ended by itself, and is started again", "how", s.current.err.Error(), "announced", s.current.isUp(), "in", pause.Round(time.Millisecond).String())
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case done := <-s.rolls:
		done <- rolled{} // what is started now is new
	case <-ctx.Done():
		return false
	}
	return true
}

// replace starts another instance, and when that is announced asks the current one to go. If that does not come to pass the current one
// stays, unless it is not announced either.
func (s *slot) replace(ctx context.Context) rolled {
	if !s.current.isUp() {
		return s.swap(s.launch(ctx))
	}
	next := s.launch(ctx)
	select {
	case <-next.up:
		return s.swap(next)
	case <-next.exited:
		return rolled{err: next.err}
	case <-s.group.again:
		next.stop()
		return rolled{err: errAgain}
	case <-ctx.Done():
		return rolled{err: ctx.Err()}
	}
}

func (s *slot) swap(next *instance) rolled {
	old := s.current
	old.stop()
	s.current, s.pause, s.started = next, 0, s.started || next.isUp()
	return rolled{old: old}
}
