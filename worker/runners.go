package worker

import "sync"

// maxParked is how many goroutines wait for the next requests: as many as DefaultConcurrency runs at once.
const maxParked = DefaultConcurrency

// runners are the goroutines that run handlers. They are used again, since a new one would grow its stack anew for each
// request, and one that has run a handler takes the next request itself, which costs no switch to another.
//
// No request waits for another's handler: while the queue is not empty, a runner has been told to look, and whoever takes a
// request and leaves others tells the next runner.
type runners struct {
	all sync.WaitGroup

	mu     sync.Mutex
	queue  []*exchange // queue[first:] wait
	first  int
	told   bool            // a runner has been told to look, and has not yet
	parked []chan struct{} // of those that wait, the latest last: its stack is warm
	closed bool            // those that find nothing to do end
}

// serve has a runner serve x.
func (r *runners) serve(x *exchange) {
	r.mu.Lock()
	if r.first > len(r.queue)/2 && len(r.queue) == cap(r.queue) {
		n := copy(r.queue, r.queue[r.first:])
		clear(r.queue[n:])
		r.queue, r.first = r.queue[:n], 0
	}
	r.queue = append(r.queue, x)
	r.tell()
}

// tell tells a runner to look, if none has been told. r.mu is held, and given up.
func (r *runners) tell() {
	if r.told || r.first == len(r.queue) {
		r.mu.Unlock()
		return
	}
	r.told = true
	last := len(r.parked) - 1
	if last < 0 {
		r.mu.Unlock()
		r.all.Go(r.run)
		return
	}
	wake := r.parked[last]
	r.parked = r.parked[:last]
	r.mu.Unlock()
	wake <- struct{}{}
}

// run is a runner's goroutine, which has been told to look. A handler may end it by Goexit: nothing is owed then.
func (r *runners) run() {
	wake := make(chan struct{}, 1)
	r.mu.Lock()
	r.told = false
	for {
		if x := r.take(); x != nil {
			r.tell()
			x.serve()
			r.mu.Lock()
			continue
		}
		if r.closed || len(r.parked) == maxParked {
			r.mu.Unlock()
			return
		}
		r.parked = append(r.parked, wake)
		r.mu.Unlock()
		<-wake
		r.mu.Lock()
		r.told = false
	}
}

// take returns the request that has waited longest, nil if there is none. r.mu is held.
func (r *runners) take() *exchange {
	if r.first == len(r.queue) {
		return nil
	}
	x := r.queue[r.first]
	r.queue[r.first] = nil
	if r.first++; r.first == len(r.queue) {
		r.queue, r.first = r.queue[:0], 0
	}
	return x
}

// close ends the runners when they have served what they serve; all is to be waited for.
func (r *runners) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, wake := range r.parked {
		wake <- struct{}{}
	}
	r.parked = nil
}
