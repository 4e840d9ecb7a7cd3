package main

import (
	"net"
	"sync"
	"sync/atomic"
)

// relay stands between a worker and a router's worker port. It can cut the
// paths that are open, so that neither end hears anything of the other ever
// again, and hold all paths, which deliver late what was said meanwhile.
type relay struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex
	paths  map[*path]struct{}
	held   chan struct{} // closed: nothing is held
	closed bool
}

type path struct {
	near, far net.Conn
	cut       atomic.Bool
}

func (p *path) close() { _, _ = p.near.Close(), p.far.Close() }

func startRelay(target string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, target: target, paths: map[*path]struct{}{}, held: make(chan struct{})}
	close(r.held)
	r.running.Go(r.accept)
	return r, nil
}

func (r *relay) endpoint() string { return "tcp://" + r.listener.Addr().String() }

func (r *relay) close() {
	_ = r.listener.Close()
	r.heal()
	r.mu.Lock()
	r.closed = true
	for p := range r.paths {
		p.close()
	}
	r.mu.Unlock()
	r.running.Wait()
}

// halve makes each path that is open half-open; those after are whole.
func (r *relay) halve() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.paths {
		p.cut.Store(true)
	}
}

// hold stops all paths, and those to come, until heal.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = make(chan struct{})
}

func (r *relay) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.held:
	default:
		close(r.held)
	}
}

func (r *relay) healed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p := &path{near: near, far: far}
		r.mu.Lock()
		r.paths[p] = struct{}{}
		if r.closed {
			p.close()
		}
		r.mu.Unlock()
		r.running.Go(func() {
			var back sync.WaitGroup
			back.Go(func() { r.pass(p, near, far) })
			r.pass(p, far, near)
			back.Wait()
			p.close()
			r.mu.Lock()
			delete(r.paths, p)
			r.mu.Unlock()
		})
	}
}

func (r *relay) pass(p *path, to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		<-r.healed()
		if p.cut.Load() {
			if err != nil {
				return // and the other end is not told
			}
			continue
		}
		if err != nil {
			_ = to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			_ = from.Close()
			return
		}
	}
}
