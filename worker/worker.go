// Package worker serves HTTP requests that Dialmux routers hand out. A worker listens nowhere: it dials its routers, says
// JOIN, and an http.Handler answers what they send.
//
// Upgrades, WebSocket above all, go through http.Hijacker as in net/http, whichever HTTP version the client spoke: libraries for
// net/http servers work as they are.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// What a Worker's zero values stand for.
const (
	DefaultRouter      = "tcp://127.0.0.1:8000"
	DefaultConcurrency = 64
	DefaultGrace       = 30 * time.Second
	DefaultReadWindow  = 256 << 10
)

// MaxWeight is the most that a Worker's Weight may be.
const MaxWeight = 100

// Serve is Run of a Worker that has the defaults, one router and a handler.
func Serve(ctx context.Context, router string, h http.Handler) error {
	w := Worker{Routers: []string{router}, Handler: h}
	return w.Run(ctx)
}

// Worker says who answers requests, and for which routers. Only Handler must be set. A Worker is not changed by Run,
// and must not be changed while Run runs.
//
// The handler sees requests as those of an HTTP/2 server (Proto is "HTTP/2.0", whatever the client spoke), with RemoteAddr
// the last element of X-Forwarded-For and port 0, or empty if there is none. Beside what http.ResponseWriter
// promises, http.ResponseController's Flush, SetReadDeadline, SetWriteDeadline and EnableFullDuplex work: bodies flow both ways
// at once, always. A request's context ends when the client leaves, the router vanishes or Grace is over, and its
// context.Cause says which. Where the request has a deadline (Request-Timeout, grpc-timeout), it is the context's too.
//
// A handler that returns when the deadline has passed has its answer broken off (RST_STREAM CANCEL), since it may have stopped short:
// what was written before would look whole. Two kinds go out: an answer begun after the deadline, such as a 504 of the
// handler's own, and one that had all of the Content-Length it declared and announced no trailers, or that has no body.
//
// A request to upgrade looks like one of HTTP/1.1: Proto says so, Connection and Upgrade are in its header, and it has no body. A
// handler that answers as usual refuses. One that accepts calls Hijack (http.Hijacker, http.ResponseController) and writes a
// head of status 101 to the connection, or calls WriteHeader(101) and then Hijack. The connection may outlive the handler, whose
// context ends when it returns, as in net/http. The connection takes one of Concurrency until it is closed, or fails once the
// handler has returned. When the client is gone or Grace is over, its Read and Write fail. A client that ends its side gives io.EOF, and
// writing goes on; Close ends both sides. LocalAddr is that of the link to the router, RemoteAddr the client's with port 0.
//
// Handlers run in goroutines that are used again, as those of connections in net/http: what one does to its goroutine
// (runtime.LockOSThread, pprof.SetGoroutineLabels) it should undo.
//
// A handler that panics costs its own request a 500 and a line in the log, or breaks the answer off visibly if its head
// has left. http.ErrAbortHandler always breaks it off, and is not logged; ErrRefused and ErrLost have another worker try.
type Worker struct {
	// Name is shown to clients and operators: 1 to 128 bytes of letters, digits, '.', '_' and '-'. Default: the host's name,
	// '-', and the number of the process.
	Name string

	// Routers are endpoints to dial, "tcp://host:port" or "ipc:///path". Default: DefaultRouter alone.
	Routers []string

	Handler http.Handler

	// Concurrency is how many requests, and upgraded connections, run at once over all routers. Default: DefaultConcurrency. With R routers
	// each is offered a share of Concurrency/R, rounded up; what they send beyond the whole is refused and goes elsewhere.
	Concurrency int

	// Token proves to a router that wants one that this worker may serve.
	Token string

	// Grace is how long running requests and upgraded connections may go on after Run's context ended. Default: DefaultGrace; below zero: not at all.
	Grace time.Duration

	// What is announced to routers beside the name. Zero values are left out.
	Service    string
	AppVersion string
	Zone       string
	Hosts      []string
	Paths      []string
	Weight     int    // of turns, or of requests at once, against other workers'; 1 to MaxWeight, 0 for 1
	Balance    string // how workers of the same host and path are chosen: "round-robin" or "least"; default: as the router says
	Sticky     string // by which key of theirs requests are kept on one worker each, as in "cookie:session; issue"; default: as the router says
	Tags       map[string]string

	// Announced changes these while the worker runs, once its Replace was called. Default: they stay.
	Announced *Announcement

	// OnJoin is called each time a router has taken what this worker announces, with the router's endpoint. It must not block. Default: nothing.
	OnJoin func(router string)

	// OnRefuse is called each time a router refuses what this worker announces, with the reason. What that router took before over the same
	// connection, or the last one, stays in force; if that is nothing, or not allowed any more, it sends no requests. It must not block. Default: nothing.
	OnRefuse func(router, why string)

	// Logger gets one record for each change of a link's state, each panic and each misuse of a ResponseWriter. Default: none.
	Logger *slog.Logger

	// Dial connects to a router's endpoint. Default: TCP and Unix sockets as the endpoint says. With a Dial of one's own,
	// endpoints may have any form.
	Dial func(ctx context.Context, endpoint string) (net.Conn, error)

	// ReadWindow is how many bytes of a request's body, or of an upgraded connection, may wait unread here once the handler has begun to read
	// it; before, it is the router's first window of 64 KiB, which is the least. Default: DefaultReadWindow.
	ReadWindow int
}

