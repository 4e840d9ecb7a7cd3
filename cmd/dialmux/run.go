package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/internal/supervise"
	"github.com/dialmux/dialmux/worker"
)

func runCommand() *cli.Command {
	var s runSettings
	one := 1
	return &cli.Command{
		Name:      "run",
		Usage:     "run a web app, and make a worker of it",
		ArgsUsage: "[--] COMMAND ...",
		Description: `Example: dialmux run -n 4 -- python3 -m http.server '$PORT'

COMMAND is started with PORT set to a free port, where it has to listen on
127.0.0.1; $PORT and ${PORT} in its arguments become that, too. Once it answers
it is announced to the routers. When it dies it is started again, at first after
100ms, then ever later up to 10s. What it prints has the worker's name before it.

SIGTERM and SIGINT: no new requests, running ones may go on for --grace, then
COMMAND gets SIGTERM, and what is left of it SIGKILL after --kill-after; exit
code 0. A second one kills at once. SIGHUP: each of the -n is replaced, one after
the other, the new one announced before the old one drains. If a new one fails,
or is not announced within --replace-timeout, the old ones stay; another SIGHUP
begins anew. SIGUSR1, SIGUSR2 and SIGWINCH are handed on.`,
		Flags:        s.flags(),
		StopOnNthArg: &one, // what follows COMMAND is its own
		OnUsageError: usageError,
		Action:       func(ctx context.Context, cmd *cli.Command) error { return s.run(ctx, cmd) },
	}
}

// runSettings is what the flags of dialmux run say.
type runSettings struct {
	joining
	forwarding
	n             int
	killAfter     time.Duration
	replaceWithin time.Duration
	log           logging
	h2c           bool
	known         sync.Map // by the name of an instance: *known of the one that was announced last
}

const (
	defaultKillAfter      = 10 * time.Second
	defaultReplaceTimeout = time.Minute
)

func (s *runSettings) flags() []cli.Flag {
	flags := []cli.Flag{
		alias("n", flag("instances", "run this `NUMBER` of it, each on a port of its own; their workers' names end in -1, -2 and so on", &s.n, 1, parseInstances)),
		flag("kill-after", "kill what has not ended this `DURATION` after it was asked to", &s.killAfter, defaultKillAfter, parseDuration),
		flag("replace-timeout", "on SIGHUP, give up a new instance that is not announced within this `DURATION`, and keep those that run", &s.replaceWithin, defaultReplaceTimeout, parseAbove0),
		flag("h2c", "speak HTTP/2 without TLS to it, as a gRPC server wants", &s.h2c, false, parseBool),
		flag("strip-prefix", "take the --path that matches off before the app sees it, and tell it by X-Forwarded-Prefix", &s.strip, false, parseBool),
	}
	flags = append(append(flags, s.joining.flags()...), s.healthFlags()...)
	return append(flags,
		flag("log-level", "log lines of this `LEVEL` and above: debug, info, warn, error", &s.log.level, "info", parseLevel),
		flag("log-format", "log in this `FORMAT`: text, json, or auto (text on a terminal, else json)", &s.log.format, "auto", parseFormat),
	)
}

func (s *runSettings) run(ctx context.Context, cmd *cli.Command) error {
	args := cmd.Args().Slice()
	if len(args) == 0 || args[0] == "" {
		return fmt.Errorf("%s wants the command that it is to run, as in: %s -- python3 -m http.server '$PORT'", cmd.FullName(), cmd.FullName())
	}
	if err := s.strippable(s.worker.Paths); err != nil {
		return err
	}
	if err := s.finish(cmd); err != nil {
		return err
	}
	if s.worker.Name == "" {
		s.worker.Name = worker.DefaultName()
	}
	log := s.log.logger(cmd.Root().ErrWriter)
	stdout, stderr := printsTo(os.Stdout, log), printsTo(os.Stderr, log)
	defer stdout.close()
	defer stderr.close()
	g, err := supervise.New(supervise.Config{
		Name: s.worker.Name, N: s.n, Args: args, Env: environment(), KillAfter: s.killAfter, ReplaceWithin: s.replaceWithin,
		Stdout: stdout, Stderr: stderr, Logger: log, Answers: s.answers,
		Serve: func(ctx context.Context, name, address string, announced func()) error {
			return s.serve(ctx, log.With("worker", name), name, address, announced)
		},
	})
	if err != nil {
		return err
	}
	return s.supervise(ctx, g, log)
}

