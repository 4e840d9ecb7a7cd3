package main

import (
	"context"
	"log/slog"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

func workerCommand() *cli.Command {
	var s workerSettings
	return &cli.Command{
		Name:  "worker",
		Usage: "make workers of HTTP apps that listen on a port",
		Description: `Example: dialmux worker --to http://127.0.0.1:3000 --host shop.example.com

Requests that routers hand out go to the app, and its answers back. The worker
is there while the app is healthy; one that dies takes no request down that
may be sent again. SIGTERM and SIGINT end it gently: requests may go on for
--grace, and the exit code is 0. A second one ends it at once. SIGHUP changes
nothing: files in --apps-dir are read again by themselves.`,
		Flags:        s.flags(),
		OnUsageError: usageError,
		ArgValidator: noArguments,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if err := s.finish(cmd); err != nil {
				return err
			}
			log := s.log.logger(cmd.Root().ErrWriter)
			defer outliveHangups(log)()
			defer sayDrain(ctx, log, s.worker.Grace, endAtOnce)()
			if s.apps != "" {
				return s.serveApps(ctx, log)
			}
			a, err := s.app(s.worker.Paths, log)
			if err != nil {
				return err
			}
			return a.run(ctx, s.worker)
		},
	}
}

// app is a sidecar, and what it logs.
type app struct {
	*sidecar.App
	log *slog.Logger
}

func (f *forwarding) app(paths []string, log *slog.Logger) (*app, error) {
	o := f.health
	if o.Logger = log; f.strip {
		o.StripPrefix = paths
	}
	a, err := sidecar.New(f.to, o)
	return &app{a, log}, err
}

func (a *app) run(ctx context.Context, w worker.Worker) error {
	w.Logger = a.log
	return a.Run(ctx, w)
}
