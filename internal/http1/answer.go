package http1

import (
	"os"
	"strconv"
)

// answer is the state of a response.
type answer struct {
	out     []byte // not written yet; of a pool, or larger
	status  int
	forHead bool // the request is HEAD
	minor   int
	closing bool // the connection closes after it
	dated   bool
	begun   bool // the final head is in out, or gone
	chunked bool
	bodied  bool // a body may follow
	last    bool // trailers are being written
	done    bool
	broken  bool // the connection must be reset
}

func (a *answer) beginAnswer(h *Head) {
	*a = answer{out: a.out[:0], forHead: string(h.Method) == "HEAD", minor: h.Minor, closing: h.close}
}

func (c *Conn) buffer() {
	if c.out == nil {
		c.out = buffers.Get().(*[size]byte)[:0]
	}
}

// Status begins a head.
func (c *Conn) Status(code int) {
	c.buffer()
	c.status, c.dated = code, false
	c.out = append(c.out, "HTTP/1.1 "...)
	c.out = strconv.AppendInt(c.out, int64(code), 10)
	c.out = append(c.out, ' ')
	c.out = append(c.out, reasons[code]...)
	c.out = append(c.out, "\r\n"...)
}

// Field adds a line to a head or to the trailers. The caller vouches for name, which is a token, and value, without control
// characters; it never says Content-Length, Transfer-Encoding or Connection.
func (c *Conn) Field(name, value []byte) {
	if len(name) == 4 && is(name, "date") {
		c.dated = true
	}
	if c.begun && !c.last {
		c.last = true
		if c.chunked {
			c.out = append(c.out, "0\r\n"...)
		}
	}
	if c.last && !c.chunked { // no place for trailers
		return
	}
	c.out = appendTitle(c.out, name)
	c.out = append(c.out, ": "...)
	c.out = append(c.out, value...)
	c.out = append(c.out, "\r\n"...)
}

// appendTitle writes a name as people are used to see it.
func appendTitle(b, name []byte) []byte {
	up := true
	for _, c := range name {
		switch {
		case up && c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		case !up && c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		b = append(b, c)
		up = c == '-'
	}
	return b
}

// EndInfo ends an informational head and sends it. HTTP/1.0 knows of none (RFC 9110 section 15.2): there it is dropped.
func (c *Conn) EndInfo() error {
	if c.minor == 0 {
		c.out = c.out[:0]
		return nil
	}
	c.out = append(c.out, "\r\n"...)
	return c.Flush()
}

// Close has the connection close after this answer. It must come before EndHead.
func (c *Conn) Close() { c.closing = true }

// EndHead ends the final head. length is the body's; -1: it is not known yet.
//
// A body follows unless the request is HEAD or the status forbids one (RFC 9112 section 6.3): then Write drops what it gets. An
// answer of unknown length is chunked; HTTP/1.0 gets it until the connection closes.
func (c *Conn) EndHead(length int64) {
	if c.head.Expect {
		c.asking.Lock()
		defer c.asking.Unlock()
	}
	c.begun = true
	c.bodied = !c.forHead && c.status != 204 && c.status != 304
	if c.status == 205 { // RFC 9110 section 15.3.6
		c.bodied, length = false, 0
	}
	switch {
	case c.status == 204:
	case length >= 0:
		c.out = append(c.out, "Content-Length: "...)
		c.out = strconv.AppendInt(c.out, length, 10)
		c.out = append(c.out, "\r\n"...)
	case !c.bodied:
	case c.minor == 0:
		c.closing = true
	default:
		c.chunked = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	if !c.dated {
		c.out = append(c.out, *c.srv.date.Load()...)
	}
	if !c.in.ended() && !c.in.raw || c.srv.draining.Load() {
		c.closing = true // where the next request begins is for the client to say, and it may never do so
	}
	switch {
	case c.closing:
		c.out = append(c.out, "Connection: close\r\n"...)
	case c.minor == 0:
		c.out = append(c.out, "Connection: keep-alive\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
}

// EndSwitch ends a head with status 101 (RFC 9110 section 15.2.2) and sends it. Then Read and Write carry what the two ends
// say in the new protocol, until Finish, which closes the connection. protocol is what Upgrade says.
func (c *Conn) EndSwitch(protocol []byte) error {
	c.out = append(c.out, "Connection: Upgrade\r\nUpgrade: "...)
	c.out = append(c.out, protocol...)
	c.out = append(c.out, "\r\n\r\n"...)
	c.begun, c.closing, c.bodied = true, true, true
	c.in.raw, c.in.err = true, nil
	c.in.over.Store(false)
	c.switched.Store(true)
	return c.Flush()
}

// Write adds to the body. p may be used again when it returns.
func (c *Conn) Write(p []byte) error {
	if !c.bodied || len(p) == 0 {
		return nil
	}
	c.buffer()
	if !c.chunked {
		if len(p) > cap(c.out)-len(c.out) {
			return c.send(c.out, p)
		}
		c.out = append(c.out, p...)
		return nil
	}
	large := len(p) > cap(c.out)-len(c.out)-len("ffffffffffffffff\r\n\r\n")
	if large && cap(c.out)-len(c.out) < len("ffffffffffffffff\r\n") {
		if err := c.Flush(); err != nil {
			return err
		}
	}
	c.out = strconv.AppendInt(c.out, int64(len(p)), 16)
	c.out = append(c.out, "\r\n"...)
	if large {
		return c.send(c.out, p, crlf)
	}
	c.out = append(append(c.out, p...), crlf...)
	return nil
}

var crlf = []byte("\r\n")

// Flush sends what has been written.
func (c *Conn) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	return c.send(c.out)
}

// send sends pieces, of which the first is the buffer.
func (c *Conn) send(pieces ...[]byte) error {
	err := c.write(pieces...)
	if c.writing.Swap(0) == expired && err == nil { // all is gone, but the connection's deadline is set
		err = os.ErrDeadlineExceeded
	}
	c.out = c.out[:0]
	if err != nil {
		c.broken = true
	}
	return err
}

// Finish ends the answer, and sends what is left of it.
func (c *Conn) Finish() error {
	c.done = true
	if c.chunked {
		if !c.last {
			c.out = append(c.out, "0\r\n"...)
		}
		c.out = append(c.out, "\r\n"...)
	}
	return c.Flush()
}

// Abort has the connection reset once Serve returns: the client must not take what it got for a whole answer.
func (c *Conn) Abort() { c.broken = true }

// progress puts off the write deadline.
func (c *Conn) progress() { c.writing.Store(c.after(c.srv.WriteTimeout)) }
