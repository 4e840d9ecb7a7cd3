package main

import (
	"fmt"
	"regexp"
	"time"
)

// A section is measured with its contenders side by side and in turn, and ended before the next one begins.
type section struct {
	name    string
	entries []entry
	fresh   bool // contenders are started anew for each round
}

// An entry is a contender under a load.
type entry struct {
	contender string
	load      load
}

// sections is everything that is measured.
var sections = []section{
	{name: "requests", entries: cross([]string{nginx, nginxGo, haproxy, caddy, mongrel2, pushpin, dialmux}, many, single)},
	{name: "bodies", entries: cross([]string{nginx, dialmux}, many16k, many1m)},
	{name: "sidecar", entries: cross([]string{nginx, sidecar}, many)},
	{name: "cores", entries: cross([]string{dialmux, twoCores}, many)},
	{name: "workers", entries: cross([]string{tenServe, idleCrowd, allServe}, many)},
	{name: "slow", entries: cross([]string{manySlots}, many, amongSlow)},
	{name: "events", entries: cross([]string{dialmux}, events)},
	{name: "idle", entries: cross([]string{dialmux}, idle), fresh: true},
}

func cross(contenders []string, loads ...load) []entry {
	var all []entry
	for _, c := range contenders {
		for _, l := range loads {
			all = append(all, entry{c, l})
		}
	}
	return all
}

// A target is a figure of one entry of a section, over the same of another entry in the same round if there is another.
type target struct {
	what    string
	section string
	of, to  entry
	figure  figure
	bound   bound
}

type bound struct {
	limit   float64
	atLeast bool // else at most
}

func atMost(limit float64) bound  { return bound{limit: limit} }
func atLeast(limit float64) bound { return bound{limit: limit, atLeast: true} }

func (b bound) String() string {
	if b.atLeast {
		return fmt.Sprintf(">= %v", b.limit)
	}
	return fmt.Sprintf("<= %v", b.limit)
}

func (b bound) holds(value float64) bool {
	if b.atLeast {
		return value >= b.limit
	}
	return value <= b.limit
}

// A figure is what is taken from a turn, and how it is written.
type figure struct {
	of   func(turn) float64
	unit string
}

var (
	proxyCPU  = figure{func(t turn) float64 { return t.proxy }, "µs"}
	bothCPU   = figure{turn.both, "µs"}
	p50       = figure{func(t turn) float64 { return float64(t.p50) / float64(time.Millisecond) }, "ms"}
	p99       = figure{func(t turn) float64 { return float64(t.p99) / float64(time.Millisecond) }, "ms"}
	perSecond = figure{func(t turn) float64 { return 1e3 / t.proxy }, "k/s"}
	idleKiB   = figure{func(t turn) float64 { return t.idle / 1024 }, "KiB"}
)

// perCPU is how many bytes of bodies of a size a second of the proxy's CPU carries.
func perCPU(b body) figure {
	return figure{func(t turn) float64 { return float64(b.size) / t.proxy }, "MB/s"}
}

var targets = []target{
	{"CPU, router / nginx", "requests", entry{dialmux, many}, entry{nginx, many}, proxyCPU, atMost(0.75)},
	{"CPU, router / HAProxy", "requests", entry{dialmux, many}, entry{haproxy, many}, proxyCPU, atMost(0.7)},
	{"CPU, router / Caddy", "requests", entry{dialmux, many}, entry{caddy, many}, proxyCPU, atMost(0.2)},
	{"CPU, router / Mongrel2", "requests", entry{dialmux, many}, entry{mongrel2, many}, proxyCPU, atMost(0.5)},
	{"CPU, router / Pushpin", "requests", entry{dialmux, many}, entry{pushpin, many}, proxyCPU, atMost(0.1)},
	{"CPU, router + Go worker / nginx + Go net/http", "requests", entry{dialmux, many}, entry{nginxGo, many}, bothCPU, atMost(0.55)},
	{"p50 at one connection, router / nginx", "requests", entry{dialmux, single}, entry{nginx, single}, p50, atMost(1.3)},
	{"bytes per CPU second, 16 KiB responses, router / nginx", "bodies", entry{dialmux, many16k}, entry{nginx, many16k}, perCPU(body16k), atLeast(0.8)},
	{"bytes per CPU second, 1 MiB responses, router / nginx", "bodies", entry{dialmux, many1m}, entry{nginx, many1m}, perCPU(body1m), atLeast(1)},
	{"CPU, sidecar / nginx", "sidecar", entry{sidecar, many}, entry{nginx, many}, proxyCPU, atMost(1.5)},
	{"a server-sent event, from the worker's Write to the client", "events", entry{dialmux, events}, entry{}, p50, atMost(5)},
	{"memory per idle keep-alive client", "idle", entry{dialmux, idle}, entry{}, idleKiB, atMost(10)},
	{"requests per CPU second, 2 cores / 1", "cores", entry{twoCores, many}, entry{dialmux, many}, perSecond, atLeast(0.85)},
	{"CPU, 1,000 workers in turn / 10", "workers", entry{allServe, many}, entry{tenServe, many}, proxyCPU, atMost(1.15)},
	{"CPU, 10 workers and 990 idle / 10", "workers", entry{idleCrowd, many}, entry{tenServe, many}, proxyCPU, atMost(1.15)},
	{"p99 beside 2,000 slow clients / without", "slow", entry{manySlots, amongSlow}, entry{manySlots, many}, p99, atMost(2)},
}

// chooseSections keeps the sections whose name matches the expression, each with the entries of chosen contenders.
func chooseSections(all []section, expression string, contenders map[string]contender) ([]section, error) {
	match, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("-sections: %w", err)
	}
	var chosen []section
	for _, s := range all {
		if !match.MatchString(s.name) {
			continue
		}
		var entries []entry
		for _, e := range s.entries {
			if _, ok := contenders[e.contender]; ok {
				entries = append(entries, e)
			}
		}
		if s.entries = entries; len(entries) > 0 {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-sections %s: there is no such section with a contender that -only keeps", expression)
	}
	return chosen, nil
}
