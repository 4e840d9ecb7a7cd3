package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/conform"
	"github.com/dialmux/dialmux/router"
)

func conformCommand() *cli.Command {
	var k conform.WorkerKit
	var mode string
	var asJSON bool
	return &cli.Command{
		Name:      "conform",
		Usage:     "put a worker in any language through the specification",
		ArgsUsage: "[-- COMMAND ...]",
		Description: `Example: dialmux conform -- /usr/bin/python3 examples/python/conform.py

It plays the router. COMMAND is started with DIALMUX_ROUTER set (and
DIALMUX_TOKEN); without one, a worker has to dial --listen. frame/CONFORM.md
says what the worker serves. Exit code 1: a case failed that must not.`,
		Flags: []cli.Flag{
			bare(flag("mode", "what the worker is, as a `MODE`: native (DEALER, ROUTER) or rep (REP)", &mode, "native", parseMode)),
			bare(flag("listen", "wait for the worker at this `ENDPOINT`; port 0 is any that is free", &k.Listen, router.DefaultWorkers, parseEndpoint)),
			bare(flag("token", "the `TOKEN` that the worker must show", &k.Token, "", anything)),
			bare(flag("json", "print each case as a JSON object on a line", &asJSON, false, parseBool)),
		},
		Commands:     []*cli.Command{conformRouterCommand()},
		OnUsageError: usageError,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			k.REP = mode == "rep"
			k.Command = cmd.Args().Slice()
			k.Output = os.Stderr
			return report(cmd.Root().Writer, asJSON, func(each func(conform.Result)) error { return k.Run(ctx, each) })
		},
	}
}

func conformRouterCommand() *cli.Command {
	var k conform.RouterKit
	var asJSON bool
	return &cli.Command{
		Name:  "router",
		Usage: "put a router through the specification",
		Description: `Example: dialmux conform router --http http://127.0.0.1:9000 --workers tcp://127.0.0.1:8000

It plays workers, good and bad, and their clients. No other worker may be
connected to the router. Exit code 1: a case failed that must not.`,
		Flags: []cli.Flag{
			bare(flag("http", "the router's `URL` for clients", &k.HTTP, "http://127.0.0.1:9000", anything)),
			bare(flag("workers", "the router's `ENDPOINT` for workers", &k.Workers, router.DefaultWorkers, parseEndpoint)),
			bare(flag("token", "the `TOKEN` that the router wants from workers", &k.Token, "", anything)),
			bare(flag("json", "print each case as a JSON object on a line", &asJSON, false, parseBool)),
		},
		OnUsageError: usageError,
		ArgValidator: noArguments,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			return report(cmd.Root().Writer, asJSON, func(each func(conform.Result)) error { return k.Run(ctx, each) })
		},
	}
}

// bare takes a flag's twin in the environment away: DIALMUX_LISTEN and the like
// are the router's, and mean something else.
func bare[T any](f *option[T]) *option[T] {
	f.Sources = cli.ValueSourceChain{}
	return f
}

func parseMode(s string) (string, error) {
	if s != "native" && s != "rep" {
		return "", fmt.Errorf("native or rep is right")
	}
	return s, nil
}

// report prints each result as it comes.
func report(w io.Writer, asJSON bool, run func(each func(conform.Result)) error) error {
	if w == nil {
		w = os.Stdout
	}
	var results []conform.Result
	err := run(func(r conform.Result) {
		results = append(results, r)
		if asJSON {
			b, _ := json.Marshal(r) // plain strings and numbers
			fmt.Fprintf(w, "%s\n", b)
			return
		}
		fmt.Fprintln(w, line(r))
	})
	count := map[conform.Verdict]int{}
	missed := 0
	for _, r := range results {
		count[r.Verdict]++
		if r.Must && r.Verdict == conform.Fail {
			missed++
		}
	}
	if !asJSON {
		fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", count[conform.Pass], count[conform.Fail], count[conform.Skip])
	}
	switch {
	case err != nil:
		return fmt.Errorf("the kit could not go on: %w", err)
	case missed > 0:
		return fmt.Errorf("the specification is not met: %d of %d cases failed that must not", missed, len(results))
	}
	return nil
}

// line is a result for people.
func line(r conform.Result) string {
	switch r.Verdict {
	case conform.Pass:
		return "pass  " + r.Case
	case conform.Skip:
		return "skip  " + r.Case + ": " + r.Why
	}
	kind := "FAIL  "
	if !r.Must {
		kind = "may   " // the worker may do otherwise
	}
	lines := []string{kind + r.Case + ": " + r.Why, "      SPEC.md: " + r.Checks}
	for _, f := range r.Frames {
		lines = append(lines, "      "+f)
	}
	return strings.Join(lines, "\n")
}
