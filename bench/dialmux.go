package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// A crew is how a router is run, and who dials in. Zero values are the defaults.
type crew struct {
	cores   int // of the router; 1
	workers int // that serve, all in one process of one thread; 1
	slots   int // of each worker; the SDK's default
	standby int // workers that are connected and take no requests
}

func startDialmux(c crew) func(ctx context.Context, s *stage) (running, error) {
	return func(ctx context.Context, s *stage) (running, error) { return s.dialmux(ctx, c) }
}

func (s *stage) dialmux(ctx context.Context, c crew) (running, error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return running{}, err
	}
	listen, workers, admin := addresses[0], "tcp://"+addresses[1], addresses[2]
	args := append([]string{"router", "--listen", listen, "--workers", workers, "--admin", admin}, s.bin.routerFlags...)
	proxy, err := s.launch(ctx, "dialmux", threads(max(c.cores, 1)), s.bin.dialmux, args...)
	if err != nil {
		return running{}, err
	}
	count := max(c.workers, 1)
	backend, err := s.launch(ctx, "worker", threads(1), s.bin.self, "worker", workers, strconv.Itoa(count), strconv.Itoa(c.slots))
	if err != nil {
		return running{}, err
	}
	if c.standby > 0 {
		if _, err := s.launch(ctx, "standby", threads(1), s.bin.self, "standby", workers, strconv.Itoa(c.standby)); err != nil {
			return running{}, err
		}
	}
	there := func(ctx context.Context) error { return crewIsThere(ctx, admin, count, c.standby) }
	return running{address: listen, proxy: proxy, backend: backend, intact: there}, proxy.await(ctx, there)
}

// crewIsThere asks the router's admin port who has joined.
func crewIsThere(ctx context.Context, admin string, workers, standby int) error {
	text, err := get(ctx, "http://"+admin+"/workers")
	if err != nil {
		return err
	}
	var list []struct{ State string }
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return fmt.Errorf("the admin port's /workers: %w", err)
	}
	draining, joined := 0, 0
	for _, w := range list {
		switch w.State {
		case "draining":
			draining++
		case "joining", "refused":
		default:
			joined++
		}
	}
	if joined != workers || draining != standby {
		return fmt.Errorf("%d workers serve and %d stand by, want %d and %d", joined, draining, workers, standby)
	}
	return nil
}
