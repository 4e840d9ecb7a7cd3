package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
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
	tokens  *tokens       // of workers; nil: they are not in a file
	detour  *listener     // redirects to public; nil: off
	admin   *http.Server  // nil: off
	adminAt *net.TCPListener
	drain   time.Duration
	shared  bool // the worker port belongs to a service manager
	lent    bool // the admin port does
}

// open binds what the command line says.
func (s *settings) open(cmd *cli.Command) (*service, error) {
	var err error
	if s.inherited, err = inherit(); err != nil {
		return nil, err
	}
	s.heed()
	if err := s.finish(cmd); err != nil {
		s.inherited.close()
		return nil, err
	}
	return open(s, s.log.logger(cmd.Root().ErrWriter))
}

// heed has inherited sockets take the place of what flags say, for whatever
// depends on that.
func (s *settings) heed() {
	i := &s.inherited
	if i.redirect != nil {
		s.redirect = i.redirect.Addr().String()
	}
	if i.admin != nil {
		s.admin = i.admin.Addr().String()
	}
	if len(i.workers) > 0 {
		s.router.Workers = nil
		for _, l := range i.workers {
			s.router.Workers = append(s.router.Workers, zmtp.Bound(l))
		}
	}
}

// open binds what s says, so that what is wrong shows before anything is
// served.
func open(s *settings, log *slog.Logger) (_ *service, err error) {
	sayLimits := s.fit(descriptors())
	v := &service{log: log, tokens: s.tokens, drain: max(s.router.Drain, 0)}
	inherited := &s.inherited
	defer func() {
		if err != nil {
			v.close()
			inherited.close()
		}
	}()
	v.workers, v.shared = inherited.workers, len(inherited.workers) > 0
	for _, endpoint := range s.router.Workers {
		if v.shared {
			break
		}
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
	if v.public, err = listen(inherited.http, s.listen, "listen", func() *router.Clients { return v.router.Clients(s.port) }); err != nil {
		return nil, err
	}
	v.scheme = "http"
	if s.certs != nil {
		v.scheme, v.certs = "https", s.certs
	}
	if s.redirect != "" {
		p := s.port
		p.TLS, p.Redirect = nil, v.public.Addr().(*net.TCPAddr).Port
		if v.detour, err = listen(inherited.redirect, s.redirect, "redirect-http", func() *router.Clients { return v.router.Clients(p) }); err != nil {
			return nil, err
		}
	}
	if s.admin != "" {
		v.adminAt, v.lent = inherited.admin, inherited.admin != nil
		if !v.lent {
			if v.adminAt, err = bind(s.admin, "admin"); err != nil {
				return nil, err
			}
		}
		if isExposed(v.adminAt.Addr()) && !s.insecure {
			return nil, exposed(s.admin)
		}
		v.admin = newServer(guard(v.router.Admin()), log, "admin")
	}
	sayLimits(log)
	ports := []router.Port{s.port}
	if v.detour != nil {
		ports = append(ports, s.port)
	}
	if bound := v.router.MemoryBound(ports...); bound >= 0 {
		log.Info("memory is bounded by the limits", "mib_at_most", bound>>20)
	} else {
		log.Info("memory is not bounded: one of --max-connections, --max-requests, --max-workers is 0")
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
	if v.tokens != nil {
		g.Go(func() error { v.tokens.watch(routing, v.router, v.log); return nil })
	}
	if v.detour != nil {
		v.log.Info("HTTP port open that redirects to HTTPS", "address", v.detour.Addr().String())
		g.Go(v.detour.serve)
	}
	if v.admin != nil {
		v.log.Info("admin port open", "address", v.adminAt.Addr().String())
		if isExposed(v.adminAt.Addr()) {
			v.log.Warn("the admin port can be reached from other machines, and asks nobody who they are", "address", v.adminAt.Addr().String())
		}
		g.Go(v.serveAdmin)
	}
	g.Go(func() error {
		err := v.router.Run(routing)
		v.closeAdmin()
		return err
	})
	defer sayDrain(ctx, v.log, v.drain, endAtOnce)()
	v.notify("READY=1\nSTATUS=serving clients at " + v.public.Addr().String())
	g.Go(func() error {
		select {
		case <-ctx.Done():
			v.notify("STOPPING=1\nSTATUS=draining, at most " + v.drain.String())
		case <-failed.Done():
		}
		v.router.Drain()
		if v.lent {
			v.closeAdmin()
		}
		if v.shared {
			for _, l := range v.workers {
				_ = l.Close() // who dials in from now on is for the next process
			}
			g.Go(func() error { v.handOver(routing); return nil })
		}
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

// handOver lets workers go that have nothing to do here, once clients have had
// the time to ask what they were about to.
func (v *service) handOver(ctx context.Context) {
	select {
	case <-time.After(2 * v.public.farewell):
		v.router.LetGo()
	case <-ctx.Done():
	}
}

// notify tells the service manager, if there is one (sd_notify(3)).
func (v *service) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		v.log.Warn("cannot tell the service manager; is NOTIFY_SOCKET right?", "state", state, "err", err)
	}
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
