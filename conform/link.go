package conform

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// link is one connection of a worker, seen from the router's side. It is used
// by one goroutine, the case's.
type link struct {
	kit        *WorkerKit
	conn       *zmtp.Conn
	connection uint64         // of the last WELCOME
	join       frame.JoinInfo // that echoed it
	in         chan received
	ended      chan struct{} // the connection has
	why        error         // valid once ended is closed
	calls      map[uint64]*call
	joins      []frame.JoinInfo // that have come and nobody has looked at
	away       *frame.Frame     // the worker's GOAWAY
}

// received is one message, copied.
type received [][]byte

// serve takes one connection. The goroutine that reads it belongs to the kit.
func (k *WorkerKit) serve(nc net.Conn, o zmtp.Options) (*link, error) {
	conn, err := zmtp.Accept(nc, o)
	if err != nil {
		return nil, err
	}
	l := &link{kit: k, conn: conn, in: make(chan received, 1<<16), ended: make(chan struct{}), calls: map[uint64]*call{}}
	k.readers.Go(func() {
		defer close(l.ended)
		l.why = conn.Run(func(parts [][]byte) error {
			m := make(received, len(parts))
			for i, p := range parts {
				m[i] = bytes.Clone(p)
			}
			k.transcript.note("->", m)
			select {
			case l.in <- m:
				return nil
			default:
				return fmt.Errorf("more than %d messages wait to be looked at", cap(l.in))
			}
		})
	})
	return l, nil
}

// send sends one message.
func (l *link) send(head, payload []byte) {
	parts := [][]byte{head, payload}
	if len(payload) == 0 {
		parts = parts[:1]
	}
	l.kit.transcript.note("<-", parts)
	_, _ = l.conn.Send(0, zmtp.Ordinary, parts...) // a connection that has ended shows when the case waits
}

// welcome sends a WELCOME.
func (l *link) welcome(connection uint64) {
	l.connection = connection
	l.send(frame.AppendWelcome(nil, frame.WelcomeInfo{
		Protocol: frame.Protocol, Router: "conform", Connection: connection,
		Limits:  frame.Limits{Head: frame.MaxHead, Payload: frame.MaxPayload, Concurrency: 1024},
		Windows: frame.Windows{Request: frame.RequestWindow, Response: frame.ResponseWindow},
	}), nil)
}

// newConnection is a number for WELCOME.
func newConnection() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, says its documentation
	return binary.BigEndian.Uint64(b[:])&frame.MaxNumber | 1
}

// step takes one message in, and fails the case if none comes in time, or if
// what comes breaks the protocol whatever the case is about.
func (l *link) step(waitingFor string) { l.take(l.receive(waitingFor)) }

// receive waits for one message.
func (l *link) receive(waitingFor string) received {
	if time.Now().After(l.kit.deadline) {
		failf("expected %s; the worker talked for %v and that did not come", waitingFor, caseLimit)
	}
	timer := time.NewTimer(l.kit.patience)
	defer timer.Stop()
	select {
	case m := <-l.in:
		return m
	case <-l.kit.ctx.Done():
		failf("interrupted")
	case <-l.ended:
	case <-timer.C:
		failf("expected %s; nothing came for %v", waitingFor, l.kit.patience)
	}
	select {
	case m := <-l.in: // came before the end
		return m
	default:
		failf("expected %s; the worker's connection ended: %v", waitingFor, l.why)
	}
	return nil
}

// parse reads a message of one or two parts.
func (m received) parse() (frame.Frame, error) {
	if len(m) > 2 {
		return frame.Frame{}, fmt.Errorf("a message of %d parts; head and payload make at most two", len(m))
	}
	var payload []byte
	if len(m) == 2 {
		payload = m[1]
	}
	return frame.Parse(m[0], payload)
}

// settle takes in what comes until nothing does for so long: what the worker
// had to say to what it was sent by then, if it says it promptly.
func (l *link) settle(quiet time.Duration) {
	for {
		if time.Now().After(l.kit.deadline) {
			failf("the worker has been talking for %v without a pause", caseLimit)
		}
		select {
		case m := <-l.in:
			l.take(m)
		case <-l.ended:
			return
		case <-l.kit.ctx.Done():
			failf("interrupted")
		case <-time.After(quiet):
			return
		}
	}
}

func (l *link) take(m received) {
	f, err := m.parse()
	if err != nil {
		failf("a malformed frame: %v", err)
	}
	switch f.Type {
	case frame.Join:
		j, err := frame.ParseJoin(&f)
		if err != nil {
			failf("a malformed JOIN: %v", err)
		}
		l.joins = append(l.joins, j)
	case frame.GoAway:
		l.away = &f
	case frame.Headers, frame.Data, frame.RSTStream, frame.WindowUpdate:
		c, ok := l.calls[f.Stream]
		if !ok {
			failf("a %v for stream %d, which was not opened on this connection since the last WELCOME", f.Type, f.Stream)
		}
		c.take(f)
	}
}

// awaitJoin waits for the JOIN that echoes the last WELCOME's connection. What
// else comes before it is not looked at.
func (l *link) awaitJoin() {
	for {
		for len(l.joins) > 0 {
			j := l.joins[0]
			l.joins = l.joins[1:]
			if j.Connection == l.connection {
				l.join = j
				return
			}
		}
		l.drop("a JOIN that echoes connection " + fmt.Sprint(l.connection))
	}
}

// drop takes one message and forgets all but JOIN and GOAWAY: a router drops
// what comes before the JOIN.
func (l *link) drop(waitingFor string) {
	m := l.receive(waitingFor)
	if f, err := m.parse(); err == nil && (f.Type == frame.Join || f.Type == frame.GoAway) {
		l.take(m)
	}
}

func (l *link) close() {
	_ = l.conn.Close()
	<-l.ended
}

// concurrency is what the worker announced, as a router takes it.
func (l *link) concurrency() int { return int(min(max(l.join.Concurrency, 1), 1024)) }

// cancelCode is what a router resets a stream with whose client has left.
const cancelCode = http2.ErrCodeCancel
