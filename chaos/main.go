// Command chaos proves what the router promises: two routers, workers on Go's SDK and in Python, native and REP, and an
// open-loop client run as processes of their own, while one fault after the other is injected. The clients' record of what they got and the workers'
// record of what they did are compared, request by request.
//
// It starts everything itself, on free ports of loopback, in a temporary directory, and ends what it started. It wants Linux
// (/proc, prlimit), and Debian's python3-zmq and python3-msgpack, nginx and haproxy. `make chaos` installs what is missing and runs it.
//
//	chaos [flags]                     the table goes to standard output, what is done to standard error
//	chaos worker NAME ENDPOINT...     a worker on Go's SDK
//	chaos backend ADDRESS             the backend of other proxies: Go's net/http
//
// The exit code is 1 if a promise was broken.
//
//   - LOST: an idempotent request (GET, PUT, POST with Idempotency-Key, with at most 64 KiB of body) whose answer had not begun did not get
//     200. Not counted: 503 with Retry-After while the workers are away, overloaded or out of reach; 502 whose Proxy-Status says that two workers were
//     lost with it, or that the retry budget is spent. While nothing goes on that could cost a request its answer, any request counts.
//   - DOUBLED: what must not be repeated was begun twice, or a request was begun after its client had got 503 or 504.
//   - CROSSED: something of another request was in the answer, or in the body that a worker got.
//   - SHORT: an answer lacked something and looked whole.
//   - STRAYED: fewer than four of five requests with a key went to their key's worker while nothing went on.
//   - HUNG: a request had no end 30 s after it was due.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	programs
	duration, othersFor time.Duration
	rate                float64
	seed                uint64
	others, markdown    bool
	only                *regexp.Regexp
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	switch {
	case len(args) > 2 && args[0] == "worker":
		return runWorker(ctx, args[1], args[2:])
	case len(args) == 2 && args[0] == "backend":
		return runBackend(ctx, args[1])
	}
	c := settings{only: regexp.MustCompile("")}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.DurationVar(&c.duration, "duration", 30*time.Minute, "how long Dialmux is tormented; the last fault may take half a minute longer")
	flags.DurationVar(&c.othersFor, "others-duration", 0, "how long each other proxy is tormented (default: a tenth of -duration, three minutes at least)")
	flags.Float64Var(&c.rate, "rate", 600, "requests a second, on average; twice that under overload")
	flags.Uint64Var(&c.seed, "seed", 0, "repeat the order of requests and faults of the run that printed this number (default: random)")
	flags.StringVar(&c.dialmux, "dialmux", "bin/dialmux", "the dialmux `program`")
	flags.StringVar(&c.python, "python", "chaos/testdata", "the `directory` of the Python workers")
	flags.BoolVar(&c.others, "others", true, "torment nginx and HAProxy too")
	flags.BoolVar(&c.markdown, "markdown", false, "print the tables in Markdown")
	flags.Func("faults", "a regular expression: leave the faults out whose name does not match ("+strings.Join(names(faults), ", ")+")", func(text string) (err error) {
		c.only, err = regexp.Compile(text)
		return err
	})
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("%q is not understood: chaos -h shows what is", flags.Arg(0))
	case c.duration < time.Second:
		return fmt.Errorf("-duration %v: at least 1s", c.duration)
	case c.rate < 1:
		return fmt.Errorf("-rate %v: at least 1", c.rate)
	}
	if c.seed == 0 {
		c.seed = 1 + rand.Uint64N(1<<32)
	}
	if c.othersFor == 0 {
		c.othersFor = max(c.duration/10, 3*time.Minute)
	}
	if err := c.resolve(); err != nil {
		return err
	}
	return c.torment(ctx, "chaos "+strings.Join(args, " "), out, progress)
}

func (p *programs) resolve() (err error) {
	if p.self, err = os.Executable(); err != nil {
		return err
	}
	if p.dialmux, err = exec.LookPath(p.dialmux); err != nil {
		return fmt.Errorf("%w: make build makes it", err)
	}
	if p.python, err = filepath.Abs(p.python); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.python, "native.py")); err != nil {
		return fmt.Errorf("-python: %w: run from the top of the repository, or name chaos/testdata", err)
	}
	return nil
}

