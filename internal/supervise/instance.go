package supervise

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	firstTry = 5 * time.Millisecond
	lastTry  = 250 * time.Millisecond
	tryLimit = 5 * time.Second
	// patience is how long a command may take to answer before the log says that it does not.
	patience = 10 * time.Second
)

// instance is one run of the command, from its start until nothing is left of it.
type instance struct {
	group   *Group
	name    string
	log     *slog.Logger
	port    int
	address string
	stop    context.CancelFunc

	once   sync.Once
	up     chan struct{} // closed when it is announced
	exited chan struct{} // closed when the process has ended, or never began
	done   chan struct{} // closed when Serve has returned, too, and the process group is gone

	since time.Time // written before up is closed

	// Written before exited is closed.
	process *process // nil if it could not be started
	err     error    // how it ended
	gaveUp  bool     // Serve did
}

func (s *slot) launch(ctx context.Context) *instance {
	ctx, stop := context.WithCancel(ctx)
	in := &instance{
		group: s.group, name: s.name, stop: stop,
		up: make(chan struct{}), exited: make(chan struct{}), done: make(chan struct{}),
	}
	s.group.instances.Go(func() {
		defer close(in.done)
		defer stop()
		in.run(ctx, s.log)
	})
	return in
}

func (in *instance) isUp() bool {
	select {
	case <-in.up:
		return true
	default:
		return false
	}
}

// upFor is how long it has been announced.
func (in *instance) upFor() time.Duration {
	if !in.isUp() {
		return 0
	}
	return time.Since(in.since)
}

func (in *instance) run(ctx context.Context, log *slog.Logger) {
	g := in.group
	if in.port, in.address, in.err = g.ports.take(); in.err != nil {
		close(in.exited)
		return
	}
	defer g.ports.giveBack(in.port)
	in.log = log.With("address", in.address)
	p, err := g.start(in.name, in.port)
	if err != nil {
		in.err = err
		close(in.exited)
		return
	}
	in.process = p
	in.log = in.log.With("pid", p.cmd.Process.Pid)
	in.log.Info("started")

	serving, withdraw := context.WithCancel(context.WithoutCancel(ctx))
	defer withdraw()
	served := make(chan error, 1)
	if in.await(ctx, p) {
		in.log.Info("answers")
		g.instances.Go(func() { served <- g.Serve(serving, in.name, in.address, in.announced) })
		select {
		case <-ctx.Done():
		case <-p.exited:
		case err := <-served:
			served <- err
			if err == nil {
				err = errors.New("nothing is served any more")
			}
			in.err, in.gaveUp = err, true
		}
	} else {
		served <- nil
	}
	withdraw()
	crashed := p.hasExited()
	if crashed {
		in.ended(p) // at once: what still drains holds up nobody
		p.clear()
	}
	if err := <-served; err != nil && !in.gaveUp {
		in.log.Error("requests were not finished", "reason", err)
	}
	if !crashed {
		in.log.Info("asked to end", "kill_after", g.KillAfter.String())
		if !p.end(g.KillAfter) {
			in.log.Warn("killed: it had not ended when its time was over", "kill_after", g.KillAfter.String())
		}
		in.ended(p)
	}
	g.forget(p)
	p.output.Wait()
}

func (in *instance) announced() {
	in.once.Do(func() {
		in.since = time.Now()
		close(in.up) // first: whoever reads the line may ask for a replacement
		in.log.Info("announced")
	})
}

func (in *instance) ended(p *process) {
	if in.err == nil {
		in.err = p.how()
	}
	close(in.exited)
}

// await returns true when the command answers, false when it has ended or ctx has.
func (in *instance) await(ctx context.Context, p *process) bool {
	began, warn, pause := time.Now(), in.group.patience, firstTry
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-p.exited:
			return false
		case <-timer.C:
		}
		trying, cancel := context.WithTimeout(ctx, tryLimit)
		err := in.group.Answers(trying, in.address)
		cancel()
		if err == nil && !p.hasExited() {
			return true
		}
		if waited := time.Since(began); waited >= warn && ctx.Err() == nil {
			in.log.Warn("does not answer yet: does the command listen at the port in $PORT?", "after", waited.Round(time.Second).String(), "reason", err)
			warn *= 2
		}
		timer.Reset(pause)
		pause = min(2*pause, lastTry)
	}
}