// slowReader is how long the app waits for whoever reads what it prints, before that is dropped.
const slowReader = time.Second

// printsTo is f for what the app prints.
func printsTo(f *os.File, log *slog.Logger) *outlet {
	o := newOutlet(f, slowReader)
	o.telling(func(dropped int) []byte {
		log.Warn("lines that the app printed were dropped: nobody read them in time", "lines", dropped, "to", f.Name())
		return nil
	})
	return o
}

// supervise runs g, and does with it what signals say.
func (s *runSettings) supervise(ctx context.Context, g *supervise.Group, log *slog.Logger) error {
	signals, second := make(chan os.Signal, 16), make(chan os.Signal, 1)
	signal.Notify(signals, append(handedOn(), syscall.SIGHUP)...)
	defer signal.Stop(signals)
	defer signal.Stop(second)
	defer sayDrain(ctx, log, s.worker.Grace, func() { signal.Notify(second, os.Interrupt, syscall.SIGTERM) })()
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- g.Run(ctx) })
	for {
		select {
		case err := <-ended:
			running.Wait()
			return err
		case <-second:
			g.Kill()
			// Requests that ran may go on for a while: the end of this process is theirs.
			return errors.New("a second signal came before all was done: what still ran was killed")
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				g.Roll()
			} else {
				g.Signal(sig)
			}
		}
	}
}

// at is the forwarding to an instance.
func (s *runSettings) at(address string) *forwarding {
	f := s.forwarding
	if f.to = "http://" + address; s.h2c {
		f.to = "h2c://" + address
	}
	return &f
}

func (s *runSettings) answers(ctx context.Context, address string) error {
	a, err := s.at(address).app(nil, nil)
	if err != nil {
		return err
	}
	return a.Check(ctx)
}

// serve is a worker for the instance at address.
func (s *runSettings) serve(ctx context.Context, log *slog.Logger, name, address string, announced func()) error {
	a, err := s.at(address).app(s.worker.Paths, log)
	if err != nil {
		return err
	}
	k := &known{all: len(s.worker.Routers)}
	if before, ok := s.known.Load(name); ok {
		k.before, _ = before.(*known)
	}
	k.tell = func() {
		s.known.Store(name, k)
		announced()
	}
	defer k.stop()
	w := s.worker
	w.Name, w.OnJoin, w.OnRefuse = name, k.joined, k.refused
	return a.run(ctx, w)
}

// stragglers is how long a worker is not taken for announced because some routers do not know it yet. They may be gone.
const stragglers = 2 * time.Second

// known tells once all routers have taken a worker, or those that can be reached have. One that refuses it and knows the worker
// before it is not done without: there that one is not to leave.
type known struct {
	all    int
	tell   func()
	before *known // of the worker that is to leave then; nil: none is

	mu     sync.Mutex
	took   map[string]bool // routers that have judged it
	waited bool
	told   bool
	over   bool
	later  *time.Timer
}

func (k *known) joined(router string) { k.judged(router, true) }

func (k *known) refused(router, _ string) { k.judged(router, false) }

func (k *known) judged(router string, took bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.took == nil {
		k.took = map[string]bool{}
	}
	k.took[router] = took || k.took[router] // what it took before, it goes on with
	if took && k.later == nil {
		k.later = time.AfterFunc(stragglers, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.waited = true
			k.look()
		})
	}
	k.look()
}

// look tells if it is time. k.mu is held.
func (k *known) look() {
	some := false
	for router, took := range k.took {
		if !took && k.before.at(router) {
			return
		}
		some = some || took
	}
	if some && !k.told && !k.over && (k.waited || len(k.took) == k.all) {
		k.told = true
		k.tell()
	}
}

// at tells whether the worker is at a router.
func (k *known) at(router string) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.took[router] && !k.over
}

func (k *known) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over = true; k.later != nil {
		k.later.Stop()
	}
}

// environment is ours, but for a secret that is not the app's.
func environment() (env []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, twin("token")+"=") {
			env = append(env, e)
		}
	}
	return env
}

func parseInstances(s string) (int, error) {
	n, err := parseCount(s)
	if err != nil || n < 1 || n > maxInstances {
		return 0, fmt.Errorf("want a number from 1 to %d", maxInstances)
	}
	return n, nil
}

const maxInstances = 1000
