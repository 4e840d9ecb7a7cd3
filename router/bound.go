package router

import (
	"math"

	"github.com/dialmux/dialmux/frame"
)

// What each may make the router hold at most, in bytes: all its buffers, full at
// once, and stacks. The collector may need as much again before it has run.
const (
	// A connection: what HTTP/2 has read ahead of bodies, a head that is being
	// read, buffers both ways.
	boundConnection = http2Window + 128<<10
	// A request: its share of bodies, the piece of the answer in hand and the one
	// of its body; its head, and both in a worker's queue; the answer's head as it came and
	// as it goes; the goroutines of both directions.
	boundRequest = share + largeBlock + 16<<10 + frame.MaxHead + frame.MaxHead + queueShare + 2*frame.MaxHead + 64<<10
	// A worker: a message that is being read, of a REP's 8 MiB and what goes with
	// it, in a buffer that is a third larger, and the one of half its size that it
	// grew out of; control frames. A native worker's parts are of 1 MiB at most.
	boundWorker = (MaxGather+64<<10)/3*4 + MaxGather/2 + 512<<10
)

// MemoryBound is the most memory, in bytes, that peers can make the router and
// the ports of its clients hold. It follows from their limits; -1: one of these
// is off. What an int64 cannot hold is math.MaxInt64.
func (r *Router) MemoryBound(ports ...Port) int64 {
	bound, off := r.cfg.MaxMemory, false
	add := func(n int, each int64) {
		switch {
		case n < 0:
			off = true
		case int64(n) > (math.MaxInt64-bound)/each:
			bound = math.MaxInt64
		default:
			bound += int64(n) * each
		}
	}
	add(r.cfg.MaxRequests, boundRequest)
	add(r.cfg.MaxWorkers, boundWorker)
	for _, p := range ports {
		if p.MaxConnections == 0 {
			p.MaxConnections = DefaultMaxConnections
		}
		add(p.MaxConnections, boundConnection)
	}
	if off {
		return -1
	}
	return bound
}
