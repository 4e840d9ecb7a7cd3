package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

// joining is what the flags say of workers: whom they dial, and what they
// announce.
type joining struct {
	worker    worker.Worker
	sticky    sticking
	tokenFile string
}

// flags are those of every command that runs workers.
func (j *joining) flags() []cli.Flag {
	w := &j.worker
	flags := []cli.Flag{
		list("router", "dial the router at this `ENDPOINT`, tcp://host:port or ipc:///path (may be repeated)", &w.Routers, []string{worker.DefaultRouter}, parseEndpoint),
		flag("name", "show this `NAME` to clients and operators (default: the host's and the process's number)", &w.Name, "", parseName),
		flag("service", "say what is served here by this `NAME`, to operators, and to clients where no worker is ready", &w.Service, "", parseName),
		list("host", "serve requests for this `HOST`: a name, *.name or * (may be repeated; default: any)", &w.Hosts, nil, parseHost),
		list("path", "serve requests whose path begins with this `PREFIX`, up to the end of a segment (may be repeated; default: /)", &w.Paths, nil, parsePath),
		flag("weight", "get requests in proportion to this `NUMBER`, 1 to 100 (default: 1)", &w.Weight, 0, parseWeight),
		flag("balance", "let the router choose among workers of the same hosts and paths by this `POLICY`: round-robin, or least, the fewest requests against the weight (default: as the router says)", &w.Balance, "", parseOptionalBalance),
	}
	flags = append(flags, j.sticky.flags("have the router keep each client on one of the workers of the same hosts and paths, by what this `POLICY` says of requests: "+stickyPolicies+"; or off (default: as the router says)", frame.Sticky{})...)
	return append(
		flags,
		flag("concurrency", "take this `NUMBER` of requests and upgraded connections at once", &w.Concurrency, worker.DefaultConcurrency, parseConcurrency),
		flag("token", "show this `TOKEN` to the routers (others can read a command line: --token-file is safer)", &w.Token, "", anything),
		flag("token-file", "take the token from the first line of this `FILE`", &j.tokenFile, "", anything),
		flag("grace", "let requests go on for this `DURATION` after SIGTERM", &w.Grace, worker.DefaultGrace, parseDuration),
	)
}

// finish settles what several flags say about one thing.
func (j *joining) finish(cmd *cli.Command) (err error) {
	noLimit(&j.worker.Grace)
	if j.worker.Sticky, err = j.sticky.policy(cmd.IsSet, dashedTwin); err != nil {
		return err
	}
	switch {
	case j.tokenFile == "":
		return nil
	case j.worker.Token != "":
		return both("token-file", "token")
	}
	j.worker.Token, err = readToken(j.tokenFile)
	return err
}

// forwarding is what the flags say of an app and how it is watched.
type forwarding struct {
	to     string
	strip  bool
	health sidecar.Options
}

// strippable judges --strip-prefix beside these paths.
func (f *forwarding) strippable(paths []string) error {
	if f.strip && len(paths) == 0 {
		return fmt.Errorf("--strip-prefix (%s) is there, but no --path (%s); give the prefix there", twin("strip-prefix"), twin("path"))
	}
	return nil
}

// healthFlags say how an app is watched.
func (f *forwarding) healthFlags() []cli.Flag {
	h := &f.health
	return []cli.Flag{
		flag("health", "take the app for healthy while GET of this `PATH` answers with 2xx or 3xx (default: while it takes a connection)", &h.Health, "", parseHealth),
		flag("health-interval", "ask again after this `DURATION`, or half of it if that failed", &h.Interval, sidecar.DefaultInterval, parseAbove0),
		flag("health-timeout", "wait for its answer for this `DURATION`; with more than half of the interval, an app that hangs goes later than after two (default: half of the interval, at most 1s)", &h.Timeout, 0, parseAbove0),
		flag("health-down", "withdraw the worker after this `NUMBER` of failures in a row; a refused connection does it at once", &h.Down, sidecar.DefaultDown, parsePositive),
		flag("health-up", "bring it back after this `NUMBER` of answers in a row", &h.Up, sidecar.DefaultUp, parsePositive),
	}
}