func names(list []fault) (names []string) {
	for i := range list {
		names = append(names, list[i].name)
	}
	return names
}

// torment runs it all and prints the report.
func (c *settings) torment(ctx context.Context, command string, out, progress io.Writer) error {
	chosen := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !c.only.MatchString(f.name) })
	if len(chosen) == 0 {
		return fmt.Errorf("-faults %s matches none of %s", c.only, strings.Join(names(faults), ", "))
	}
	fmt.Fprintf(progress, "== Dialmux, %v, seed %d\n", c.duration, c.seed)
	began := time.Now()
	rows, violations, leaks, err := c.againstDialmux(ctx, chosen, progress)
	if rows == nil {
		return err
	}
	results, columns := map[string][]*row{"Dialmux": rows}, []string{"Dialmux"}
	var missing []string
	if c.others && err == nil {
		shared := slices.DeleteFunc(slices.Clone(chosen), func(f fault) bool { return !f.anywhere })
		for i := range others {
			o := &others[i]
			columns = append(columns, o.name)
			rows, err := againstOther(ctx, o, c.programs, c.seed, c.rate, shared, c.othersFor, progress)
			if results[o.name] = rows; err != nil {
				missing = append(missing, fmt.Sprintf("%s: %v", o.name, err))
			}
		}
	}
	fmt.Fprintf(out, "%s, seed %d, %v\n\n", command, c.seed, time.Since(began).Round(time.Second))
	write(out, mainTable(rows), c.markdown)
	fmt.Fprintln(out)
	for _, line := range leaks {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, cost(time.Since(began)))
	if c.others {
		fmt.Fprintln(out)
		write(out, sideBySide(columns, results), c.markdown)
		for _, line := range missing {
			fmt.Fprintln(out, line)
		}
	}
	for _, v := range sample(violations) {
		fmt.Fprintf(out, "\n%v\n", v)
	}
	if n := len(violations); n > 0 {
		err = errors.Join(fmt.Errorf("%d promises were broken, seed %d", n, c.seed), err)
	}
	return err
}

// sample is the first violations, of each sort some.
func sample(all []violation) (some []violation) {
	const most, mostAlike = 20, 4
	type sort struct {
		breach breach
		fault  string
	}
	seen := map[sort]int{}
	for _, v := range all {
		if seen[sort{v.breach, v.fault}]++; seen[sort{v.breach, v.fault}] <= mostAlike && len(some) < most {
			some = append(some, v)
		}
	}
	return some
}

// againstDialmux returns rows once there are some, whatever happens later.
func (c *settings) againstDialmux(ctx context.Context, chosen []fault, progress io.Writer) (rows []*row, violations []violation, leaks []string, err error) {
	s, err := openDialmux(ctx, c.programs, c.rate, progress)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var before []rest
	var fronts []*front
	for _, r := range s.routers {
		fronts = append(fronts, newFront(r.name, r.clients, true))
	}
	rows, err = s.serve(ctx, c.seed, c.rate, fronts, chosen, c.duration, func() error {
		for _, r := range s.routers {
			now, err := r.rest()
			if err != nil {
				return err
			}
			before = append(before, now)
		}
		return nil
	})
	if err == nil {
		for i, r := range s.routers {
			line, leak := r.leak(ctx, before[i])
			leaks = append(leaks, line)
			if leak != nil {
				err = errors.Join(err, fmt.Errorf("LEAK: %w", leak))
			}
		}
	}
	began := time.Now()
	err = errors.Join(err, s.leave())
	fmt.Fprintf(progress, "%s all workers have left, after %v\n", stamp(began), time.Since(began).Round(10*time.Millisecond))
	violations = s.book.close()
	line, strayed := s.book.places.line()
	return rows, violations, append(leaks, line), errors.Join(err, strayed)
}

// cost is the CPU time that it all took.
func cost(elapsed time.Duration) string {
	var own, children syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children)
	spent := func(u *syscall.Rusage) time.Duration {
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return fmt.Sprintf("CPU: %.2f cores for the clients, %.2f for all else", spent(&own).Seconds()/elapsed.Seconds(), spent(&children).Seconds()/elapsed.Seconds())
}
