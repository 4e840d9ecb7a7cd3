package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	slowClients = 2_000
	calmLimit   = 30 * time.Second
	trickle     = time.Second           // between two bytes of a slow client
	comeBack    = 50 * time.Millisecond // before one that was hung up on connects again

	// A client that reads slowly has a small buffer, and segments as on an Ethernet: with those of loopback, the kernel takes
	// megabytes of each answer from the proxy, its memory for TCP is soon used up, and every connection stalls.
	smallBuffer = 4 << 10
	segment     = 1460
)

// A slowness is how a client takes its time: what it sends at once, and then the byte that it sends, or how much it
// reads, each time.
type slowness struct {
	first string
	more  string
	read  int
}

var slownesses = []slowness{
	{first: "GET / HTTP/1.1\r\nHost: bench\r\nX-Slow: ", more: "x"},
	{first: "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000\r\n\r\n", more: "x"},
	{first: "GET " + endless.path + " HTTP/1.1\r\nHost: bench\r\n\r\n", read: 512},
}

// amongSlowClients is the load of many connections beside slow clients: a third send the head of a request byte by byte, a
// third its body, a third read slowly. Those that are hung up on come back.
func amongSlowClients(ctx context.Context, s *stage, on running, duration time.Duration) (turn, error) {
	if err := allowFiles(slowClients + 1000); err != nil {
		return turn{}, err
	}
	crowd := crowd{address: on.address}
	crowd.start(ctx)
	defer crowd.stop()
	if err := crowd.await(ctx); err != nil {
		return turn{}, err
	}
	if err := calm(ctx, on); err != nil {
		return turn{}, err
	}
	t, err := requests("/", manyConnections)(ctx, s, on, duration)
	if err != nil {
		return turn{}, err
	}
	return t, crowd.check()
}

// A crowd is slow clients, each in a goroutine.
type crowd struct {
	address string
	cancel  context.CancelFunc
	clients sync.WaitGroup

	connected [3]atomic.Int64 // now, by slowness
	again     atomic.Int64    // how often one was hung up on
	refused   atomic.Int64    // how often one could not connect
}

func (c *crowd) start(ctx context.Context) {
	ctx, c.cancel = context.WithCancel(ctx)
	for i := range slowClients {
		c.clients.Go(func() {
			// Spread over the first moments, so that neither connections nor bytes come in bursts.
			for wait := trickle * time.Duration(i) / slowClients; pause(ctx, wait); wait = comeBack {
				if err := c.connect(ctx, i); err != nil {
					c.refused.Add(1)
				} else {
					c.again.Add(1)
				}
			}
		})
	}
}

func (c *crowd) stop() {
	c.cancel()
	c.clients.Wait()
}

func (c *crowd) total() int64 {
	return c.connected[0].Load() + c.connected[1].Load() + c.connected[2].Load()
}

// await returns when nearly all are there; some may be on their way back.
func (c *crowd) await(ctx context.Context) error {
	for end := time.Now().Add(startLimit); c.total() < slowClients*95/100; {
		if time.Now().After(end) {
			return fmt.Errorf("only %d of %d slow clients are connected after %v, %d times one could not connect: is a limit of connections or ports lower?",
				c.total(), slowClients, startLimit, c.refused.Load())
		}
		if !pause(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// calm returns when the proxy has little to do any more: those that read slowly make it fill windows and buffers first. If it does not calm down, that is what the others have to live with.
func calm(ctx context.Context, on running) error {
	const look, little = 500 * time.Millisecond, 0.25 // of a core
	last, _, err := on.cpu()
	for end, quiet := time.Now().Add(calmLimit), 0; err == nil && quiet < 2 && time.Now().Before(end); {
		if !pause(ctx, look) {
			return ctx.Err()
		}
		before := last
		if last, _, err = on.cpu(); (last - before).Seconds() < little*look.Seconds() {
			quiet++
		} else {
			quiet = 0
		}
	}
	return err
}

// check says whether the crowd was there to the end: without it the turn shows nothing.
func (c *crowd) check() error {
	fmt.Fprintf(os.Stderr, "  slow clients connected at the end: %d in the head, %d in the body, %d reading; hung up on %d times\n",
		c.connected[0].Load(), c.connected[1].Load(), c.connected[2].Load(), c.again.Load())
	if now := c.total(); now < slowClients*8/10 {
		return fmt.Errorf("only %d of %d slow clients were connected at the end of the turn, hung up on %d times, not let in %d times",
			now, slowClients, c.again.Load(), c.refused.Load())
	}
	return nil
}

// connect is one connection of a slow client, until the proxy hangs up.
func (c *crowd) connect(ctx context.Context, i int) error {
	kind := i % len(slownesses)
	how := slownesses[kind]
	d := net.Dialer{}
	if how.read > 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) error { return readLittle(raw) }
	}
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	c.connected[kind].Add(1)
	defer c.connected[kind].Add(-1)
	if _, err := io.WriteString(conn, how.first); err != nil {
		return nil
	}
	if how.read > 0 {
		readSlowly(ctx, conn, how.read)
	} else {
		sendSlowly(ctx, conn, how.more)
	}
	return nil
}

func readSlowly(ctx context.Context, conn net.Conn, size int) {
	buffer := make([]byte, size)
	for pause(ctx, trickle) {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

// sendSlowly waits in Read, where it notices at once that the proxy answers or hangs up.
func sendSlowly(ctx context.Context, conn net.Conn, more string) {
	var buffer [1]byte
	for ctx.Err() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(trickle))
		if _, err := conn.Read(buffer[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if _, err := io.WriteString(conn, more); err != nil {
			return
		}
	}
}

func readLittle(raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallBuffer),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, segment))
	})
	return errors.Join(err, failed)
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
