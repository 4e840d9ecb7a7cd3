package router

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// stuck is a log that takes nothing, such as a pipe whose reader has stopped.
type stuck struct {
	slog.Handler
	until chan struct{}
}

func (s stuck) Enabled(context.Context, slog.Level) bool { return true }

func (s stuck) Handle(context.Context, slog.Record) error {
	<-s.until
	return nil
}

// The line that a worker is set aside may wait; nobody waits for it who wants a worker.
func TestALogThatIsStuckHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		r := &Router{log: slog.New(stuck{slog.DiscardHandler, until})}
		q := newPool(&Config{QueueLimit: 1, QueueWait: time.Second, Forget: time.Hour, MaxFailures: 1})
		for i := range 2 {
			p := &peer{conn: new(zmtp.Conn), r: r}
			p.show(fmt.Sprint("w", i))
			q.add(p)
			if _, err := q.join(p, frame.JoinInfo{Name: p.name(), Concurrency: 1}, everything); err != nil {
				t.Fatal(err)
			}
		}
		go q.failed(q.snapshot()[0])
		synctest.Wait()
		if !q.mu.TryLock() {
			t.Error("the pool is locked while the line waits")
		} else {
			q.mu.Unlock()
		}
		close(until)
		time.Sleep(time.Minute) // it is tried again
	})
}
