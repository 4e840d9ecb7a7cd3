package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/http1"
)

// The limits of a Port.
const (
	DefaultHeadTimeout  = 10 * time.Second
	DefaultIdleTimeout  = 75 * time.Second
	DefaultBodyTimeout  = 60 * time.Second
	DefaultWriteTimeout = 60 * time.Second

	DefaultMaxHeader      = frame.MaxHead // bytes
	DefaultMaxTarget      = 32 << 10      // bytes
	DefaultMaxConnections = 16384
)

// Port says how clients are served. The zero value is good for most. A limit
// of 0 is its default, a negative one is none.
type Port struct {
	// TLS serves encrypted connections only, with these certificates. HTTP/2
	// is chosen by ALPN.
	TLS *tls.Config
	// HeadTimeout is how long a request's head may take, from its first byte
	// or the connection's beginning; then 408. Default DefaultHeadTimeout.
	HeadTimeout time.Duration
	// IdleTimeout is how long a connection may be without a request. Default
	// DefaultIdleTimeout.
	IdleTimeout time.Duration
	// BodyTimeout is how long nothing of a request's body may come, while it
	// is wanted; then 408. Default DefaultBodyTimeout.
	BodyTimeout time.Duration
	// WriteTimeout is how long a client may take nothing of an answer; then
	// its connection is reset. Default DefaultWriteTimeout.
	WriteTimeout time.Duration
	// MaxHeader is how many bytes a request's head may have; more is 431.
	// Default, and most, DefaultMaxHeader.
	MaxHeader int
	// MaxTarget is how many bytes a request's target may have; more is 414.
	// Default DefaultMaxTarget.
	MaxTarget int
	// MaxBody is how many bytes a request's body may have; more is 413, also
	// where that shows only midway. Default: any number.
	MaxBody int64
	// MaxConnections is how many there may be at once: one more gets 503, or
	// over TLS nothing, and is closed. A quarter of them may be shaking hands by
	// TLS or the PROXY protocol; one more, and the oldest of these is closed.
	// Default DefaultMaxConnections.
	MaxConnections int
	// MaxConnectionsPerAddress is how many of them one address may have, an
	// IPv6 client's /64 counting as one: one more is refused likewise.
	// ProxyProtocol's networks and Config.TrustedProxies do not count by their
	// own address; the client that a PROXY protocol header names does. Default:
	// any number, since many clients may share one address.
	MaxConnectionsPerAddress int
	// ProxyProtocol are the networks whose connections begin with a PROXY
	// protocol header, version 1 or 2, which says who the client is: it must be
	// there, within HeadTimeout, and before TLS. Default: none.
	ProxyProtocol []netip.Prefix
	// Redirect answers every request with 308 and the same target by https, on
	// this port. TLS must be nil. Default: requests are served.
	Redirect int
}

// Clients serves clients on one port: HTTP/1.1 by an engine of its own, HTTP/2
// (in the clear by prior knowledge, or over TLS) by net/http.
type Clients struct {
	r                          *Router
	port                       Port
	tls                        *tls.Config
	engine                     *http1.Server
	second                     *http.Server              // HTTP/2
	handed                     *handover                 // what second accepts from
	given                      atomic.Pointer[time.Time] // when it got the last one; nil: none
	log                        *slog.Logger
	open                       atomic.Int64 // connections of conns
	held                       tally        // connections, HTTP/2's too
	shaking                    newcomers    // those within begin
	turned                     atomic.Int64 // connections too many that are told so
	crowded, crowdedBy, floods quiet

	conns   sync.WaitGroup
	serving errgroup.Group

	beginning context.Context // of what comes before the first request
	shake     context.CancelFunc
	watch     context.CancelFunc
}

