package zmtp

import (
	"errors"
	"fmt"
	"time"
)

const (
	maxUnanswered  = 3
	maxPingContext = 16 // RFC 37

	// Commands cost their sender little and us an answer: a peer may send so many at once, and one more after each pause.
	commandsAtOnce = 1000
	commandPause   = 10 * time.Millisecond
)

// ping is a PING command with a TTL of 0 (a TTL tells the peer when to hang up, and we do not) and no context.
var ping = []byte("\x04PING\x00\x00")

// Ping asks the peer for a PONG with this context, of 1 to 16 bytes, behind all urgent messages that were sent so far. It does not wait.
func (c *Conn) Ping(context []byte) { c.sendCommand(append(ping[:len(ping):len(ping)], context...)) }

// tick is called when the read deadline has passed.
func (c *Conn) tick(now time.Time) error {
	if next := c.heard.Add(c.opts.Heartbeat); now.Before(next) {
		return c.listen(now, next, false)
	}
	c.in.shrink()
	return c.beat(now)
}

// beat sends a PING, unless the peer owes us too many answers already. After a failed write it only counts: the peer
// may have said its last words before, and they are read first.
func (c *Conn) beat(now time.Time) error {
	if err := c.listen(now, now.Add(c.opts.Heartbeat), c.unanswered == maxUnanswered); err != nil {
		return err
	}
	c.unanswered++
	c.sendCommand(ping)
	return nil
}

// listen sets the next read deadline, or says why there is none.
func (c *Conn) listen(now, until time.Time, dead bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.ends.IsZero() && !now.Before(c.ends):
		return ErrClosed
	case !c.ends.IsZero():
		until = c.ends
	case dead && c.writeErr != nil:
		return c.writeErr
	case dead:
		return ErrDead
	}
	return c.nc.SetReadDeadline(until)
}

// obey acts on a command.
func (c *Conn) obey(command []byte) error {
	if c.calm = later(c.calm, c.heard).Add(commandPause); c.calm.Sub(c.heard) > commandsAtOnce*commandPause {
		return fmt.Errorf("zmtp: the peer floods: over %d commands at once", commandsAtOnce)
	}
	name, body, err := splitCommand(command)
	if err != nil {
		return fmt.Errorf("zmtp: %w", err)
	}
	switch string(name) {
	case "PING":
		if len(body) < 2 || len(body) > 2+maxPingContext {
			return fmt.Errorf("zmtp: malformed PING: %d bytes, a TTL of 2 and a context of at most %d belong there", len(body), maxPingContext)
		}
		var pong [5 + maxPingContext]byte
		n := copy(pong[:], "\x04PONG")
		n += copy(pong[n:], body[2:])
		c.sendCommand(pong[:n])
	case "PONG":
		if len(body) > 0 && c.opts.OnPong != nil { // a heartbeat's has no context
			c.opts.OnPong(body)
		}
	case "ERROR":
		return fmt.Errorf("zmtp: %w", refusal(body))
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// splitCommand splits a command's frame into its name and what follows.
func splitCommand(b []byte) (name, body []byte, err error) {
	if len(b) == 0 || b[0] == 0 || len(b) < 1+int(b[0]) {
		return nil, nil, errors.New("malformed command: its name is missing")
	}
	end := 1 + int(b[0])
	return b[1:end], b[end:], nil
}

// refusal is the error for an ERROR command.
func refusal(body []byte) error {
	reason, _, err := shortString(body)
	if err != nil {
		return errors.New("the peer refused the connection with a malformed ERROR")
	}
	return fmt.Errorf("the peer refused the connection: %q", reason)
}
