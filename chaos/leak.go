package main

import (
	"context"
	"fmt"
	"time"

	"github.com/dialmux/dialmux/router"
)

// What a router may have more of at the end than at its beginning: the runtime's own
// goroutines come and go, and caches of what is used all the time stay.
const (
	spareGoroutines = 4
	spareHeap       = 2 << 20
)

// rest is what an idle router is made of.
type rest struct {
	router.RuntimeStatus
	streams int
}

func (r *routerProcess) rest() (now rest, err error) {
	var table router.StreamTable
	if err = r.ask("/streams", &table); err == nil {
		now.streams = table.Waiting + table.Open + table.Done
		err = r.ask("/runtime", &now.RuntimeStatus)
	}
	return now, err
}

// leak compares a router with what it was before. The line says both.
func (r *routerProcess) leak(ctx context.Context, before rest) (line string, err error) {
	var now rest
	began := time.Now()
	err = r.await(ctx, time.Minute, func() (err error) {
		if now, err = r.rest(); err != nil {
			return err
		}
		switch {
		case now.streams > 0:
			return fmt.Errorf("router %s: %d streams are left", r.name, now.streams)
		case now.Goroutines > before.Goroutines+spareGoroutines:
			return fmt.Errorf("router %s: %d goroutines, %d before", r.name, now.Goroutines, before.Goroutines)
		case now.HeapLive > before.HeapLive+spareHeap:
			return fmt.Errorf("router %s: %d bytes of live heap, %d before", r.name, now.HeapLive, before.HeapLive)
		}
		return nil
	})
	return fmt.Sprintf("router %s: %d streams, %d goroutines (%d before), %d KiB of live heap (%d before), at rest after %v",
		r.name, now.streams, now.Goroutines, before.Goroutines, now.HeapLive>>10, before.HeapLive>>10, time.Since(began).Round(10*time.Millisecond)), err
}
