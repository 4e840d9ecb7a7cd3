package router

import "github.com/dialmux/dialmux/frame"

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
	// it, in a buffer that doubles; control frames.
	boundWorker = 4*(MaxGather+64<<10) + 512<<10
)

// MemoryBound is the most memory, in bytes, that peers can make the router and
// the ports of its clients hold. It follows from their limits; -1: one of these
// is off.
func (r *Router) MemoryBound(ports ...Port) int64 {
	bound := r.cfg.MaxMemory
	add := func(n int, each int64) {
		if bound += int64(n) * each; n < 0 {
			bound = -1 << 62
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
	return max(bound, -1)
}
