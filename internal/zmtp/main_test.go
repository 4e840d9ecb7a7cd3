package zmtp

import (
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialmux/dialmux/internal/testpipe"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		children[child]()
		return
	}
	goleak.VerifyTestMain(m)
}

// handshakeBoth returns both ends of a connection over a pipe whose buffers hold size bytes.
func handshakeBoth(t testing.TB, size int, server, client Options) (accepted, connected *Conn) {
	t.Helper()
	a, b := testpipe.NewSize(size)
	var wg sync.WaitGroup
	var acceptErr error
	wg.Go(func() { accepted, acceptErr = Accept(a, server) })
	connected, err := Connect(b, client)
	wg.Wait()
	if err != nil || acceptErr != nil {
		t.Fatalf("Connect: %v, Accept: %v", err, acceptErr)
	}
	return accepted, connected
}

// running is a Conn whose Run a test has started.
type running struct {
	*Conn
	got  chan [][]byte
	done chan struct{}
	err  error // after done
}

// run starts Run and collects copies of what comes, up to 4,096 messages.
func run(t testing.TB, c *Conn) *running {
	r := &running{Conn: c, got: make(chan [][]byte, 4096), done: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(r.done)
		r.err = c.Run(func(parts [][]byte) error {
			r.got <- copyParts(parts)
			return nil
		})
	})
	t.Cleanup(func() {
		_ = c.Close()
		wg.Wait()
	})
	return r
}

func (r *running) wait() error {
	<-r.done
	return r.err
}

func copyParts(parts [][]byte) [][]byte {
	c := make([][]byte, len(parts))
	for i, p := range parts {
		c[i] = append([]byte{}, p...)
	}
	return c
}

// rawPeer is the far end of an accepted connection, after its handshake, as plain bytes.
func rawPeer(t testing.TB, size int, o Options) (*Conn, net.Conn) {
	t.Helper()
	a, b := testpipe.NewSize(size)
	var wg sync.WaitGroup
	var c *Conn
	var err error
	wg.Go(func() { c, err = Accept(a, o) })
	shakeRaw(t, b, nullDealer)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return c, b
}

// shakeRaw plays a recorded peer and reads our side of it.
func shakeRaw(t testing.TB, nc net.Conn, recorded []byte) {
	t.Helper()
	if _, err := nc.Write(recorded); err != nil {
		t.Fatal(err)
	}
	if _, err := readFull(nc, greetingSize+len(ourReady)); err != nil {
		t.Fatal(err)
	}
}

func readFull(nc net.Conn, n int) ([]byte, error) {
	b := make([]byte, n)
	for got := 0; got < n; {
		m, err := nc.Read(b[got:])
		got += m
		if err != nil {
			return b[:got], err
		}
	}
	return b, nil
}

const hour = time.Hour
