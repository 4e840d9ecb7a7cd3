package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/internal/supervise"
	"github.com/dialmux/dialmux/router"
	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

func runCommand() *cli.Command {
	var a app
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
the other, the new one announced before the old one drains. SIGUSR1, SIGUSR2 and
SIGWINCH are handed on.`,
		Flags:        a.flags(),
		StopOnNthArg: &one, // what follows COMMAND is its own
		OnUsageError: usageError,
		Action:       func(ctx context.Context, cmd *cli.Command) error { return a.run(ctx, cmd) },
	}
}

// app is what the flags of run say.
type app struct {
	n         int
	name      string
	health    string
	strip     []string
	tokenFile string
	killAfter time.Duration
	worker    worker.Worker
	log       logging
}

const defaultKillAfter = 10 * time.Second

func (a *app) flags() []cli.Flag {
	w := &a.worker
	return []cli.Flag{
		alias("n", flag("instances", "run this `NUMBER` of it, each on a port of its own", &a.n, 1, parseInstances)),
		list("router", "dial the router's worker port at this `ENDPOINT` (may be repeated)", &w.Routers, []string{worker.DefaultRouter}, parseRouter),
		flag("name", "call the worker this `NAME`, followed by -1, -2, ... if there are several (default: COMMAND and the number of this process)", &a.name, "", parseName),
		flag("service", "announce it as this service's, a `NAME`", &w.Service, "", parseName),
		list("host", "announce it for requests to this `HOST`: shop.example.com, or *.shop.example.com (may be repeated; default: any)", &w.Hosts, nil, parseHost),
		list("path", "announce it for paths below this `PREFIX` (may be repeated; default: all)", &w.Paths, nil, parsePath),
		list("strip-prefix", "take this `PREFIX` off the path before the app sees it (may be repeated)", &a.strip, nil, parsePath),
		flag("concurrency", "let this `NUMBER` of requests run at once in each", &w.Concurrency, worker.DefaultConcurrency, parsePositive),
		flag("health", "it answers if GET of this `PATH` is 2xx or 3xx (default: if it takes a connection)", &a.health, "", parsePath),
		flag("token", "show this `TOKEN` to the router (others can read a command line: --token-file is safer)", &w.Token, "", anything),
		flag("token-file", "take the token from the first line of this `FILE`", &a.tokenFile, "", anything),
		flag("grace", "let running requests go on for this `DURATION` before it is asked to end", &w.Grace, worker.DefaultGrace, parseDuration),
		flag("kill-after", "kill it this `DURATION` after it was asked to end", &a.killAfter, defaultKillAfter, parseDuration),
		flag("log-level", "log lines of this `LEVEL` and above: debug, info, warn, error", &a.log.level, "info", parseLevel),
		flag("log-format", "log in this `FORMAT`: text, json, or auto (text on a terminal, else json)", &a.log.format, "auto", parseFormat),
	}
}

func (a *app) run(ctx context.Context, cmd *cli.Command) error {
	args := cmd.Args().Slice()
	if len(args) == 0 || args[0] == "" {
		return fmt.Errorf("%s wants the command that it is to run, as in: %s -- python3 -m http.server '$PORT'", cmd.FullName(), cmd.FullName())
	}
	if a.tokenFile != "" {
		if a.worker.Token != "" {
			return both("token-file", "token")
		}
		var err error
		if a.worker.Token, err = readToken(a.tokenFile); err != nil {
			return err
		}
	}
	if a.name == "" {
		a.name = fmt.Sprintf("%.100s-%d", nameOf(args[0]), os.Getpid())
	}
	noLimit(&a.worker.Grace)
	log := a.log.logger(os.Stderr)
	a.worker.Logger = log
	g, err := supervise.New(supervise.Config{
		Name: a.name, N: a.n, Args: args, Env: environment(), KillAfter: a.killAfter,
		Stdout: writer(cmd), Stderr: os.Stderr, Logger: log, Answers: a.answers, Serve: a.serve,
	})
	if err != nil {
		return err
	}
	return supervised(ctx, g, log)
}

// supervised runs g, and does with it what signals say.
func supervised(ctx context.Context, g *supervise.Group, log *slog.Logger) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, append(handedOn(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)...)
	defer signal.Stop(signals)
	first := ctx.Done() // that of a signal from before Notify
	ctx, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	var err error
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer close(ended)
		err = g.Run(ctx)
	})
	defer running.Wait()
	for asked := 0; ; {
		select {
		case <-ended:
			return err
		case <-first:
			first = nil
			drain()
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				g.Roll()
			case sig != os.Interrupt && sig != syscall.SIGTERM:
				g.Signal(sig)
			case asked == 0:
				asked++
				log.Info("draining; a second signal kills what runs", "signal", sig.String())
				drain()
			default:
				g.Kill()
				running.Wait()
				return errors.New("a second signal came before all was done: what still ran was killed")
			}
		}
	}
}

func (a *app) sidecar(address string, log *slog.Logger) (*sidecar.App, error) {
	return sidecar.New("http://"+address, sidecar.Options{Health: a.health, StripPrefix: a.strip, Logger: log})
}

func (a *app) answers(ctx context.Context, address string) error {
	s, err := a.sidecar(address, nil)
	if err != nil {
		return err
	}
	return s.Check(ctx)
}

// serve is a worker for the app at address.
func (a *app) serve(ctx context.Context, name, address string, announced func()) error {
	log := a.worker.Logger.With("worker", name)
	s, err := a.sidecar(address, log)
	if err != nil {
		return err
	}
	k := known{to: map[string]bool{}, all: len(a.worker.Routers), tell: announced}
	defer k.stop()
	w := a.worker
	w.Name, w.Logger, w.OnJoin = name, log, k.joined
	return s.Run(ctx, w)
}

// stragglers is how long a worker is not taken for announced because some routers do not know it yet. They may be gone.
const stragglers = 2 * time.Second

// known tells once all routers know a worker, or those that can be reached do.
type known struct {
	all  int
	tell func()

	mu    sync.Mutex
	to    map[string]bool
	later *time.Timer
}

func (k *known) joined(router string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.to[router] = true
	switch {
	case len(k.to) == k.all:
		k.tell()
	case k.later == nil:
		k.later = time.AfterFunc(stragglers, k.tell)
	}
}

func (k *known) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.later != nil {
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

// nameOf makes a worker's name of a command's path.
func nameOf(path string) string {
	name := strings.Map(func(r rune) rune {
		if router.ValidName(string(r)) {
			return r
		}
		return '-'
	}, filepath.Base(path))
	return strings.Trim(name, "-.")
}

func writer(cmd *cli.Command) io.Writer {
	if w := cmd.Root().Writer; w != nil {
		return w
	}
	return os.Stdout
}

// What flags take, beside what the router's do.

func parseInstances(s string) (int, error) {
	n, err := parseCount(s)
	if err != nil || n < 1 || n > maxInstances {
		return 0, fmt.Errorf("want a number from 1 to %d", maxInstances)
	}
	return n, nil
}

const maxInstances = 1000

func parsePositive(s string) (int, error) {
	n, err := parseCount(s)
	if err == nil && n == 0 {
		err = errors.New("want a number from 1 up")
	}
	return n, err
}

// parseRouter takes endpoints that can be dialled.
func parseRouter(s string) (string, error) {
	s, err := parseEndpoint(s)
	if err == nil && strings.Contains(s, "*") {
		err = errors.New("want the address of a router, as in tcp://127.0.0.1:8000, not all of a machine")
	}
	return s, err
}

func parseName(s string) (string, error) {
	if !router.ValidName(s) {
		return "", errors.New("want 1 to 128 letters, digits, '.', '_' and '-'")
	}
	return s, nil
}

func parseHost(s string) (string, error) {
	address, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		if _, err := netip.ParseAddr(strings.TrimSuffix(address, "]")); err == nil {
			return s, nil
		}
	}
	if s == "*" || router.ValidName(strings.TrimPrefix(s, "*.")) {
		return s, nil
	}
	return "", errors.New("want a name without a port, such as shop.example.com, *.shop.example.com, or * for any")
}

func parsePath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, "?# \t\r\n") {
		return "", errors.New("want a path that begins with /, such as /api/")
	}
	return s, nil
}
