package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 20 * time.Second
	stopLimit  = 10 * time.Second
)

// A stage is where contenders run: their programs, their files, and every process that was started.
type stage struct {
	bin       programs
	dir       string
	processes []*process
}

func newStage(bin programs) (*stage, error) {
	dir, err := os.MkdirTemp("", "dialmux-bench-")
	return &stage{bin: bin, dir: dir}, err
}

// close ends what was started, the latest first, and removes the files.
func (s *stage) close() error {
	var errs []error
	for _, p := range slices.Backward(s.processes) {
		errs = append(errs, p.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// file writes a file into a new directory of its own. @DIR@ in the text becomes that directory.
func (s *stage) file(owner, name, text string) (dir, path string, err error) {
	if dir, err = os.MkdirTemp(s.dir, owner+"-"); err != nil {
		return "", "", err
	}
	path = filepath.Join(dir, name)
	return dir, path, os.WriteFile(path, []byte(strings.ReplaceAll(text, "@DIR@", dir)), 0o600)
}

// A process is one program of a contender, and the root of the process tree that its cost is read from.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // the file that holds what it printed

	waiter  sync.WaitGroup
	ended   chan struct{} // closed when it has exited
	exitErr error         // set before ended is closed
}

// launch starts a program with env added to its environment. It runs until the stage is closed or ctx ends.
func (s *stage) launch(ctx context.Context, name string, env []string, program string, args ...string) (*process, error) {
	p := &process{
		name:  name,
		cmd:   exec.CommandContext(ctx, program, args...),
		log:   filepath.Join(s.dir, fmt.Sprintf("%02d-%s.log", len(s.processes), name)),
		ended: make(chan struct{}),
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopLimit
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	s.processes = append(s.processes, p)
	p.waiter.Go(func() {
		p.exitErr = p.cmd.Wait()
		close(p.ended)
	})
	return p, nil
}

// stop ends the process with SIGTERM, or with SIGKILL if that does not help in time.
func (p *process) stop() error {
	defer p.waiter.Wait()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s did not stop within %v of SIGTERM and was killed", p.name, stopLimit)
	}
}

// awaitStatus returns when url answers 200, and with an error when the process ends before or takes too long.
func (p *process) awaitStatus(ctx context.Context, url string) error {
	return p.await(ctx, func(ctx context.Context) error {
		_, err := get(ctx, url)
		return err
	})
}

// await returns when ready does without an error, and with an error when the process ends before or takes too long.
func (p *process) await(ctx context.Context, ready func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	var last error
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err // later ones only say that time is up
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at its start: %w\n%s", p.name, p.exitErr, p.printed())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %v: %w\n%s", p.name, startLimit, last, p.printed())
		case <-retry.C:
		}
	}
}

// printed is the end of what the process has printed.
func (p *process) printed() string {
	text, _ := os.ReadFile(p.log)
	const most = 2048
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// get returns the body at url, on a connection of its own; any status but 200 is an error.
func get(ctx context.Context, url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s, want 200", url, resp.Status)
	}
	return string(body), err
}

// freeAddress is an address of loopback whose port was free just now.
func freeAddress() (string, error) {
	addresses, err := freeAddresses(1)
	if err != nil {
		return "", err
	}
	return addresses[0], nil
}

func freeAddresses(count int) ([]string, error) {
	addresses := make([]string, count)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after the last, so that they differ
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}

// threads is the environment that keeps a Go program to so many threads of Go code.
func threads(count int) []string { return []string{fmt.Sprintf("GOMAXPROCS=%d", count)} }
