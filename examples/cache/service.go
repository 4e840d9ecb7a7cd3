package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dialmux/dialmux/router"
)

// service is a router, and the workers that dial it.
type service struct {
	options
	policy string // that workers announce
	url    string

	router  *router.Router
	front   *router.Clients
	web     net.Listener // where clients come in
	dialled net.Listener // where workers dial in
	stop    context.CancelFunc
	running errgroup.Group

	joined    int
	processes map[string]process // by the worker's name
}

// process is a worker's.
type process struct {
	*os.Process
	stdin io.Closer
	ended chan error // gets what exec.Cmd.Wait says
}

func open(o options, policy string) (*service, error) {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	dialled, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, web.Close())
	}
	r, err := router.New(router.Config{Listeners: []net.Listener{dialled}})
	if err != nil {
		return nil, errors.Join(err, web.Close(), dialled.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &service{
		options: o, policy: policy, url: "http://" + web.Addr().String(),
		router: r, front: r.Clients(router.Port{}), web: web, dialled: dialled, stop: stop,
		processes: map[string]process{},
	}
	s.running.Go(func() error { return r.Run(ctx) })
	s.running.Go(func() error {
		if err := s.front.Serve(web); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return s, nil
}

// close ends all that there is, workers first.
func (s *service) close() (err error) {
	for name := range s.processes {
		err = errors.Join(err, s.leave(name))
	}
	s.stop()
	err = errors.Join(err, s.web.Close(), s.running.Wait())
	now, cancel := context.WithCancel(context.Background())
	cancel()
	s.front.Shutdown(now, 0)
	return err
}

// join starts one more worker, and waits until it may own keys.
func (s *service) join(ctx context.Context) error {
	s.joined++
	name := fmt.Sprintf("cache-%d", s.joined)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "worker", name, "tcp://"+s.dialled.Addr().String(), s.policy, strconv.Itoa(s.capacity), s.origin.String()) //nolint:gosec // this program
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	s.running.Go(func() error { ended <- cmd.Wait(); return nil })
	s.processes[name] = process{cmd.Process, stdin, ended}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !s.has(name) {
		select {
		case <-look.C:
		case err := <-ended:
			delete(s.processes, name)
			return fmt.Errorf("%s ended: %w", name, cmp.Or(err, io.EOF))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *service) has(name string) bool {
	for _, w := range s.router.Workers() {
		if w.Name == name && w.State == "ready" {
			return true
		}
	}
	return false
}

// leave has a worker drain, and waits for its end.
func (s *service) leave(name string) error {
	p := s.processes[name]
	delete(s.processes, name)
	_ = p.stdin.Close()
	if err := <-p.ended; err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// kill ends a worker amid what it does (kill -9).
func (s *service) kill(name string) error {
	p := s.processes[name]
	delete(s.processes, name)
	if err := p.Kill(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := <-p.ended; err == nil {
		return fmt.Errorf("%s had ended before it was killed", name)
	}
	return nil
}
