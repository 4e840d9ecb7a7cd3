// Package sidecar makes a worker of an HTTP app that listens on a port or a Unix socket: an http.Handler that forwards to it, and a
// Run that serves while the app is healthy.
//
// HTTP/1.1 is written and its connections are kept here; http.ReadResponse reads it. http.Transport does not tell what has certainly not been
// sent, nor whether more of a body is at hand, and keeps using connections that an app is about to close.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What the zero values of Options stand for.
const (
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = time.Second // or half of the interval, if that is less
	DefaultDown     = 2
	DefaultUp       = 1
)

// Options say how an app is watched and what it sees. All may be left out.
type Options struct {
	// Health is the target of a GET whose answer must be of status 2xx or 3xx for the app to be healthy. Default: it is healthy if it
	// takes a connection.
	Health string

	// With the defaults, and for any interval, an app that is dead is withdrawn within two. One that hangs is it after
	// Interval + Down * max(Interval/2, Timeout) at most. A check that gets no answer in time is no failure if a request was answered (not
	// with 5xx) within the last Interval: the app has a lot to do.
	Interval time.Duration // between the beginnings of checks; half of it after a failure. Default: DefaultInterval
	Timeout  time.Duration // of a check. Default: DefaultTimeout, and at most half of Interval
	Down     int           // failures in a row that withdraw the worker. Default: DefaultDown
	Up       int           // successes in a row that bring it back. Default: DefaultUp

	// StripPrefix are prefixes, each beginning with '/', of which the longest one that ends where a segment of the path does is taken off
	// before the app sees it. X-Forwarded-Prefix says which.
	StripPrefix []string

	// Logger gets a record when the app comes or goes, and for each answer that is none. Default: none.
	Logger *slog.Logger
}

// App forwards requests to one app. It never chooses whom to ask from a request.
type App struct {
	// Static after New.
	options  Options
	target   string // as New got it
	network  string // tcp or unix
	address  string
	host     string // the Host of requests that have none
	prefixes []string
	log      *slog.Logger
	dialer   net.Dialer
	h2       *http.Transport // nil: the app speaks HTTP/1.1

	refusing chan struct{} // of one: a connection was refused just now
	buffers  sync.Pool     // of *[bufferSize]byte
	idle     idle
	waiting  waiting
	heard    atomic.Int64 // when the app answered last, since made; 0: it has not
	made     time.Time
}

// dialTimeout is for an app that is near: one that takes no connection for so long is as good as down.
const dialTimeout = 3 * time.Second

// New returns what forwards to target: http://host:port, h2c://host:port for HTTP/2 without TLS, or unix:/path/to/socket for HTTP/1.1 over
// it. Nothing is dialled yet.
func New(target string, o Options) (*App, error) {
	a := &App{target: target, made: time.Now(), refusing: make(chan struct{}, 1), dialer: net.Dialer{Timeout: dialTimeout}}
	a.buffers.New = func() any { return new([bufferSize]byte) }
	a.idle.anew()
	a.waiting.all = map[*waiter]struct{}{}
	if err := a.parse(target); err != nil {
		return nil, err
	}
	var err error
	if a.options, err = o.withDefaults(); err != nil {
		return nil, err
	}
	a.log = a.options.Logger
	for _, p := range o.StripPrefix {
		if p = strings.TrimRight(p, "/"); p != "" {
			a.prefixes = append(a.prefixes, p)
		}
	}
	return a, nil
}

func (a *App) parse(target string) error {
	if path, unix := strings.CutPrefix(target, "unix:"); unix {
		rest, slashes := strings.CutPrefix(path, "//")
		switch {
		case path == "", slashes && rest == "":
			return wrongTarget(target)
		case slashes && rest[0] != '/': // of a URL that would be a host
			return fmt.Errorf("the app's URL %q: unix:/%s (absolute) or unix:%s (relative) is right", target, rest, rest)
		case slashes:
			path = rest
		}
		a.network, a.address, a.host = "unix", path, "localhost"
		return nil
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "h2c" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return wrongTarget(target)
	}
	if u.Path != "" && u.Path != "/" {
		return fmt.Errorf("the app's URL %q has a path: leave it out, the path is the request's", target)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("the app's URL %q has the port %s: 1 to 65535 is right", target, port)
	}
	a.network, a.address, a.host = "tcp", net.JoinHostPort(u.Hostname(), port), u.Host
	if u.Scheme == "h2c" {
		a.h2 = a.newHTTP2()
	}
	return nil
}

func wrongTarget(target string) error {
	return fmt.Errorf("the app's URL %q: http://host:port, h2c://host:port or unix:/path/to/socket is right", target)
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Health != "" && (!strings.HasPrefix(o.Health, "/") || !isTarget(o.Health)):
		return o, fmt.Errorf("the health path %q: one that begins with / is right, as in /healthz", o.Health)
	case o.Interval < 0, o.Timeout < 0:
		return o, errors.New("a health check's interval and timeout: above 0 is right")
	case o.Down < 0, o.Up < 0:
		return o, errors.New("a health check's thresholds: 1 or more is right")
	}
	for _, p := range o.StripPrefix {
		if !strings.HasPrefix(p, "/") {
			return o, fmt.Errorf("the prefix %q to take off: one that begins with / is right", p)
		}
	}
	o.Interval = orDefault(o.Interval, DefaultInterval)
	o.Timeout = orDefault(o.Timeout, min(DefaultTimeout, max(o.Interval/2, 1)))
	o.Down, o.Up = orDefault(o.Down, DefaultDown), orDefault(o.Up, DefaultUp)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// ServeHTTP forwards a request. What keeps it from an answer is a panic with worker.ErrRefused if the app has certainly not got the request,
// with worker.ErrLost if its connection broke before the answer's head, or the app hangs, or with http.ErrAbortHandler. An answer that is no HTTP is 502 with
// Proxy-Status, for which routers hold the worker to have failed.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, status := a.read(r)
	switch {
	case status != 0:
		http.Error(w, http.StatusText(status), status)
	case a.h2 != nil && q.protocol == "":
		a.forwardHTTP2(w, q)
	default:
		a.forward(w, q)
	}
}

// dial makes a connection to the app.
func (a *App) dial(ctx context.Context) (net.Conn, error) {
	return a.dialer.DialContext(ctx, a.network, a.address)
}

// Close closes connections that no request uses. The app may be used again.
func (a *App) Close() {
	a.idle.anew()
	a.closeIdle()
}

func (a *App) closeIdle() {
	a.idle.empty()
	if a.h2 != nil {
		a.h2.CloseIdleConnections()
	}
}
