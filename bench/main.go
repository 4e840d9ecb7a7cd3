// Command bench measures what a request costs in Dialmux and in the proxies people use now: CPU time per request
// of the proxy and of its backend, and latency, one contender after the other, several rounds, on one machine.
//
// It starts everything itself, on free ports of loopback with its own configuration in a temporary directory, and ends
// what it started. It wants Linux (/proc), wrk and nginx, and the other proxies, from Debian. `make bench` installs what is
// missing and runs it; with the defaults that takes about nine minutes.
//
//	bench [flags]                          measure; the tables go to standard output, progress to standard error
//	bench backend ADDRESS                  the backend behind nginx: Go's net/http
//	bench worker ENDPOINT COUNT SLOTS      the backend behind Dialmux: the Go SDK, as COUNT workers
//	bench standby ENDPOINT COUNT           workers that are connected and take no requests
//
// A missed target is no error, nor is a contender that is missing or fails: the output names it. It is an error if that is
// Dialmux, after the output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "backend", "worker", "standby":
			return runPart(ctx, args)
		}
	}

	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	var p plan
	flags.IntVar(&p.rounds, "rounds", 3, "how often each contender has its turn")
	flags.DurationVar(&p.duration, "duration", 5*time.Second, "length of a turn with many connections; one with a single connection takes half of it")
	only := flags.String("only", "", "a regular expression: leave the contenders out whose name does not match")
	which := flags.String("sections", "", "a regular expression: leave the sections out whose name does not match ("+names(sections)+")")
	var bin programs
	flags.StringVar(&bin.dialmux, "dialmux", "bin/dialmux", "the dialmux `program`")
	flags.Func("router-flags", "`flags` to add to the router's command line, separated by spaces", func(text string) error {
		bin.routerFlags = strings.Fields(text)
		return nil
	})
	_ = flags.Parse(args) // ExitOnError
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("%q is not understood: bench -h shows what is", flags.Arg(0))
	case p.rounds < 1:
		return fmt.Errorf("-rounds %d: at least 1", p.rounds)
	case p.duration < time.Second:
		return fmt.Errorf("-duration %v: at least 1s, wrk counts in seconds", p.duration)
	}

	chosen, err := choose(contenders, *only)
	if err != nil {
		return err
	}
	wanted, err := chooseSections(sections, *which, chosen)
	if err != nil {
		return err
	}
	if err := bin.resolve(); err != nil {
		return err
	}
	facts := append(describe(ctx, bin), "command: "+strings.Join(append([]string{"bench"}, args...), " "))
	results, err := measure(ctx, bin, chosen, wanted, p)
	if err != nil {
		return err
	}
	return errors.Join(report(os.Stdout, facts, p, wanted, results), results.ours())
}

// ours is an error if Dialmux could not be measured somewhere; the report has the reasons.
func (r results) ours() error {
	var where []string
	for at := range r.failures {
		if strings.HasPrefix(at.contender, "Dialmux") {
			where = append(where, fmt.Sprintf("%s in %q", at.contender, at.section))
		}
	}
	if len(where) == 0 {
		return nil
	}
	slices.Sort(where)
	return fmt.Errorf("not measured: %s", strings.Join(where, ", "))
}

// runPart is one of the programs that the harness starts.
func runPart(ctx context.Context, args []string) error {
	part, args := args[0], args[1:]
	var counts []int
	for _, text := range args[min(1, len(args)):] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("bench %s: %w", part, err)
		}
		counts = append(counts, n)
	}
	switch {
	case part == "backend" && len(args) == 1:
		return runBackend(ctx, args[0])
	case part == "worker" && len(args) == 3:
		return runWorkers(ctx, args[0], counts[0], counts[1])
	case part == "standby" && len(args) == 2:
		return runStandby(ctx, args[0], counts[0])
	}
	return fmt.Errorf("bench %s: wrong number of arguments: bench backend ADDRESS, bench worker ENDPOINT COUNT SLOTS, bench standby ENDPOINT COUNT", part)
}

func names(all []section) string {
	texts := make([]string, len(all))
	for i, s := range all {
		texts[i] = s.name
	}
	return strings.Join(texts, ", ")
}