// Run keeps one link to each router, and serves, until ctx ends. It redials links that fail for ever. When ctx ends
// it tells the routers, lets running requests go on for Grace, and returns nil after their handlers have returned and upgraded
// connections have ended; if some have not a second after their contexts ended too, the error names their requests. Bad fields are an error at once.
func (w *Worker) Run(ctx context.Context) error {
	p, err := newPool(ctx, *w)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// withDefaults fills in zero values and checks the others.
func (w Worker) withDefaults() (Worker, error) {
	if w.Handler == nil {
		return w, errors.New("worker: Handler is nil: set what shall answer requests")
	}
	if w.Name == "" {
		w.Name = DefaultName()
	} else if !validName(w.Name) {
		return w, fmt.Errorf("worker: Name %q: use 1 to 128 letters, digits, '.', '_' and '-'", w.Name)
	}
	if len(w.Routers) == 0 {
		w.Routers = []string{DefaultRouter}
	}
	for i, endpoint := range w.Routers {
		if slices.Contains(w.Routers[:i], endpoint) {
			return w, fmt.Errorf("worker: Routers: %q stands there twice: a worker keeps one link to each router", endpoint)
		}
		if w.Dial == nil {
			if _, err := zmtp.IsLoopback(endpoint); err != nil {
				return w, fmt.Errorf("worker: Routers: %w", err)
			}
		}
	}
	_, unstuck := frame.ParseSticky(w.Sticky)
	switch {
	case w.Concurrency < 0:
		return w, fmt.Errorf("worker: Concurrency %d: use 1 or more, or 0 for %d", w.Concurrency, DefaultConcurrency)
	case w.Weight < 0 || w.Weight > MaxWeight:
		return w, fmt.Errorf("worker: Weight %d: use 1 to %d, or 0 for 1", w.Weight, MaxWeight)
	case w.Balance != "" && w.Balance != "round-robin" && w.Balance != "least":
		return w, fmt.Errorf("worker: Balance %q: use round-robin or least, or leave it to the router", w.Balance)
	case unstuck != nil:
		return w, fmt.Errorf("worker: Sticky %q: %w", w.Sticky, unstuck)
	case w.ReadWindow < 0:
		return w, fmt.Errorf("worker: ReadWindow %d: use 0 or more bytes, 0 for %d", w.ReadWindow, DefaultReadWindow)
	}
	w.Concurrency = orDefault(w.Concurrency, DefaultConcurrency)
	w.Grace = orDefault(w.Grace, DefaultGrace)
	w.ReadWindow = orDefault(w.ReadWindow, DefaultReadWindow)
	if w.Logger == nil {
		w.Logger = slog.New(slog.DiscardHandler)
	}
	if w.Dial == nil {
		w.Dial = zmtp.Dial
	}
	return w, nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

const maxName = 128

func validName(s string) bool {
	return len(s) >= 1 && len(s) <= maxName && strings.IndexFunc(s, notInName) < 0
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
}

// DefaultName is what a worker is called that has no Name: a valid name, whatever the host is called.
func DefaultName() string {
	host, _ := os.Hostname()
	host = strings.Map(func(r rune) rune {
		if notInName(r) {
			return '-'
		}
		return r
	}, host)
	if host == "" {
		host = "worker"
	}
	return fmt.Sprintf("%.100s-%d", host, os.Getpid())
}

// join is what a link announces; the connection's number is to be filled in.
func (w *Worker) join(instance string) (frame.JoinInfo, error) {
	j := frame.JoinInfo{
		Protocol:    frame.Protocol,
		Instance:    instance,
		Name:        w.Name,
		Concurrency: uint64((w.Concurrency + len(w.Routers) - 1) / len(w.Routers)),
		Service:     w.Service,
		Hosts:       w.Hosts,
		Paths:       w.Paths,
		Weight:      uint64(w.Weight),
		Balance:     w.Balance,
		Sticky:      w.Sticky,
		AppVersion:  w.AppVersion,
		Zone:        w.Zone,
		Tags:        w.Tags,
		Token:       w.Token,
	}
	widest := j // whatever numbers come in
	widest.Connection, widest.Concurrency = frame.MaxNumber, frame.MaxNumber
	if n := len(frame.AppendJoin(nil, widest)); n > frame.MaxHead {
		return j, fmt.Errorf("worker: what is announced (Hosts, Paths, Tags and the rest) takes %d bytes, at most %d fit: shorten it", n, frame.MaxHead)
	}
	return j, nil
}
