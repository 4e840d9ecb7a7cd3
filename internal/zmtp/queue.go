package zmtp

import (
	"encoding/binary"
	"fmt"
)

// Class says when a queued message leaves and what its stream loses with it.
type Class uint8

// Classes of messages.
const (
	Ordinary Class = iota
	Opener         // Ordinary, and the first of its stream
	Urgent         // leaves before everything that waits and is not urgent; in order among its kind
)

// urgentReserve is how many bytes urgent messages may take beyond a full queue.
const urgentReserve = 256 << 10

// queue is what waits for the writer, already in frames.
type queue struct {
	urgent, ordinary []byte
	entries          []entry // of ordinary, in order and without gaps
	commands         int     // bytes of urgent that are commands
	messages, bytes  uint64  // ordinary ones, since the beginning
}

type entry struct {
	stream uint64
	size   int
	opener bool
}

func (q *queue) empty() bool { return len(q.urgent)+len(q.ordinary) == 0 }

// Send queues one message of at least one part, copying it, and never waits for the network. gen is the generation of the
// queue that the message is in.
//
// An Ordinary message or Opener is refused with ErrFull while QueueLimit bytes or more of its kind wait (so one
// message may exceed the limit, and one of any size fits into an empty queue): nothing was queued, and OnDrain is armed. An
// Urgent message may take another 256 KiB; one that does not fit there closes the connection. Once the connection takes no
// more messages the error wraps ErrClosed.
func (c *Conn) Send(stream uint64, class Class, parts ...[]byte) (gen uint64, err error) {
	gen, wake, err := c.Queue(stream, class, parts...)
	if wake {
		c.Wake()
	}
	return gen, err
}

// Queue is Send for callers that hold a lock: if wake, they must call Wake once they have let go of it.
func (c *Conn) Queue(stream uint64, class Class, parts ...[]byte) (gen uint64, wake bool, err error) {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	c.mu.Lock()
	if err := c.refuse; err != nil {
		c.mu.Unlock()
		return 0, false, err
	}
	idle := c.queue.empty()
	if class == Urgent {
		if !c.urgentFits(size) {
			c.mu.Unlock()
			return 0, false, c.overflow(c.opts.QueueLimit + urgentReserve)
		}
		c.queue.urgent = appendMessage(c.queue.urgent, parts)
	} else {
		before := len(c.queue.ordinary)
		if before >= c.opts.QueueLimit {
			c.armed = true
			c.mu.Unlock()
			return 0, false, ErrFull
		}
		c.queue.ordinary = appendMessage(c.queue.ordinary, parts)
		c.queue.entries = append(c.queue.entries, entry{stream, len(c.queue.ordinary) - before, class == Opener})
		c.queue.messages++
		c.queue.bytes += uint64(size)
		c.setFull()
	}
	gen = c.gen.Load()
	c.mu.Unlock()
	return gen, idle, nil
}

// sendCommand queues a command as an urgent message, if anything is taken any more. Commands have the reserve alone: a
// stranger's PINGs, which need no more than a handshake, shall not fill a queue with our answers.
func (c *Conn) sendCommand(command []byte) {
	c.mu.Lock()
	if c.refuse != nil {
		c.mu.Unlock()
		return
	}
	limit, fits := c.opts.QueueLimit+urgentReserve, c.urgentFits(len(command))
	if c.queue.commands > urgentReserve {
		limit, fits = urgentReserve, false
	}
	if !fits {
		c.mu.Unlock()
		_ = c.overflow(limit)
		return
	}
	idle := c.queue.empty()
	before := len(c.queue.urgent)
	c.queue.urgent = append(appendHeader(c.queue.urgent, flagCommand, len(command)), command...)
	c.queue.commands += len(c.queue.urgent) - before
	c.mu.Unlock()
	if idle {
		c.Wake()
	}
}

// urgentFits lets urgent messages take what the ordinary ones leave of the limit, and the reserve. An ordinary message beyond
// the limit was let in by Send, and says nothing about the peer. c.mu is held.
func (c *Conn) urgentFits(size int) bool {
	ordinary := min(len(c.queue.ordinary), c.opts.QueueLimit)
	return len(c.queue.urgent)+ordinary+size <= c.opts.QueueLimit+urgentReserve
}

// overflow closes the connection to a peer that makes us talk and does not listen.
func (c *Conn) overflow(limit int) error {
	c.shut(fmt.Errorf("zmtp: the peer does not read: over %d bytes wait for it", limit))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refuse
}

// setFull is called with c.mu held.
func (c *Conn) setFull() {
	if full := len(c.queue.ordinary) >= c.opts.QueueLimit; full != c.full.Load() {
		c.full.Store(full)
	}
}

// Gen returns the generation of the queue. It rises each time the writer takes what waits, so a message of an
// earlier generation is out of Purge's reach.
func (c *Conn) Gen() uint64 { return c.gen.Load() }

// AwaitDrain arms OnDrain for the next time that the writer takes the queue. It reports false, and arms nothing, if
// generation gen is taken already or no message will be taken any more.
func (c *Conn) AwaitDrain(gen uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen < c.gen.Load() || c.cause != nil || c.writeErr != nil || c.refuse != nil && c.ends.IsZero() {
		return false
	}
	c.armed = true
	return true
}

// Taken returns how many messages Send has taken that are not Urgent, and their bytes.
func (c *Conn) Taken() (messages, bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.messages, c.queue.bytes
}

// Full reports whether an Ordinary message would be refused now, be it for ever.
func (c *Conn) Full() bool { return c.full.Load() }

// Purge takes the messages of a stream out of the queue again, except urgent ones, and returns how many there were.
// opener says that its Opener was among them: then the peer never hears of the stream.
func (c *Conn) Purge(stream uint64) (n int, opener bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := &c.queue
	from, to := 0, 0
	kept := q.entries[:0]
	for _, e := range q.entries {
		if e.stream == stream {
			n++
			opener = opener || e.opener
		} else {
			if from != to {
				copy(q.ordinary[to:], q.ordinary[from:from+e.size])
			}
			to += e.size
			kept = append(kept, e)
		}
		from += e.size
	}
	q.entries, q.ordinary = kept, q.ordinary[:to]
	if c.refuse == nil {
		c.setFull()
	}
	return n, opener
}

// Unsent returns the streams whose Opener still waits: the peer has not heard of them, and never will once the connection has
// ended.
func (c *Conn) Unsent() map[uint64]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	streams := map[uint64]bool{}
	for _, e := range c.queue.entries {
		if e.opener {
			streams[e.stream] = true
		}
	}
	return streams
}

// appendMessage appends the frames of a message.
func appendMessage(b []byte, parts [][]byte) []byte {
	for i, part := range parts {
		var flags byte = flagMore
		if i == len(parts)-1 {
			flags = 0
		}
		b = append(appendHeader(b, flags, len(part)), part...)
	}
	return b
}

func appendHeader(b []byte, flags byte, size int) []byte {
	if size < 256 {
		return append(b, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, flags|flagLong), uint64(size))
}
