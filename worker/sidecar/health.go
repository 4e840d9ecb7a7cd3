package sidecar

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dialmux/dialmux/worker"
)

// maxHealth is the most that is read of an answer to a check.
const maxHealth = 1 << 20

// Check asks the app once whether it is healthy, and returns why it is not.
func (a *App) Check(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, a.options.Timeout)
	defer cancel()
	end, _ := limited.Deadline()
	waiting := a.idle.await(min(turn, a.options.Timeout/2))
	err := a.probe(limited)
	if waiting.end(); err != nil { // they may be what holds the app
		a.closeIdle()
	}
	early := time.Now().Before(end)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case early && isTimeout(err):
		return noAnswer(err.Error())
	case early:
		return err
	case a.options.Health == "":
		return noAnswer(fmt.Sprintf("no connection within %v", a.options.Timeout))
	}
	return noAnswer(fmt.Sprintf("%s: no answer within %v", a.options.Health, a.options.Timeout))
}

// noAnswer is why an app is not healthy that has not said no: it hangs, or has a lot to do.
type noAnswer string

func (e noAnswer) Error() string { return string(e) }

func isNoAnswer(err error) bool {
	_, silent := errors.AsType[noAnswer](err)
	return silent
}

// isTimeout tells that nobody answers, or that too many wait already: of a Unix socket that is known at once.
func isTimeout(err error) bool {
	timed, ok := errors.AsType[net.Error](err)
	return ok && timed.Timeout()
}

func (a *App) probe(ctx context.Context) error {
	if a.options.Health == "" {
		nc, err := a.dial(ctx)
		if err == nil {
			_ = nc.Close()
		}
		return err
	}
	q := request{Request: (&http.Request{Method: http.MethodGet, Host: a.host, Header: http.Header{"User-Agent": {"dialmux-health"}}}).WithContext(ctx), target: a.options.Health}
	if a.h2 != nil {
		return a.judge(a.askHTTP2(ctx, &q))
	}
	nc, err := a.dial(ctx) // a connection of its own
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
	if _, err := nc.Write(q.appendHead(nil, a.host)); err != nil {
		return err
	}
	return a.judge(http.ReadResponse(bufio.NewReader(&conn{Conn: nc, limit: maxHead + maxHealth}), q.Request))
}

// judge reads the answer to a check: an app is not to be broken off amid it.
func (a *App) judge(res *http.Response, err error) error {
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxHealth)
	_ = res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("%s answers with status %d", a.options.Health, res.StatusCode)
	}
	return nil
}

// hear notes that the app has answered a request.
func (a *App) hear(status int) {
	if status < http.StatusInternalServerError {
		a.heard.Store(int64(time.Since(a.made)))
	}
}

// heardWithin tells whether it did so in the last d.
func (a *App) heardWithin(d time.Duration) bool {
	heard := time.Duration(a.heard.Load())
	return heard > 0 && time.Since(a.made)-heard < d
}

// Run serves as w, whose Handler is a, while the app is healthy: its first worker dials when the app answers, one leaves when it does not, and
// another dials when it does again. A connection that the app refuses counts as all failures at once. Run returns when ctx has ended and the last
// worker has, with w's error.
func (a *App) Run(ctx context.Context, w worker.Worker) error {
	w.Handler = a
	ended, end := context.WithCancel(ctx)
	end()
	if err := w.Run(ended); err != nil { // its fields are wrong
		return err
	}
	defer a.Close()
	var serving sync.WaitGroup
	var mu sync.Mutex
	var errs error
	for a.awaitUp(ctx) {
		a.log.Info("the app is healthy", "app", a.target)
		a.idle.anew() // of what was there before it came
		a.waiting.well()
		up, withdraw := context.WithCancel(ctx)
		serving.Go(func() {
			if err := w.Run(up); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = errors.Join(errs, err)
			}
		})
		why := a.awaitDown(ctx)
		if why != nil {
			a.log.Warn("the app is not healthy: the worker leaves until it is", "app", a.target, "why", why)
		}
		withdraw()
		if isNoAnswer(why) { // one that says no may well have answers to give
			a.waiting.hang()
		}
	}
	serving.Wait()
	return errs
}

// awaitUp returns true once the app is healthy. It asks often at first: an app that is started again is soon there.
func (a *App) awaitUp(ctx context.Context) bool {
	pause, good := 50*time.Millisecond, 0
	var told string
	for ctx.Err() == nil {
		err := a.Check(ctx)
		switch {
		case err == nil:
			if good++; good >= a.options.Up {
				return ctx.Err() == nil
			}
		case ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			a.log.Info("waiting for the app", "app", a.target, "why", err)
			fallthrough
		default:
			good = 0
		}
		sleep(ctx, pause)
		pause = min(2*pause, a.options.Interval)
	}
	return false
}

// awaitDown returns why the app is not healthy any more, nil when ctx has ended.
func (a *App) awaitDown(ctx context.Context) error {
	select { // a refusal from before it came back
	case <-a.refusing:
	default:
	}
	pause := time.NewTimer(a.options.Interval)
	defer pause.Stop()
	for bad := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-a.refusing:
			return errors.New("it refuses connections")
		case <-pause.C:
		}
		a.idle.sweep()
		begin, next := time.Now(), a.options.Interval
		err := a.Check(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			bad = 0
		case isNoAnswer(err) && a.heardWithin(a.options.Interval): // it has a lot to do
			bad, next = 0, next/2
		default:
			next /= 2
			if bad++; bad >= a.options.Down {
				return err
			}
		}
		pause.Reset(next - time.Since(begin))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
