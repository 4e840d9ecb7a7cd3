// Package zmtp is one ZMTP 3 connection (https://rfc.zeromq.org/spec/23/): a handshake that a hostile peer cannot
// abuse, bounded reads, batched writes behind a bounded queue, and heartbeats. It knows messages of parts, and nothing of
// what they mean.
//
// The handshake is zmq4's, behind a fence; its sockets are not used.
package zmtp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that callers tell apart.
var (
	ErrFull   = errors.New("zmtp: the queue to the peer is full")
	ErrClosed = errors.New("zmtp: connection closed")
	ErrDead   = errors.New("zmtp: the peer is silent: heartbeats went unanswered")
)

// Options of a connection. Zero values are the defaults.
type Options struct {
	HandshakeTimeout time.Duration // for all of it; 5 s
	MaxPart          int           // bytes of one received part; 1 MiB
	MaxPartREP       int           // the same of a peer whose socket is a REP; 8 MiB
	MaxParts         int           // parts of one received message, whose sum is at most the limit of one part and 64 KiB; 8
	QueueLimit       int           // bytes that may wait to be written, not counting the batch being written; 4 MiB
	Heartbeat        time.Duration // a PING after so long without input, dead after three unanswered; 2 s

	User, Password string // Connect only, at most 255 bytes each: with either of them PLAIN, else NULL

	// OnDrain is called by the writer's goroutine, with no lock held, right after it took the queue, if AwaitDrain or
	// ErrFull armed it since it last did. It should not block: what was taken is written when it returns.
	OnDrain func()

	// OnPong is called by Run with what Ping gave, when the peer has read all that was sent before it and has sent what it had to say to that.
	OnPong func(context []byte)
}

func (o Options) withDefaults() Options {
	o.HandshakeTimeout = orDefault(o.HandshakeTimeout, 5*time.Second)
	o.MaxPart = orDefault(o.MaxPart, 1<<20)
	o.MaxPartREP = orDefault(o.MaxPartREP, 8<<20)
	o.MaxParts = orDefault(o.MaxParts, 8)
	o.QueueLimit = orDefault(o.QueueLimit, 4<<20)
	o.Heartbeat = orDefault(o.Heartbeat, 2*time.Second)
	return o
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Conn is a connection after its handshake. Its methods may be called at the same time, except SetMaxPart, and Run once.
type Conn struct {
	// Static after the handshake.
	nc   net.Conn
	peer Peer
	opts Options

	// Owned by Run's goroutine.
	in         reader
	bulk       bool      // the last read brought much
	heard      time.Time // when input last came
	unanswered int       // PINGs since then
	calm       time.Time // when the commands so far will be forgiven

	// Owned by the writer's goroutine.
	batch batch

	wake chan struct{} // holds one token while something is queued that the writer has not seen
	done chan struct{} // closed with the connection
	gen  atomic.Uint64 // written under mu
	full atomic.Bool   // written under mu

	mu       sync.Mutex
	queue    queue
	armed    bool      // OnDrain is owed
	refuse   error     // why Send takes nothing any more
	writeErr error     // why the writer has given up
	ends     time.Time // set by CloseAfterFlush: the next batch is the last, and reading stops then
	cause    error     // why the connection is closed
}

func newConn(nc net.Conn, peer Peer, o Options) *Conn {
	maxPart := o.MaxPart
	if peer.Socket == "REP" {
		maxPart = o.MaxPartREP
	}
	return &Conn{
		nc: nc, peer: peer, opts: o,
		in:   newReader(maxPart, o.MaxParts),
		wake: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
}

// Peer returns what the peer showed of itself.
func (c *Conn) Peer() Peer { return c.peer }

// SetMaxPart changes the limit of one received part to n bytes, and that of a message with it, from the next message on.
// It may be called before Run, and by receive.
func (c *Conn) SetMaxPart(n int) { c.in.maxPart = max(n, 0) }

// Run writes, pings and reads until the connection ends, and calls receive, in the calling goroutine, with each
// message. parts and what they point to are valid until receive returns. An error from receive ends the connection.
//
// Run closes the connection and returns the reason, which is never nil: io.EOF when the peer closed between messages,
// ErrDead, ErrClosed after Close, receive's error, or an error that names the limit or rule that the peer broke. Everything
// that it started has ended by then.
func (c *Conn) Run(receive func(parts [][]byte) error) error {
	c.heard = time.Now()
	err := c.beat(c.heard) // ahead of the writer, so that the PING leaves with the first batch
	var writer sync.WaitGroup
	writer.Go(c.write)
	if err == nil {
		err = c.read(receive)
	}
	c.shut(err)
	writer.Wait()
	return c.cause
}

// Close ends the connection at once; Run returns ErrClosed.
func (c *Conn) Close() error {
	c.shut(ErrClosed)
	return nil
}

// CloseAfterFlush takes no more messages, lets those that wait leave, and closes the writing half if the connection has
// one. It does not wait. Run reads on until the peer closes, and returns io.EOF, or until timeout, and returns ErrClosed.
func (c *Conn) CloseAfterFlush(timeout time.Duration) {
	c.mu.Lock()
	c.refuseAll(ErrClosed)
	if ends := time.Now().Add(timeout); c.ends.IsZero() || ends.Before(c.ends) {
		c.ends = ends
		_ = c.nc.SetDeadline(ends) // closed already, if it fails
	}
	c.mu.Unlock()
	c.Wake()
}

// shut closes the connection for the first cause given.
func (c *Conn) shut(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	c.refuseAll(cause)
	close(c.done)
	_ = c.nc.Close()
}

// refuseAll makes Send fail from now on, for the first cause given. c.mu is held.
func (c *Conn) refuseAll(cause error) {
	if c.refuse != nil {
		return
	}
	c.refuse = cause
	if !errors.Is(cause, ErrClosed) {
		c.refuse = fmt.Errorf("%w: %w", ErrClosed, cause)
	}
	c.full.Store(true)
}

// read hands the messages to receive and obeys the commands until something ends it.
func (c *Conn) read(receive func(parts [][]byte) error) error {
	for {
		event, err := c.in.next()
		if err != nil {
			return err
		}
		switch event {
		case isMessage:
			if err := receive(c.in.parts); err != nil {
				return err
			}
			c.in.release()
		case isCommand:
			if err := c.obey(c.in.command); err != nil {
				return err
			}
		case isIncomplete:
			if err := c.fill(); err != nil {
				return err
			}
		}
	}
}

// bulk is a read after which others go first.
const bulk = 32 << 10

// fill reads once. The read deadline is the heartbeat's clock, so a peer is judged silent only by a reader that was
// really listening.
func (c *Conn) fill() error {
	for {
		if c.bulk {
			runtime.Gosched() // who got it passes it on while it is in the processor's cache, and its memory is used again
		}
		n, err := c.nc.Read(c.in.space())
		c.bulk = n >= bulk
		if n > 0 {
			c.in.grew(n)
			c.heard, c.unanswered = time.Now(), 0
			return nil
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := c.tick(time.Now()); err != nil {
				return err
			}
		case errors.Is(err, io.EOF) && !c.in.empty():
			return fmt.Errorf("zmtp: the peer closed in the middle of a message: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return err
		}
	}
}
