// Package router is the proxy: an http.Handler at one end, the worker port at
// the other. Requests become streams, streams go round robin to the workers
// that have dialled in, and what streams back becomes the response.
package router

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

const (
	// DefaultWorkers is where workers dial in when nothing else is said.
	DefaultWorkers = "tcp://127.0.0.1:8000"
	// DefaultQueueLimit is how many requests may wait for a worker.
	DefaultQueueLimit = 1024
	// DefaultQueueWait is how long one of them may wait.
	DefaultQueueWait = 5 * time.Second
	// DefaultMaxFailures is how many answers of a worker may fail in a row.
	DefaultMaxFailures = 5
	// DefaultForget is how long a route is known without workers.
	DefaultForget = 10 * time.Minute
	// DefaultDrain is how long requests may go on once the router stops.
	DefaultDrain = 30 * time.Second
	// DefaultMaxRequests is how many requests may run or wait at once.
	DefaultMaxRequests = 16384
	// DefaultResponseTimeout is how long a worker may take to begin its answer.
	DefaultResponseTimeout = 60 * time.Second
	// DefaultMaxWorkers is how many connections the worker port may have.
	DefaultMaxWorkers = 4096
	// MaxConcurrency caps the concurrency that a worker announces.
	MaxConcurrency = 1024
	// DefaultMaxMemory is what bodies may take in all, in bytes, beyond what any
	// request may.
	DefaultMaxMemory = 512 << 20
	// MinStickySecret is how many bytes one that signs cookies has at least.
	MinStickySecret = 16
	// MaxGather is the largest body for a REP worker, and its largest reply.
	MaxGather = 8 << 20
)

// Config says how a Router works. The zero value is a router for one machine.
type Config struct {
	// Workers are the endpoints that Run binds: tcp://host:port or
	// ipc:///path. Default: DefaultWorkers. Ignored with Listeners.
	Workers []string
	// Listeners take the place of Workers: Run accepts workers there, and
	// closes them. One that closes once the router drains ends nothing else.
	Listeners []net.Listener
	// Token is what workers must show, in JOIN or as their PLAIN password.
	// Empty: any worker may join, so a worker port that others can reach wants
	// one or InsecureWorkers.
	Token string
	// Grants are more tokens, and what workers that show them may announce.
	// SetGrants replaces them, and Token.
	Grants []Grant
	// InsecureWorkers allows worker endpoints beyond loopback without a Token.
	InsecureWorkers bool
	// MaxWorkers is how many connections the worker port may have at once. A
	// quarter of them, 1,024 at most, may be of newcomers that have yet to join,
	// half of that from one address (an IPv6 host's /64 counting as one), and
	// another quarter, 256 at most, may be refused workers that are kept: with one too
	// many of either, the oldest is closed. If the port is full, a newcomer is
	// let in at the expense of the oldest other one, or closed at once if
	// there is none. Default DefaultMaxWorkers; below 0: no limit.
	MaxWorkers int
	// MaxWorkersPerAddress is the same of one address. Default: any number.
	MaxWorkersPerAddress int
	// QueueLimit is how many requests may wait for a worker. Default
	// DefaultQueueLimit; below 0: none waits, each gets 503 at once.
	QueueLimit int
	// QueueWait is how long a request may wait before its 503. Default
	// DefaultQueueWait.
	QueueWait time.Duration
	// Balance is how a worker is chosen where none has announced a way. Default
	// RoundRobin.
	Balance Balance
	// Sticky is how requests are kept on one worker each where no worker has announced a
	// way: what frame.ParseSticky reads. Default: they are not.
	Sticky string
	// StickySecrets sign the cookies that are issued for a policy like cookie:NAME;
	// issue: the first does, and the others count too. At least 16 bytes each, the same in all routers.
	// Default: one of this Router's own, so that clients get new cookies from the next.
	StickySecrets []string
	// SlowStart is how long the weight of a worker that has just joined grows,
	// from a tenth up. Default: it has all of it at once.
	SlowStart time.Duration
	// MaxFailures is how many answers of a worker may fail in a row before it is
	// set aside for a while, if others are there: streams that it resets, never
	// answers, answers with nonsense, or has no answer to from its app. Default
	// DefaultMaxFailures; below 0: any number.
	MaxFailures int
	// Forget is how long a route (a host and a path) counts whose last worker has gone: requests
	// for it wait, and then get 503. After that they go where they would without it, or get 404.
	// Default DefaultForget.
	Forget time.Duration
	// Drain is how long Run waits for running requests when its context ends.
	// Default DefaultDrain; below 0: it does not wait.
	Drain time.Duration
	// MaxMemory is what bodies may take in all that wait here for slow clients,
	// or are gathered for REP workers, in bytes. Each request has 68 KiB beside.
	// When it is used up, answers of which nothing was taken for five
	// seconds are broken off, and then those that grow, or get 503. Default
	// DefaultMaxMemory.
	MaxMemory int64
	// HideWorker leaves the Dialmux-Worker and Dialmux-Router fields out of responses.
	HideWorker bool
	// RingpopHeaders adds X-Ringpop-Handled-By and X-Ringpop-Received-By, which say the same.
	RingpopHeaders bool
	// Upgrades are the protocols that clients may upgrade to. Default:
	// websocket; empty and not nil: none.
	Upgrades []string
	// MaxRequests is how many requests may run or wait at once; one more gets
	// 503. Default DefaultMaxRequests; below 0: no limit.
	MaxRequests int
	// ResponseTimeout is how long a worker may take to begin its answer once
	// it has the whole request; then 504. Default DefaultResponseTimeout; below
	// 0: no limit.
	ResponseTimeout time.Duration
	// RequestTimeout is how long a whole request may take, waiting and its
	// body and answer included; then 504, or its answer breaks off. A client's
	// Request-Timeout (in seconds) or grpc-timeout may make it shorter. Default:
	// any time. An upgraded connection may last.
	RequestTimeout time.Duration
	// TrustedProxies are the clients whose Forwarded and X-Forwarded-* fields
	// are believed, and added to.
	// Default: none.
	TrustedProxies []netip.Prefix
	// Logger gets what goes wrong and who comes and goes. Default: nothing is
	// logged.
	Logger *slog.Logger
}

