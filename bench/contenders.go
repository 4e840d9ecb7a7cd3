package main

import (
	"context"
	"fmt"
	"regexp"
)

// A contender is a proxy with its backend. To measure another one, add it here and to a section.
type contender struct {
	name  string
	start func(ctx context.Context, s *stage) (running, error)
}

// running is a contender that has been started: where requests go, and which process trees their cost is charged to.
type running struct {
	address        string
	proxy, backend *process
	intact         func(ctx context.Context) error // asked after each turn, if there is something to ask
}

const (
	sidecar   = "sidecar -> nginx"
	dialmux   = "Dialmux -> Go worker"
	nginx     = "nginx -> nginx"
	nginxGo   = "nginx -> Go net/http"
	haproxy   = "HAProxy -> nginx"
	caddy     = "Caddy -> nginx"
	mongrel2  = "Mongrel2 -> libzmq handler"
	pushpin   = "Pushpin -> libzmq REP"
	twoCores  = "Dialmux on 2 cores"
	manySlots = "Dialmux with 4,096 slots"
	tenServe  = "Dialmux, 10 workers"
	idleCrowd = "Dialmux, 10 workers and 990 idle"
	allServe  = "Dialmux, 1,000 workers"
)

// Each proxy and each backend gets one thread to run on, so that CPU time is compared and not scheduling.
var contenders = []contender{
	{dialmux, startDialmux(crew{})},
	{sidecar, startSidecar},
	{nginx, startNginx},
	{nginxGo, startNginxBeforeGo},
	{haproxy, startHAProxy},
	{caddy, startCaddy},
	{mongrel2, startMongrel2},
	{pushpin, startPushpin},
	{twoCores, startDialmux(crew{cores: 2})},
	{manySlots, startDialmux(crew{workers: 4, slots: 1024})}, // slow clients hold a slot each
	{tenServe, startDialmux(crew{workers: 10})},
	{idleCrowd, startDialmux(crew{workers: 10, standby: 990})},
	{allServe, startDialmux(crew{workers: 1000})},
}

// choose keeps the contenders whose name matches the expression.
func choose(all []contender, expression string) (map[string]contender, error) {
	match, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	chosen := map[string]contender{}
	for _, c := range all {
		if match.MatchString(c.name) {
			chosen[c.name] = c
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-only %s: no contender has such a name", expression)
	}
	return chosen, nil
}

// startBefore starts a backend, and a proxy before it.
func startBefore(ctx context.Context,
	backend func(ctx context.Context) (*process, string, error),
	proxy func(ctx context.Context, backend string) (*process, string, error),
) (running, error) {
	behind, address, err := backend(ctx)
	if err != nil {
		return running{}, err
	}
	before, address, err := proxy(ctx, address)
	return running{address: address, proxy: before, backend: behind}, err
}
