package testpipe

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

const backlog = 1024

// Listener is a net.Listener that only Dial reaches.
type Listener struct {
	waiting chan net.Conn
	done    chan struct{}

	mu     sync.Mutex
	dialed int
	closed bool
}

// NewListener returns an open Listener.
func NewListener() *Listener {
	return &Listener{waiting: make(chan net.Conn, backlog), done: make(chan struct{})}
}

// Dial connects. Like TCP's it does not wait for Accept; the error is syscall.ECONNREFUSED once the listener is
// closed, or while 1,024 connections wait.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting) == cap(l.waiting) {
		return nil, syscall.ECONNREFUSED
	}
	l.dialed++
	a, b := newPair(DefaultSize, addr(fmt.Sprintf("pipe:%d", l.dialed)), "pipe:listener")
	l.waiting <- b
	return a, nil
}

// Accept waits for a Dial.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	case nc := <-l.waiting:
		return nc, nil
	}
}

// Close refuses what waits and what comes.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case nc := <-l.waiting:
			_ = nc.Close()
		default:
			return nil
		}
	}
}

// Addr is "listener" on the network "pipe".
func (l *Listener) Addr() net.Addr { return addr("pipe:listener") }