// Router is a reverse proxy whose backends dial in. Make one with New; serve
// it as an http.Handler, and call Run for the worker port.
type Router struct {
	cfg Config
	log *slog.Logger
	id  string

	pool    *pool
	streams atomic.Uint64 // the last stream number given out
	memory  memory
	retries retries
	grants  atomic.Pointer[[]grant]
	spares  sync.Pool // streams whose requests are over
	peers   sync.WaitGroup

	visitors  tally     // connections on the worker port
	newcomers newcomers // those that have neither joined nor been refused

	handshakes, refusals, crowds, floods, unserved quiet
	passing                                        sync.Once // it has been said

	dropped  atomic.Uint64 // frames for streams that were not open
	active   atomic.Int64  // requests that a front serves
	upgraded atomic.Int64  // those among them that became connections of another protocol
	idle     chan struct{} // woken when active falls to 0
	beats    atomic.Uint64 // of watch
	draining atomic.Bool

	lettingGo atomic.Bool
}

// New checks cfg and makes a Router. Nothing is bound yet.
func New(cfg Config) (*Router, error) {
	if len(cfg.Workers) == 0 && len(cfg.Listeners) == 0 {
		cfg.Workers = []string{DefaultWorkers}
	}
	if cfg.QueueLimit == 0 {
		cfg.QueueLimit = DefaultQueueLimit
	}
	if cfg.QueueWait <= 0 {
		cfg.QueueWait = DefaultQueueWait
	}
	if cfg.Balance != "" && cfg.Balance != RoundRobin && cfg.Balance != Least {
		return nil, fmt.Errorf("balance %q: %s or %s is right", cfg.Balance, RoundRobin, Least)
	}
	by, err := frame.ParseSticky(cfg.Sticky)
	if err != nil {
		return nil, fmt.Errorf("sticky %q: %w", cfg.Sticky, err)
	}
	cfg.Sticky = by.String()
	for _, secret := range cfg.StickySecrets {
		if len(secret) < MinStickySecret {
			return nil, fmt.Errorf("a secret for sticky cookies has %d bytes: use %d or more, such as a line of `openssl rand -base64 32`", len(secret), MinStickySecret)
		}
	}
	if cfg.MaxFailures == 0 {
		cfg.MaxFailures = DefaultMaxFailures
	}
	if cfg.Forget <= 0 {
		cfg.Forget = DefaultForget
	}
	if cfg.Drain == 0 {
		cfg.Drain = DefaultDrain
	}
	if cfg.MaxRequests == 0 {
		cfg.MaxRequests = DefaultMaxRequests
	}
	if cfg.MaxWorkers == 0 {
		cfg.MaxWorkers = DefaultMaxWorkers
	}
	if cfg.ResponseTimeout == 0 {
		cfg.ResponseTimeout = DefaultResponseTimeout
	}
	if cfg.Upgrades == nil {
		cfg.Upgrades = []string{"websocket"}
	}
	for _, name := range cfg.Upgrades {
		if !isToken([]byte(name)) || strings.EqualFold(name, "h2c") || strings.EqualFold(name, "tls") {
			return nil, fmt.Errorf("upgrade to %q: the name of a protocol over HTTP/1.1 is right, as websocket is (RFC 9110 section 7.8)", name)
		}
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = DefaultMaxMemory
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Token != "" {
		cfg.Grants = append(slices.Clone(cfg.Grants), Grant{Token: cfg.Token})
	}
	grants, err := readGrants(cfg.Grants)
	if err != nil {
		return nil, err
	}
	for _, e := range cfg.Workers {
		near, err := zmtp.IsLoopback(e)
		if err != nil {
			return nil, err
		}
		if !near && len(grants) == 0 && !cfg.InsecureWorkers {
			return nil, fmt.Errorf("worker port %s can be reached from other machines, and whoever dials in gets requests: set a token (--token, --token-file), or say --insecure-workers", e)
		}
	}
	r := &Router{
		cfg:  cfg,
		log:  cfg.Logger,
		id:   "r-" + hex.EncodeToString(random(4)),
		pool: newPool(&cfg),
		idle: make(chan struct{}, 1),

		visitors:  tally{most: cfg.MaxWorkers, mostOf: cfg.MaxWorkersPerAddress},
		newcomers: newcomers{most: maxNewcomers, mostOf: maxNewcomers / 2},
	}
	if most := partOf(cfg.MaxWorkers, 4); most > 0 {
		r.newcomers.most, r.newcomers.mostOf = min(most, maxNewcomers), min(max(most/2, 4), maxNewcomers/2)
		r.pool.maxParked = min(most, maxParked)
	}
	r.streams.Store(uint64(time.Now().UnixMicro()))
	r.memory.init(cfg.MaxMemory)
	r.retries.init()
	r.grants.Store(&grants)
	return r, nil
}

// Run binds the worker port and serves it until ctx ends. Then it drains: see
// Drain. It waits for running requests (at most Config.Drain), ends the
// connections, and returns nil when all that it started has ended.
func (r *Router) Run(ctx context.Context) error {
	listeners := r.cfg.Listeners
	if len(listeners) == 0 {
		for _, e := range r.cfg.Workers {
			l, err := zmtp.Listen(e)
			if err != nil {
				for _, l := range listeners {
					_ = l.Close()
				}
				return err
			}
			listeners = append(listeners, l)
		}
	}
	accepting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, accepting := errgroup.WithContext(accepting)
	for _, l := range listeners {
		r.log.Info("worker port open", "endpoint", zmtp.Bound(l), "router", r.id)
		g.Go(func() error { return r.accept(accepting, l) })
	}
	g.Go(func() error { r.watch(accepting); return nil })
	select {
	case <-ctx.Done():
		r.Drain()
		r.awaitIdle()
	case <-accepting.Done(): // a listener failed
	}
	stop()
	for _, l := range listeners {
		_ = l.Close()
	}
	err := g.Wait()
	r.pool.closeAll()
	r.peers.Wait()
	return err
}

// Drain tells the workers that this router is going, and HTTP/1 clients to
// close. Requests that it has or still gets are served as before.
func (r *Router) Drain() {
	if r.draining.Swap(true) {
		return
	}
	for _, p := range r.pool.snapshot() {
		p.goAway(0, "the router drains")
	}
}

// LetGo hangs up on workers that have no request, and on the others when they
// have none any more, so that they dial whoever listens in this router's place.
// Call it once no new request can come.
func (r *Router) LetGo() {
	r.lettingGo.Store(true)
	for _, p := range r.pool.snapshot() {
		p.letGo()
	}
}

// awaitIdle waits until no front serves a request, at most Config.Drain.
func (r *Router) awaitIdle() {
	limit := time.NewTimer(max(r.cfg.Drain, 0))
	defer limit.Stop()
	for r.active.Load() > 0 {
		select {
		case <-r.idle:
		case <-limit.C:
			if n := r.active.Load() - r.upgraded.Load(); n > 0 {
				r.log.Warn("requests still run at the end of the drain time", "requests", n, "drain", r.cfg.Drain.String())
			}
			return
		}
	}
}

// accept takes workers until the listener closes. Each is served by a
// goroutine of r.peers.
func (r *Router) accept(ctx context.Context, l net.Listener) error {
	err := r.acceptAll(ctx, l, "worker port "+zmtp.Bound(l), func(nc net.Conn) {
		if r.letIn(nc) {
			r.peers.Go(func() {
				defer r.visitors.leave(nc.RemoteAddr())
				r.serve(ctx, nc)
			})
		}
	})
	if ctx.Err() != nil || r.draining.Load() {
		return nil
	}
	return err
}

// letIn lets a connection in, unless it is one too many and no newcomer can
// make room.
func (r *Router) letIn(nc net.Conn) bool {
	why := r.visitors.enter(nc.RemoteAddr(), false)
	if why == noCrowd {
		return true
	}
	if r.newcomers.makeRoom(why, nc.RemoteAddr()) {
		r.visitors.enter(nc.RemoteAddr(), true)
		return true
	}
	_ = nc.Close()
	most, limit := r.cfg.MaxWorkers, "--max-workers"
	if why == crowdOfAddress {
		most, limit = r.cfg.MaxWorkersPerAddress, "--max-workers-per-address"
	}
	r.crowds.warn(r.log, "worker port: connection refused, there are too many", "peer", nc.RemoteAddr().String(), "most", most, "limit", limit)
	return false
}

// recovered is how long accepting must have worked before another failure is
// news.
const recovered = 5 * time.Second

// acceptAll takes connections until the listener closes or ctx ends. What
// keeps failing is logged once.
func (r *Router) acceptAll(ctx context.Context, l net.Listener, name string, take func(net.Conn)) error {
	var failed time.Time // when it last did, in the time that is being logged; zero: it works
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			if !failed.IsZero() && time.Since(failed) >= recovered {
				failed = time.Time{}
				r.log.Info("accepting again", "port", name)
			}
			take(nc)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("%s: %w", name, err)
		default: // out of descriptors, for one: others may end
			if failed.IsZero() {
				r.log.Error("cannot accept; trying on", "port", name, "err", err)
			}
			failed = time.Now()
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// nextStream gives out stream numbers: ascending, never twice in a process,
// and above those of an earlier process on this machine.
func (r *Router) nextStream() uint64 { return r.streams.Add(1) }

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says its documentation
	return b
}

// randomConnection is WELCOME's connection: 53 random bits, never 0.
func randomConnection() uint64 {
	return binary.BigEndian.Uint64(random(8))&frame.MaxNumber | 1
}
