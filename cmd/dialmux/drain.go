package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// echo is how soon after a signal another one is the same. timeout(1) and its like signal a process, and then the group that it is in:
// both come within microseconds, or some milliseconds if the sender waits for a processor. No hand presses Ctrl-C twice that fast.
const echo = 100 * time.Millisecond

// sayDrain says that this process drains once ctx, which is main's, has ended, and after echo calls heed and says that a second signal
// is heeded: until then ctx still swallows them. The function that it returns ends that.
func sayDrain(ctx context.Context, log *slog.Logger, limit time.Duration, heed func()) (end func()) {
	ended := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		select {
		case <-ctx.Done():
		case <-ended:
			if ctx.Err() == nil {
				return
			}
		}
		log.Info("draining", "reason", context.Cause(ctx).Error(), "at_most", max(limit, 0).String())
		timer := time.NewTimer(echo)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ended:
			return
		}
		heed()
		log.Info("still draining; a second signal ends it at once")
	})
	return func() {
		close(ended)
		saying.Wait()
	}
}

// endAtOnce has a signal do what it does to any program.
func endAtOnce() { signal.Reset(os.Interrupt, syscall.SIGTERM) }

// outliveHangups has SIGHUP, by which other proxies read their configuration again, be logged and nothing else. The function that it
// returns ends that.
func outliveHangups(log *slog.Logger) (end func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var saying sync.WaitGroup
	saying.Go(func() {
		for range hangups {
			log.Info("SIGHUP changes nothing: what may change in files is picked up without it, and flags want a restart (SIGTERM drains)")
		}
	})
	return func() {
		signal.Stop(hangups)
		close(hangups)
		saying.Wait()
	}
}
