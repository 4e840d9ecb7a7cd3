package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 20 * time.Second
	stopLimit  = 40 * time.Second // more than a router's or worker's own time to drain
)

// process is one program under test.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string // the file that holds what it printed
	waiter sync.WaitGroup
	ended  chan struct{} // closed when it has exited
}

// launch starts a program. What it prints is appended to log; so much is kept
// there of all processes of one name. Its descriptors from 3 on are files.
func launch(name, log string, files []*os.File, program string, args ...string) (*process, error) {
	p := &process{name: name, log: log, ended: make(chan struct{})}
	p.cmd = exec.Command(program, args...)                                   //nolint:gosec // to run programs is what this is for
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // a log of our own
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = out, out, files
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p.waiter.Go(func() {
		_ = p.cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.ended)
	})
	return p, nil
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// kill is kill -9, and waits.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.waiter.Wait()
}

// stop is SIGTERM, and an error unless exit code 0 follows in time.
func (p *process) stop() error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		p.kill()
		return fmt.Errorf("%s did not stop within %v of SIGTERM", p.name, stopLimit)
	}
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("%s ended with %v on SIGTERM, want exit code 0", p.name, state)
	}
	return nil
}

// await polls until ready does not fail, the process ends, or limit is over.
func (p *process) await(ctx context.Context, limit time.Duration, ready func() error) error {
	return poll(ctx, limit, func() error {
		select {
		case <-p.ended:
			return permanent{fmt.Errorf("%s ended: %v\n%s", p.name, p.cmd.ProcessState, tail(p.log))}
		default:
			return ready()
		}
	})
}

// permanent is an error that no waiting heals.
type permanent struct{ error }

// poll calls ready until it does not fail.
func poll(ctx context.Context, limit time.Duration, ready func() error) error {
	for end := time.Now().Add(limit); ; {
		err := ready()
		if err == nil || errors.As(err, new(permanent)) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("still so after %v: %w", limit, err)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tail is the end of a log.
func tail(log string) string {
	if info, err := os.Stat(log); err != nil || !info.Mode().IsRegular() {
		return "" // /dev/full has no end
	}
	text, _ := os.ReadFile(log) //nolint:gosec // a log of our own
	const most = 4 << 10
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// confessions are what no program may print.
var confessions = []string{"DATA RACE", "panic: ", "panic while", "fatal error: ", "Traceback"}

// confessed finds such a line in a log.
func confessed(log string) string {
	text, _ := os.ReadFile(log) //nolint:gosec // a log of our own
	for line := range strings.Lines(string(text)) {
		for _, fatal := range confessions {
			if strings.Contains(line, fatal) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}
