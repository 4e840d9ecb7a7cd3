package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/dialmux/dialmux/worker"
)

// runWorkers serves the bodies to the router at endpoint until ctx ends, as so many workers. slots 0 is the SDK's default.
func runWorkers(ctx context.Context, endpoint string, count, slots int) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range count {
		w := worker.Worker{
			Name: fmt.Sprintf("bench-%d", i), Routers: []string{endpoint}, Handler: handler,
			Concurrency: slots, Grace: -1, // slow clients never end
		}
		group.Go(func() error { return w.Run(ctx) })
	}
	return group.Wait()
}