// Clients makes what serves clients by p. Shutdown must end it.
func (r *Router) Clients(p Port) *Clients {
	for limit, def := range map[*time.Duration]time.Duration{
		&p.HeadTimeout: DefaultHeadTimeout, &p.IdleTimeout: DefaultIdleTimeout, &p.BodyTimeout: DefaultBodyTimeout, &p.WriteTimeout: DefaultWriteTimeout,
	} {
		if *limit == 0 {
			*limit = def
		}
	}
	if p.MaxHeader <= 0 || p.MaxHeader > DefaultMaxHeader {
		p.MaxHeader = DefaultMaxHeader
	}
	switch {
	case p.MaxTarget == 0:
		p.MaxTarget = DefaultMaxTarget
	case p.MaxTarget < 0:
		p.MaxTarget = p.MaxHeader
	}
	if p.MaxConnections == 0 {
		p.MaxConnections = DefaultMaxConnections
	}
	c := &Clients{
		r: r, log: r.log, port: p,
		engine: &http1.Server{
			HeadTimeout: p.HeadTimeout, IdleTimeout: p.IdleTimeout, BodyTimeout: p.BodyTimeout, WriteTimeout: p.WriteTimeout,
			MaxHead: p.MaxHeader, MaxTarget: p.MaxTarget,
		},
		second: &http.Server{
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.handleHTTP2(w, req, &p) }),
			ReadHeaderTimeout: p.HeadTimeout, IdleTimeout: p.IdleTimeout, MaxHeaderBytes: 2 * DefaultMaxHeader, Protocols: new(http.Protocols),
			HTTP2: http2Config(&p), ConnContext: withHTTP2Conn,
			ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),

			DisableGeneralOptionsHandler: true, // OPTIONS * is the workers' to answer
		},
		held:    tally{most: p.MaxConnections, mostOf: p.MaxConnectionsPerAddress, exempt: slices.Concat(p.ProxyProtocol, r.cfg.TrustedProxies)},
		shaking: newcomers{most: partOf(p.MaxConnections, 4)},
		handed:  &handover{conns: make(chan net.Conn), done: make(chan struct{})},
	}
	c.second.Protocols.SetUnencryptedHTTP2(true) // TLS is ours, and what it carries is metered
	c.second.ConnState = func(nc net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			c.held.leave(nc.RemoteAddr())
		}
	}
	switch {
	case p.Redirect != 0:
	case p.TLS == nil:
		c.engine.HTTP2 = c.give
	default: // by ALPN only (RFC 9113 section 3.3)
		c.tls = negotiating(p.TLS)
	}
	watching, cancel := context.WithCancel(context.Background())
	c.watch = cancel
	c.beginning, c.shake = context.WithCancel(context.Background())
	c.serving.Go(func() error { c.engine.Watch(watching); return nil })
	c.serving.Go(func() error { _ = c.second.Serve(c.handed); return nil })
	return c
}

// Serve accepts clients until l closes: then it returns net.ErrClosed.
func (c *Clients) Serve(l net.Listener) error {
	return c.r.acceptAll(context.Background(), l, "HTTP port "+l.Addr().String(), func(nc net.Conn) {
		if why := c.held.enter(nc.RemoteAddr(), false); why != noCrowd {
			c.turnAway(nc, why)
			return
		}
		c.open.Add(1)
		c.conns.Go(func() {
			defer c.open.Add(-1)
			defer c.survive(nc)
			c.serve(nc)
		})
	})
}

// survive keeps a fault in one connection from ending all others.
func (c *Clients) survive(nc net.Conn) {
	if fault := recover(); fault != nil {
		c.log.Error("panic while a client was served; please report it", "client", nc.RemoteAddr().String(), "fault", fault, "stack", string(debug.Stack()))
		http1.Reset(nc)
	}
}

func (c *Clients) serve(nc net.Conn) {
	given, addr := false, nc.RemoteAddr()
	defer func() {
		if !given {
			c.held.leave(addr)
		}
	}()
	nc, ok := c.begin(nc)
	addr = nc.RemoteAddr()
	if !ok {
		return
	}
	scheme, subject := "http", ""
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		if state.NegotiatedProtocol == "h2" {
			given = true
			c.give(t)
			return
		}
		scheme, subject = "https", subjectOf(&state)
	}
	if c.port.Redirect != 0 {
		c.engine.ServeConn(nc, redirector{c.port.Redirect})
		return
	}
	given = c.engine.ServeConn(nc, c.r.newEngine(nc, scheme, subject, c.port.MaxBody))
}

// begin takes what comes before the first request: a PROXY protocol header and
// TLS's handshake. It returns who is counted, and is not ok if that one's
// connection is over.
func (c *Clients) begin(nc net.Conn) (_ net.Conn, ok bool) {
	named := within(c.port.ProxyProtocol, nc.RemoteAddr().String())
	if !named && c.tls == nil {
		return nc, true
	}
	here := c.shaking.add(nc)
	defer c.shaking.known(here)
	ctx, done := c.beginning, context.CancelFunc(func() {})
	if c.port.HeadTimeout > 0 {
		ctx, done = context.WithTimeout(ctx, c.port.HeadTimeout)
	}
	defer done()
	if named {
		client, err := introduce(ctx, nc)
		if err != nil {
			c.log.Debug("no PROXY protocol header that can be read", "proxy", nc.RemoteAddr().String(), "err", err)
			_ = nc.Close()
			return nc, false
		}
		if why := c.held.named(client.RemoteAddr()); why != noCrowd {
			c.turnAway(client, why)
			return nc, false
		}
		nc = client
	}
	if c.tls == nil {
		return nc, true
	}
	t := tls.Server(nc, c.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		c.log.Debug("TLS handshake failed", "client", nc.RemoteAddr().String(), "err", err)
		if bad, ok := errors.AsType[tls.RecordHeaderError](err); ok && bad.Conn != nil && isMethod(bad.RecordHeader) {
			misdirect(nc)
		}
		_ = nc.Close()
		return nc, false
	}
	return t, true
}

