package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// service is a router with its three ports, all of them bound.
type service struct {
	log     *slog.Logger
	router  *router.Router
	workers []net.Listener
	public  *listener
	scheme  string        // that public speaks
	certs   *certificates // of public; nil: no TLS
	detour  *listener     // redirects to public; nil: off
	admin   *http.Server  // nil: off
	adminAt *net.TCPListener
	drain   time.Duration
}

// open binds what the command line says.
func (s *settings) open(cmd *cli.Command) (*service, error) {
	if err := s.finish(cmd); err != nil {
		return nil, err
	}
	return open(s, s.log.logger(os.Stderr))
}

// open binds what s says, so that what is wrong shows before anything is
// served.
func open(s *settings, log *slog.Logger) (_ *service, err error) {
	s.fit(descriptors(), log)
	v := &service{log: log, drain: max(s.router.Drain, 0)}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	for _, endpoint := range s.router.Workers {
		l, err := zmtp.Listen(endpoint)
		if err != nil {
			return nil, fmt.Errorf("--workers: %s", strings.TrimPrefix(err.Error(), "zmtp: "))
		}
		v.workers = append(v.workers, l)
	}
	config := s.router
	config.Listeners, config.Logger = v.workers, log
	if v.router, err = router.New(config); err != nil {
		return nil, err
	}
	at, err := bind(s.listen, "listen")
	if err != nil {
		return nil, err
	}
	v.public, v.scheme = newListener(at, v.router.Clients(s.port)), "http"
	if s.certs != nil {
		v.scheme, v.certs = "https", s.certs
	}
	if s.redirect != "" {
		if at, err = bind(s.redirect, "redirect-http"); err != nil {
			return nil, err
		}
		p := s.port
		p.TLS, p.Redirect = nil, v.public.Addr().(*net.TCPAddr).Port
		v.detour = newListener(at, v.router.Clients(p))
	}
	if s.admin != "" {
		if v.adminAt, err = bind(s.admin, "admin"); err != nil {
			return nil, err
		}
		v.admin = newServer(guard(v.router.Admin()), log, "admin")
	}
	return v, nil
}

func newServer(h http.Handler, log *slog.Logger, name string) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       75 * time.Second,
		MaxHeaderBytes:    64 << 10,
		Protocols:         &protocols,
		ErrorLog:          serverLog(log, name),
	}
}

func (v *service) close() {
	for _, l := range v.workers {
		_ = l.Close()
	}
	for _, l := range []*listener{v.public, v.detour} {
		if l != nil {
			l.abandon()
		}
	}
	if v.adminAt != nil {
		_ = v.adminAt.Close()
	}
}

// run serves until ctx ends, or a port fails. Then it stops in an order that
// fails no request: workers and clients are told, the HTTP port closes when it
// is empty, the worker port when nothing runs, and the admin port last.
func (v *service) run(ctx context.Context) error {
	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	routing, stop := context.WithCancel(failed)
	defer stop()
	v.log.Info("HTTP port open", "address", v.public.Addr().String())
	g.Go(v.public.serve)
	if v.certs != nil {
		g.Go(func() error { v.certs.watch(routing, v.log); return nil })
	}
	if v.detour != nil {
		v.log.Info("HTTP port open that redirects to HTTPS", "address", v.detour.Addr().String())
		g.Go(v.detour.serve)
	}
	if v.admin != nil {
		v.log.Info("admin port open", "address", v.adminAt.Addr().String())
		if a, ok := v.adminAt.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			v.log.Warn("the admin port can be reached from other machines, and asks nobody who they are", "address", a.String())
		}
		g.Go(v.serveAdmin)
	}
	g.Go(func() error {
		err := v.router.Run(routing)
		v.closeAdmin()
		return err
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			signal.Reset(os.Interrupt, syscall.SIGTERM) // another one does what it does to any program
			v.log.Info("draining; a second signal ends it at once", "at_most", v.drain.String())
		case <-failed.Done():
		}
		v.router.Drain()
		limit, done := context.WithTimeout(context.WithoutCancel(ctx), v.drain)
		defer done()
		var detour sync.WaitGroup
		if v.detour != nil {
			detour.Go(func() { v.detour.drain(limit) })
		}
		cut := v.public.drain(limit)
		detour.Wait()
		if cut > 0 {
			v.log.Warn("requests were cut off at the end of the drain time", "requests", cut, "drain", v.drain.String())
		}
		stop()
		return nil
	})
	return g.Wait()
}

func (v *service) serveAdmin() error {
	if err := v.admin.Serve(v.adminAt); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin port %s: %w", v.adminAt.Addr(), err)
	}
	return nil
}

// closeAdmin lets answers that are being written out go out.
func (v *service) closeAdmin() {
	if v.admin == nil {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	if v.admin.Shutdown(ctx) != nil {
		_ = v.admin.Close()
	}
}
