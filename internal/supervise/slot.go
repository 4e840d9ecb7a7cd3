package supervise

import (
	"context"
	"errors"
	"fmt"
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
			done <- s.replace(ctx, s.current)
		case <-s.current.exited:
			if ctx.Err() != nil {
				return nil
			}
			if err := s.fatal(s.current); err != nil {
				return err
			}
			done, on := s.rest(ctx)
			switch {
			case !on:
				return nil
			case done != nil:
				done <- s.replace(ctx, nil)
			default:
				s.current = s.launch(ctx)
			}
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

// rest waits before the next start, longer each time, and returns whether there is to be one. A roll cuts it short, and is returned.
func (s *slot) rest(ctx context.Context) (done chan rolled, on bool) {
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
	case done = <-s.rolls:
	case <-ctx.Done():
		return nil, false
	}
	return done, true
}

// replace starts another instance, and when that is announced asks old to go. If that does not come to pass in time old stays. The new one
// takes the place at once if old, which may be nil, is not announced, and when it dies; there is always one to go on with.
func (s *slot) replace(ctx context.Context, old *instance) rolled {
	next := s.launch(ctx)
	var died <-chan struct{} // old has; nil once the place is next's
	if old != nil && old.isUp() {
		died = old.exited
	} else {
		if old != nil {
			old.stop()
		}
		s.current = next
	}
	limit := time.NewTimer(s.group.ReplaceWithin)
	defer limit.Stop()
	for {
		select {
		case <-next.up:
			if old != nil {
				old.stop()
			}
			s.current, s.pause, s.started = next, 0, true
			return rolled{old: old}
		case <-next.exited:
			return rolled{err: next.err}
		case <-died:
			if ctx.Err() != nil || s.fatal(old) != nil {
				return rolled{err: old.err} // run's to judge
			}
			s.log.Warn("ended by itself, and the one that was to replace it takes its place", "how", old.err.Error())
			s.current, died = next, nil
		case <-s.group.again:
			if s.current != next {
				next.stop()
			}
			return rolled{err: errAgain}
		case <-limit.C:
			s.log.Warn("the new instance is given up, it was not announced in time: does it listen at the port in $PORT, is the router there, and does that take what is announced? --replace-timeout gives it longer",
				"after", s.group.ReplaceWithin.String())
			next.stop()
			if s.current == next {
				s.current = s.launch(ctx)
			}
			return rolled{err: fmt.Errorf("a new instance was not announced within %v", s.group.ReplaceWithin)}
		case <-ctx.Done():
			return rolled{err: ctx.Err()}
		}
	}
}
