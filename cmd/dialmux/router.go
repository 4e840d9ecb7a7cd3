package main

import (
	"context"

	"github.com/urfave/cli/v3"
)

func routerCommand() *cli.Command {
	var s settings
	return &cli.Command{
		Name:  "router",
		Usage: "serve HTTP by workers that dial in",
		Description: `Example: dialmux router -p 9000 --workers tcp://127.0.0.1:8000

SIGTERM and SIGINT end it gently: workers are told, nothing new is accepted,
requests may go on for --drain, and the exit code is 0. A second one ends it
at once. SIGHUP changes nothing: certificates and tokens are read again by
themselves. What it cannot do is one line on stderr, and exit code 1.`,
		Flags:        s.flags("info"),
		OnUsageError: usageError,
		ArgValidator: noArguments,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			v, err := s.open(cmd)
			if err != nil {
				return err
			}
			defer outliveHangups(v.log)()
			return v.run(ctx)
		},
	}
}
