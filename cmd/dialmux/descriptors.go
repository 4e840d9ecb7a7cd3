package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/dialmux/dialmux/router"
)

// spared is how many descriptors are left to listeners, the admin port, files
// that are read, and clients that are being told that there are too many.
const spared = 64

// fit lowers the limits of connections where all of them would need more
// descriptors than there are, 0 being any number: else clients could leave none
// for workers and the admin port. Workers keep a quarter at most.
// What is returned logs it.
func (s *settings) fit(descriptors int) (say func(*slog.Logger)) {
	ports := 1
	if s.redirect != "" {
		ports = 2
	}
	clients, workers := s.port.MaxConnections, s.router.MaxWorkers
	room := max(descriptors-spared, descriptors/4)
	need := ports*clients + workers + spared
	if descriptors <= 0 || clients > 0 && workers > 0 && need <= descriptors {
		return func(*slog.Logger) {}
	}
	lower := func(limit *int, most int) {
		if *limit <= 0 || *limit > most {
			*limit = most
		}
	}
	lower(&s.router.MaxWorkers, max(room/4, 1))
	lower(&s.port.MaxConnections, max((room-s.router.MaxWorkers)/ports, 1))
	if clients <= 0 || workers <= 0 { // there was no limit to be kept
		return func(*slog.Logger) {}
	}
	level := slog.LevelWarn
	if clients == router.DefaultMaxConnections && workers == router.DefaultMaxWorkers { // nobody asked for so many
		level = slog.LevelInfo
	}
	return func(log *slog.Logger) {
		log.Log(context.Background(), level, "this process may open too few files for all connections: their limits are lowered", "files", descriptors,
			"max_connections", s.port.MaxConnections, "max_workers", s.router.MaxWorkers,
			"remedy", fmt.Sprintf("allow %d files (LimitNOFILE= in a systemd unit, ulimit -n in a shell), or set --max-connections and --max-workers", need))
	}
}
