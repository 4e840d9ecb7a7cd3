package zmtp

import (
	"net"
	"runtime"
)

// maxIdleEntries bounds what the queue keeps for the next messages' entries.
const maxIdleEntries = 4096

// batch is what the writer took from the queue. Its buffers and the queue's trade places.
type batch struct {
	urgent, ordinary []byte
	vector           net.Buffers // over pair, kept so that writing both allocates nothing
	pair             [2][]byte
}

// Wake has the writer look at the queue, after Queue.
func (c *Conn) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write is the writer's goroutine.
func (c *Conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		// Let whoever can run add to the batch first: one system call then carries the frames of many.
		runtime.Gosched()
		last := c.take()
		if err := c.batch.writeTo(c.nc); err != nil {
			c.writeFailed(err)
			return
		}
		if last {
			if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // the peer may have closed already
			}
			return
		}
	}
}

// writeFailed takes no more messages, and leaves the end to the reader.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeErr = err
	c.refuseAll(err)
}

// take moves the queue into the batch, and reports whether none will follow.
func (c *Conn) take() (last bool) {
	b := &c.batch
	b.urgent, b.ordinary = reuse(b.urgent), reuse(b.ordinary)

	c.mu.Lock()
	b.urgent, c.queue.urgent = c.queue.urgent, b.urgent
	b.ordinary, c.queue.ordinary = c.queue.ordinary, b.ordinary
	if c.queue.entries = c.queue.entries[:0]; cap(c.queue.entries) > maxIdleEntries {
		c.queue.entries = nil
	}
	c.queue.commands = 0
	c.gen.Add(1)
	if c.refuse == nil {
		c.setFull()
	}
	drained := c.armed
	c.armed = false
	last = !c.ends.IsZero()
	c.mu.Unlock()

	if drained && c.opts.OnDrain != nil {
		c.opts.OnDrain()
	}
	return last
}

// reuse empties a buffer, and gives back one that is much larger than what it last carried.
func reuse(b []byte) []byte {
	if cap(b) > largeBuffer && len(b) < cap(b)/4 {
		return nil
	}
	return b[:0]
}

// writeTo makes one system call, unless the socket takes less.
func (b *batch) writeTo(nc net.Conn) error {
	var err error
	switch {
	case len(b.urgent) == 0 && len(b.ordinary) == 0: // purged meanwhile
	case len(b.ordinary) == 0:
		_, err = nc.Write(b.urgent)
	case len(b.urgent) == 0:
		_, err = nc.Write(b.ordinary)
	default:
		b.pair = [2][]byte{b.urgent, b.ordinary}
		b.vector = b.pair[:]
		_, err = b.vector.WriteTo(nc)
	}
	return err
}
