// Package supervise keeps N instances of a command running, each on a port of its own: one that dies is replaced, and all
// of them are one after the other on request, the new one before the old one goes.
//
// A slot has an instance at all times but for the back-off after a death, and two while one replaces the other. An instance
// goes through: started, answers, announced (Config.Serve runs), withdrawn (Serve's context ended, and it returned), asked to
// end (SIGTERM), killed. Its process leads a process group, which ends with it, as, on
// Linux, does what has left that group.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says what is run, and how. All fields must be set but Env and Answers.
type Config struct {
	// Name is that of the one instance; of N, it is followed by -1 to -N.
	Name string
	N    int

	// Args are the command and its arguments, in which $PORT and ${PORT} stand for the instance's port.
	Args []string
	// Env is the command's environment, to which PORT is added.
	Env []string
	// KillAfter is how long an instance has to end once it was sent SIGTERM. Then it is sent SIGKILL, with all that is left of it.
	KillAfter time.Duration
	// ReplaceWithin is how long one that replaces another has until it is announced. Then it is given up, and with it the Roll.
	ReplaceWithin time.Duration

	// Stdout and Stderr take what the command prints, line by line with the name before it. Both may be the same. An instance's end waits for their Write.
	Stdout, Stderr io.Writer
	Logger         *slog.Logger

	// Answers tries once whether the command answers at address, host:port. Default: it takes a TCP connection.
	Answers func(ctx context.Context, address string) error
	// Serve makes use of the instance at address, and calls announced once that has begun. When ctx ends it begins nothing more, and
	// returns when what it had begun is over. That it returns before ends Run with its error.
	Serve func(ctx context.Context, name, address string, announced func()) error
}

// Group is the instances of one command.
type Group struct {
	Config
	stdout, stderr *output
	ports          ports
	slots          []*slot
	again          chan struct{} // a Roll that nobody has seen yet
	instances      sync.WaitGroup
	patience       time.Duration

	mu        sync.Mutex
	processes map[*process]struct{} // those that have not ended, or may have left something behind
	killed    bool
}

// New returns an error if the command cannot be found.
func New(c Config) (*Group, error) {
	if _, err := exec.LookPath(c.Args[0]); err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, unstartable(c.Args[0], err)
	}
	if c.Answers == nil {
		c.Answers = connects
	}
	stdout := &output{w: c.Stdout}
	stderr := stdout
	if c.Stderr != c.Stdout {
		stderr = &output{w: c.Stderr}
	}
	g := &Group{
		Config: c, stdout: stdout, stderr: stderr, again: make(chan struct{}, 1), patience: patience,
		ports: ports{held: map[int]struct{}{}}, processes: map[*process]struct{}{},
	}
	for i := range c.N {
		name := c.Name
		if c.N > 1 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		g.slots = append(g.slots, &slot{group: g, name: name, log: c.Logger.With("worker", name), rolls: make(chan chan rolled)})
	}
	return g, nil
}

func connects(ctx context.Context, address string) error {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = nc.Close()
	}
	return err
}

func unstartable(name string, err error) error {
	var e *exec.Error
	var p *os.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("cannot start %q: %w; name a program that can be run, by its path or one in PATH", name, err)
}

// Run adopts, on Linux, orphans of this process's descendants: nothing else in it may start processes. It keeps the instances running until ctx ends, and then returns nil when none is left. It returns early with an error if the
// command cannot be started for the first time, or Serve gave up.
func (g *Group) Run(ctx context.Context) error {
	adopt()
	done := make(chan struct{})
	var burying sync.WaitGroup
	burying.Go(func() { g.bury(done) })
	defer burying.Wait()
	defer close(done)
	slots, ctx := errgroup.WithContext(ctx)
	for _, s := range g.slots {
		slots.Go(func() error { return s.run(ctx) })
	}
	slots.Go(func() error { g.roll(ctx); return nil })
	err := slots.Wait()
	g.instances.Wait()
	return err
}

// Roll has each instance replaced, one after the other, and does not wait for that. While one goes on it begins anew, so that in the end
// all were started after the last.
func (g *Group) Roll() {
	select {
	case g.again <- struct{}{}:
	default:
	}
}

func (g *Group) roll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.again:
		}
		replaced, err := 0, errAgain
		for errors.Is(err, errAgain) {
			g.Logger.Info("replacing instances, one after the other", "instances", g.N)
			replaced, err = g.rollOnce(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			g.Logger.Error("instances are not replaced any further, those that run go on", "reason", err, "worker", g.slots[replaced].name, "replaced", replaced, "instances", g.N)
		default:
			g.Logger.Info("all instances are replaced", "instances", g.N)
		}
	}
}

// rollOnce returns how many were replaced, and why the next one was not.
func (g *Group) rollOnce(ctx context.Context) (int, error) {
	for i, s := range g.slots {
		done := make(chan rolled, 1)
		select {
		case s.rolls <- done:
		case <-ctx.Done():
			return i, ctx.Err()
		}
		r := <-done // soon there if ctx ends
		if r.err != nil {
			return i, r.err
		}
		if r.old != nil {
			<-r.old.done
		}
	}
	return len(g.slots), nil
}

// Signal sends sig to each process that was started, not to its group.
func (g *Group) Signal(sig os.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p := range g.processes {
		_ = p.cmd.Process.Signal(sig) // it may just have ended
	}
}

// Kill kills what runs, with all that is left of what ran, and returns when that has ended. Nothing is started any more. Run's context must have ended; Run still waits for Serve.
func (g *Group) Kill() {
	g.mu.Lock()
	g.killed = true
	var all []*process
	for p := range g.processes {
		if !p.hasExited() {
			p.kill()
		}
		all = append(all, p)
	}
	g.mu.Unlock()
	for _, p := range all {
		<-p.exited
		p.clear()
	}
}