// workerSettings is what the flags of dialmux worker say.
type workerSettings struct {
	joining
	forwarding
	apps string
	log  logging
}

func (s *workerSettings) flags() []cli.Flag {
	flags := []cli.Flag{
		flag("to", "forward to the app at this `URL`: http://host:port, h2c://host:port (HTTP/2 without TLS) or unix:/path/to/socket", &s.to, "", parseTarget),
		flag("apps-dir", "forward to an app for each file in this `DIRECTORY`, JSON that has the names of these flags, or scrimplb's, as keys; files may come, change and go; a worker's name ends in its file's", &s.apps, "", parseFile),
		flag("strip-prefix", "take the --path that matches off before the app sees it, and tell it by X-Forwarded-Prefix", &s.strip, false, parseBool),
	}
	flags = append(append(flags, s.joining.flags()...), s.healthFlags()...)
	return append(flags,
		flag("log-level", "log lines of this `LEVEL` and above: debug, info, warn, error", &s.log.level, "info", parseLevel),
		flag("log-format", "log in this `FORMAT`: text, json, or auto (text on a terminal, else json)", &s.log.format, "auto", parseFormat),
	)
}

// perApp are flags that say of one app what a file of --apps-dir says of its own.
var perApp = []string{"to", "strip-prefix", "service", "host", "path", "weight", "balance", "sticky", "sticky-fallback", "sticky-bound", "sticky-wait", "sticky-issue", "health"}

func (s *workerSettings) finish(cmd *cli.Command) error {
	if s.apps == "" && s.to == "" {
		return fmt.Errorf("which app? --to (%s) says where it listens, as in --to http://127.0.0.1:3000; --apps-dir (%s) where files say so", twin("to"), twin("apps-dir"))
	}
	if s.apps != "" {
		for _, name := range perApp {
			if cmd.IsSet(name) {
				return fmt.Errorf("--%s (%s) is of one app, and --apps-dir (%s) is there; say it in the app's file", name, twin(name), twin("apps-dir"))
			}
		}
		if n := len(s.worker.Name); n > maxProcess {
			return fmt.Errorf("--name (%s) has %d characters, and with --apps-dir (%s) a file's name comes behind it; %d at most leave room for that", twin("name"), n, twin("apps-dir"), maxProcess)
		}
	}
	if err := s.strippable(s.worker.Paths); err != nil {
		return err
	}
	return s.joining.finish(cmd)
}

func parseName(s string) (string, error) {
	if !router.ValidName(s) {
		return "", errors.New("want 1 to 128 letters, digits, '.', '_' and '-'")
	}
	return s, nil
}

func parseHost(s string) (string, error) {
	if s == "" {
		return "", errors.New("want a name, *.name or *")
	}
	_, err := router.ParseHost(s)
	return s, err
}

func parsePath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '?' || c == '#' }) {
		return "", errors.New("want a prefix that begins with /, without a query, as in /api/")
	}
	return s, nil
}

func parseHealth(s string) (string, error) {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return "", errors.New("want a path that begins with /, as in /healthz")
	}
	return s, nil
}

func parseTarget(s string) (string, error) {
	_, err := sidecar.New(s, sidecar.Options{})
	return s, err
}

func parseConcurrency(s string) (int, error) {
	n, err := parsePositive(s)
	if err == nil && n > router.MaxConcurrency {
		err = fmt.Errorf("want at most %d", router.MaxConcurrency)
	}
	return n, err
}

func parseWeight(s string) (int, error) {
	n, err := parseCount(s)
	if err != nil || n < 1 || n > worker.MaxWeight {
		return 0, fmt.Errorf("want 1 to %d", worker.MaxWeight)
	}
	return n, nil
}

func parsePositive(s string) (int, error) {
	n, err := parseCount(s)
	if err != nil || n == 0 {
		return 0, errors.New("want a number from 1 up")
	}
	return n, nil
}

func parseAbove0(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d == 0 {
		err = errors.New("want a duration above 0, such as 2s")
	}
	return d, err
}
