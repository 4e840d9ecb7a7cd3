package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

const (
	dialTimeout = 5 * time.Second
	firstRetry  = 200 * time.Millisecond
	lastRetry   = time.Second
)

// link keeps a worker connected to one router.
type link struct {
	pool     *pool
	endpoint string
	log      *slog.Logger

	// Owned by run.
	told state // what the log said last

	mu       sync.Mutex
	join     *frame.JoinInfo // but for the connection's number; not changed, but replaced
	said     *frame.JoinInfo // what it was made of, if it was replaced
	taken    *frame.JoinInfo // what the router took last
	refused  *frame.JoinInfo // what it refused since
	draining bool
	session  *session // nil while there is no connection
}

// state is a link's, as far as a log's reader is concerned.
type state struct {
	name   string
	reason string // of being parked or leaving: another one is news
}

const (
	down    = "down"
	joined  = "joined"
	parked  = "parked"
	leaving = "leaving"
)

func newLink(p *pool, endpoint string, join frame.JoinInfo) *link {
	return &link{pool: p, endpoint: endpoint, join: &join, log: p.Logger.With("router", endpoint)}
}

// run connects, serves and connects again until ctx ends. While connections last it ends after drain.
func (l *link) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		start := time.Now()
		served, err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if served && time.Since(start) > lastRetry { // a router that drops each link at once is not hammered
			retry = firstRetry
		}
		if l.told.name != parked {
			l.tell(state{name: down}, slog.LevelWarn, "no link to the router, redialling until there is one", "reason", err)
		}
		pause := time.NewTimer(jitter(retry))
		retry = min(2*retry, lastRetry)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// jitter spreads the workers of a router that restarts over three quarters of d.
func jitter(d time.Duration) time.Duration { return d/4 + rand.N(d-d/4) }

// connect runs one connection to its end, and reports whether the worker had joined and was not turned away.
func (l *link) connect(ctx context.Context) (served bool, err error) {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	nc, err := l.pool.Dial(dialing, l.endpoint)
	cancel()
	if err != nil {
		return false, err
	}
	s := newSession(l, nc)
	if !l.use(s) {
		_ = nc.Close()
		return false, errDraining
	}
	defer l.use(nil)
	conn, err := zmtp.Connect(nc, zmtp.Options{OnDrain: s.drained, OnPong: s.answered})
	if err != nil {
		return false, err
	}
	return s.run(conn)
}

// use makes s the link's session, unless the link drains.
func (l *link) use(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	return !l.draining
}

func (l *link) current() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

// replace has the link say something else from the next JOIN on; nil: as before.
func (l *link) replace(said *frame.JoinInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if said == nil || said == l.said {
		return
	}
	l.said = said
	join := *said
	join.Instance, join.Concurrency = l.join.Instance, l.join.Concurrency
	l.join = &join
}

// says is what the link's next JOIN is, and if the router has refused that, what it took before.
func (l *link) says() (now, taken *frame.JoinInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.join == l.refused {
		taken = l.taken
	}
	return l.join, taken
}

// judged notes what became of a JOIN.
func (l *link) judged(join *frame.JoinInfo, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !refused:
		if l.taken = join; l.refused == join {
			l.refused = nil
		}
	case l.taken == join:
		l.taken = nil
	default:
		l.refused = join
	}
}

// announce tells the router what has been replaced.
func (l *link) announce() {
	if s := l.current(); s != nil {
		s.announce()
	}
}

// drain lets what runs finish and then ends the link. run's context must have ended.
func (l *link) drain() {
	l.mu.Lock()
	l.draining = true
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.drain()
	}
}

// abort ends the contexts of the link's requests.
func (l *link) abort(cause error) {
	if s := l.current(); s != nil {
		s.abort(cause)
	}
}

// close ends the link at once.
func (l *link) close() {
	if s := l.current(); s != nil {
		s.close()
	}
}

// tell logs a change of state, once.
func (l *link) tell(now state, level slog.Level, msg string, args ...any) {
	if now == l.told {
		return
	}
	l.told = now
	l.log.Log(context.Background(), level, msg, args...)
}

var (
	errDraining  = errors.New("worker: draining")
	errNoWelcome = fmt.Errorf("worker: connected, but no WELCOME came within %v: is this the worker port of a Dialmux router?", welcomeTimeout)
	errGone      = fmt.Errorf("worker: the router is gone: %w", context.Canceled)
	errVoid      = fmt.Errorf("worker: the router began anew: %w", context.Canceled)
	errGrace     = fmt.Errorf("worker: the time to finish is over: %w", context.Canceled)
	errTruncated = fmt.Errorf("worker: the request's body broke off: %w", io.ErrUnexpectedEOF)
)
