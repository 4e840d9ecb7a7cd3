package main

import (
	"context"
	"fmt"
	"time"
)

// A load is what a contender is put under for a turn. The duration is the plan's.
type load struct {
	name string
	run  runner
}

type runner = func(ctx context.Context, s *stage, on running, duration time.Duration) (turn, error)

// A turn is what one load on one contender cost.
type turn struct {
	proxy, backend float64 // CPU, microseconds a request
	p50, p99       time.Duration
	rate           float64 // requests a second
	idle           float64 // bytes of memory of the proxy for each idle client; only the load that measures it sets it
}

func (t turn) both() float64 { return t.proxy + t.backend }

const manyConnections = 64

var (
	many      = load{"64 conn.", requests("/", manyConnections)}
	single    = load{"1 conn.", halved(requests("/", 1))}
	many16k   = load{"64 conn., 16 KiB", requests(body16k.path, manyConnections)}
	many1m    = load{"64 conn., 1 MiB", requests(body1m.path, manyConnections)}
	amongSlow = load{fmt.Sprintf("64 conn. and %d slow", slowClients), amongSlowClients}
	events    = load{"events", halved(readEvents)}
	idle      = load{fmt.Sprintf("%d idle conn.", idleClients), idleMemory}
)

// requests is wrk: each connection is kept alive and asks for the path again as soon as it has its answer.
func requests(path string, connections int) runner {
	return func(ctx context.Context, s *stage, on running, duration time.Duration) (turn, error) {
		proxyBefore, backendBefore, err := on.cpu()
		if err != nil {
			return turn{}, err
		}
		done, err := s.wrk(ctx, on.address+path, connections, duration)
		switch {
		case ctx.Err() != nil:
			return turn{}, err
		case err != nil:
			return turn{}, fmt.Errorf("%w\n%s", err, on.proxy.printed())
		}
		proxyAfter, backendAfter, err := on.cpu()
		if err != nil {
			return turn{}, err
		}
		each := func(cpu time.Duration) float64 { return float64(cpu.Microseconds()) / float64(done.Requests) }
		return turn{
			proxy:   each(proxyAfter - proxyBefore),
			backend: each(backendAfter - backendBefore),
			p50:     time.Duration(done.P50) * time.Microsecond,
			p99:     time.Duration(done.P99) * time.Microsecond,
			rate:    float64(done.Requests) / (time.Duration(done.Duration) * time.Microsecond).Seconds(),
		}, nil
	}
}

func halved(run runner) runner {
	return func(ctx context.Context, s *stage, on running, duration time.Duration) (turn, error) {
		return run(ctx, s, on, max(duration/2, time.Second))
	}
}

// cpu is what the proxy and the backend have used so far.
func (r running) cpu() (proxy, backend time.Duration, err error) {
	if proxy, err = treeCPU(r.proxy.cmd.Process.Pid); err != nil {
		return 0, 0, fmt.Errorf("%s: %w\n%s", r.proxy.name, err, r.proxy.printed())
	}
	if backend, err = treeCPU(r.backend.cmd.Process.Pid); err != nil {
		return 0, 0, fmt.Errorf("%s: %w\n%s", r.backend.name, err, r.backend.printed())
	}
	return proxy, backend, nil
}
