package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dialmux/dialmux/router"
)

// bind listens on address, which flag says.
func bind(address, flag string) (*net.TCPListener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err == nil {
		return l.(*net.TCPListener), nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	remedy := "choose an address of this machine"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = "stop the program that holds it, or choose another"
	case errors.Is(err, os.ErrPermission):
		remedy = "choose a port above 1023"
	}
	return nil, fmt.Errorf("--%s: cannot listen on %s: %w; %s", flag, address, err, remedy)
}

const (
	// lastCall is how long nobody must have come before the listener closes.
	lastCall = 20 * time.Millisecond
	// lastCalls is when it closes though clients keep coming, if the kernel
	// cannot be told to refuse them.
	lastCalls = 250 * time.Millisecond
)

// listener is the HTTP port. It can be drained without failing a request that is
// on its way, where just closing it resets what waits to be accepted.
type listener struct {
	*net.TCPListener
	clients *router.Clients
	// shared says that a service manager keeps the port open: who waits there
	// is for the next process.
	shared bool
	// farewell is how long an idle connection is kept while the port drains: its
	// next request may be on the way.
	farewell time.Duration

	closing atomic.Pointer[time.Time] // when to give up; nil: not yet
	ended   chan struct{}             // closed when nothing is accepted any more
}

func newListener(l *net.TCPListener, c *router.Clients) *listener {
	return &listener{TCPListener: l, clients: c, farewell: 500 * time.Millisecond, ended: make(chan struct{})}
}

// listen makes a listener of a socket that was inherited, or else binds what
// flag says.
func listen(inherited *net.TCPListener, address, flag string, clients func() *router.Clients) (*listener, error) {
	at := inherited
	if at == nil {
		var err error
		if at, err = bind(address, flag); err != nil {
			return nil, err
		}
	}
	l := newListener(at, clients())
	l.shared = inherited != nil
	return l, nil
}

// serve returns nil once drain ended it.
func (l *listener) serve() error {
	defer close(l.ended)
	if err := l.clients.Serve(l); l.closing.Load() == nil {
		return err
	}
	return nil
}

// Accept is called from one goroutine.
func (l *listener) Accept() (net.Conn, error) {
	var last time.Time
	if giveUp := l.closing.Load(); giveUp != nil {
		if l.shared {
			_ = l.Close()
			return nil, net.ErrClosed
		}
		if last = time.Now().Add(lastCall); last.After(*giveUp) {
			last = *giveUp
		}
		_ = l.SetDeadline(last)
	}
	nc, err := l.AcceptTCP()
	switch {
	case err == nil:
		return nc, nil
	case l.closing.Load() == nil:
		return nil, err
	case last.IsZero() || time.Now().Before(last): // drain has just woken us
		return l.Accept()
	}
	_ = l.Close()
	return nil, net.ErrClosed
}

// drain takes what the kernel has accepted (unless the port is shared), closes
// the port, and returns when every connection has ended: after its request, or after its farewell. When
// ctx ends, it cuts those off that are left, and returns how many requests that
// were.
func (l *listener) drain(ctx context.Context) (cut int) {
	giveUp := time.Now().Add(lastCalls)
	if !l.shared && refuseMore(l.TCPListener) == nil {
		giveUp = giveUp.Add(time.Hour) // what waits has an end
	}
	l.closing.Store(&giveUp)
	_ = l.SetDeadline(time.Now())
	<-l.ended
	return l.clients.Shutdown(ctx, l.farewell)
}

// abandon closes the port where serve never ran.
func (l *listener) abandon() {
	_ = l.Close()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	l.clients.Shutdown(now, 0)
}