// give hands an HTTP/2 connection over.
func (c *Clients) give(nc net.Conn) {
	now := time.Now()
	c.given.Store(&now)
	c.handed.give(meter(nc, func() {
		c.floods.warn(c.log, "client closed: it floods its HTTP/2 connection with frames that carry nothing", "client", nc.RemoteAddr().String())
	}))
}

// isMethod tells whether a request in the clear may begin so.
func isMethod(first [5]byte) bool {
	for _, b := range first[:3] { // as long as the shortest, GET
		if b < 'A' || b > 'Z' {
			return false
		}
	}
	return true
}

// misdirect answers who speaks HTTP in the clear where TLS is spoken.
func misdirect(nc net.Conn) {
	lastWords(nc, &failure{400, "this port speaks TLS: say https://", false})
}

// lastWords answers what was not read, and reads what still comes: a reset
// would take the answer away.
func lastWords(nc net.Conn, f *failure) {
	body, again := "dialmux: "+f.reason+"\n", ""
	if f.retry {
		again = "Retry-After: 1\r\n"
	}
	_ = nc.SetDeadline(time.Now().Add(lingering))
	_, err := fmt.Fprintf(nc, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%sProxy-Status: %s\r\nConnection: close\r\n\r\n%s",
		f.status, http.StatusText(f.status), len(body), again, f.proxyStatus(), body)
	if w, ok := nc.(interface{ CloseWrite() error }); ok && err == nil && w.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, nc, lingeringMost)
	}
}

// lingeringMost is how many bytes are read of what nobody wants.
const lingeringMost = 1 << 20

// turnedAwayAtOnce is how many connections too many may be getting an answer: a
// flood of them costs no more than that.
const turnedAwayAtOnce = 32

var (
	errCrowded          = &failure{503, "too many connections are open", true}
	errCrowdedByAddress = &failure{503, "too many connections from this address are open", true}
)

// turnAway closes a connection too many. In the clear, its client reads why.
func (c *Clients) turnAway(nc net.Conn, why crowding) {
	words := errCrowded
	if why == crowdOfAddress {
		words = errCrowdedByAddress
		c.crowdedBy.warn(c.log, "connection refused: there are too many from its address", "client", nc.RemoteAddr().String(), "most", c.port.MaxConnectionsPerAddress)
	} else {
		c.crowded.warn(c.log, "connection refused: there are too many", "most", c.port.MaxConnections)
	}
	if c.tls != nil || c.turned.Load() >= turnedAwayAtOnce {
		_ = nc.Close()
		return
	}
	c.turned.Add(1)
	c.conns.Go(func() {
		defer c.turned.Add(-1)
		lastWords(nc, words)
		_ = nc.Close()
	})
}

// firstRequest is how long an HTTP/2 connection is left alone while the port
// shuts down: GOAWAY would overtake the request that it was opened for.
const firstRequest = 500 * time.Millisecond

// Shutdown ends every connection: after its request, or once it has been idle
// for farewell, since a request may be on its way. Those left when ctx ends are
// reset; it returns how many requests these had. All listeners must have
// closed, and Serve have returned.
func (c *Clients) Shutdown(ctx context.Context, farewell time.Duration) (cut int) {
	cutting, cutNow := context.WithCancel(context.WithoutCancel(ctx))
	defer cutNow()
	counted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(counted)
		cut = int(c.r.active.Load() - c.r.upgraded.Load())
		c.shake()
		cutNow()
	})
	late := time.AfterFunc(farewell+2*lingering, c.shake) // who has not even shaken hands asks nothing
	defer late.Stop()
	var second sync.WaitGroup
	settled := make(chan struct{}) // no connection can turn out to be HTTP/2's any more
	second.Go(func() {
		await(cutting, farewell, settled)
		if last := c.given.Load(); last != nil {
			await(cutting, time.Until(last.Add(min(farewell, firstRequest))), nil)
		}
		if c.second.Shutdown(cutting) != nil {
			_ = c.second.Close()
		}
	})
	for c.engine.Drain(cutting, farewell); c.open.Load() > 0; c.engine.Drain(cutting, farewell) {
		time.Sleep(10 * time.Millisecond) // a handshake goes on
	}
	c.conns.Wait()
	close(settled)
	second.Wait()
	c.handed.close()
	c.shake()
	c.watch()
	_ = c.serving.Wait()
	if !stop() {
		<-counted
	}
	return cut
}

// await returns after d, or as soon as ctx or over ends.
func await(ctx context.Context, d time.Duration, over <-chan struct{}) {
	if d <= 0 {
		return
	}
	wait, done := context.WithTimeout(ctx, d)
	defer done()
	select {
	case <-over:
	case <-wait.Done():
	}
}

// handover is a listener whose connections come from another one.
type handover struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// give waits until nc is accepted.
func (h *handover) give(nc net.Conn) {
	select {
	case h.conns <- nc:
	case <-h.done:
		_ = nc.Close()
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) close() { h.once.Do(func() { close(h.done) }) }

func (h *handover) Close() error {
	h.close()
	return nil
}

func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }
