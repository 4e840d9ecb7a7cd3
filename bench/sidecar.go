package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// startSidecar is dialmux worker --to before nginx. The router that hands it requests is not what is measured.
func startSidecar(ctx context.Context, s *stage) (running, error) {
	backend, app, err := s.nginxBackend(ctx)
	if err != nil {
		return running{}, err
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return running{}, err
	}
	listen, workers, admin := addresses[0], "tcp://"+addresses[1], addresses[2]
	router, err := s.launch(ctx, "dialmux", threads(1), s.bin.dialmux, "router", "--listen", listen, "--workers", workers, "--admin", admin)
	if err != nil {
		return running{}, err
	}
	proxy, err := s.launch(ctx, "sidecar", threads(1), s.bin.dialmux, "worker", "--router", workers, "--to", "http://"+app)
	if err != nil {
		return running{}, err
	}
	return running{address: listen, proxy: proxy, backend: backend}, router.await(ctx, func(ctx context.Context) error {
		text, err := get(ctx, "http://"+admin+"/workers")
		if err != nil {
			return err
		}
		var list []struct{ State string }
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return fmt.Errorf("the admin port's /workers: %w", err)
		}
		if len(list) == 0 || list[0].State != "ready" {
			return errors.New("the sidecar has not joined")
		}
		return nil
	})
}
