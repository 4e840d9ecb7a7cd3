package http1

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
)

// body is the state of a request's body, which Read owns.
type body struct {
	left     int64 // of the length, or of the chunk; -1: the next chunk's size comes
	chunked  bool
	inside   bool // the chunk's data comes, or its CRLF
	raw      bool // after EndSwitch: no framing
	asked    bool // 100 has been sent, or is not needed
	ending   bool // the last chunk has come, and the trailers are next
	looked   int  // how far they have been looked through
	trailers []Field
	exts     int // bytes of chunk extensions so far
	excess   int // framing beyond data, see chunkFlood
	err      error

	over   atomic.Bool // read to its end
	halted atomic.Bool // the connection's read deadline has been set
}

const (
	// maxExts bounds the extensions of all chunks of a body: nobody uses them.
	maxExts = 16 << 10
	// chunkFlood bounds how far a body's framing may outweigh its data.
	chunkFlood = 64 << 10
	// maxSizeLine is a chunk's size with its extensions.
	maxSizeLine = 4 << 10
)

func (b *body) begin(length int64) {
	b.left, b.chunked, b.inside, b.raw, b.asked = max(length, 0), length < 0, false, false, false
	b.exts, b.excess, b.err, b.ending, b.looked = 0, 0, nil, false, 0
	b.trailers = b.trailers[:0]
	b.over.Store(length == 0)
	b.halted.Store(false)
}

func (b *body) ended() bool { return b.over.Load() }

// Head is the request's.
func (c *Conn) Head() *Head { return &c.head }

// AtHand tells whether the whole body has come already: Read will not wait.
func (c *Conn) AtHand() bool {
	return !c.in.chunked && !c.in.raw && int64(c.w-c.r) >= c.in.left
}

// Unread tells whether some of the body has not been read.
func (c *Conn) Unread() bool { return !c.in.ended() }

// Trailers are those of a chunked body, after io.EOF. They last as long as the request.
func (c *Conn) Trailers() []Field { return c.in.trailers }

// Read reads the body, as much as has come; it waits only if nothing has. io.EOF, which may come with the last bytes, is its
// end, an *Error is the client's fault. A client that waits for 100 before it sends the body (RFC 9110 section 10.1.1) gets
// that first. After EndSwitch it reads what the client sends.
func (c *Conn) Read(p []byte) (n int, err error) {
	b := &c.in
	switch {
	case b.err != nil:
		return 0, b.err
	case b.halted.Load():
		return 0, errHalted
	}
	if c.head.Expect {
		c.ask()
	}
	switch {
	case b.raw:
		n, err = c.some(p)
	case b.chunked:
		n, err = c.readChunks(p)
	default:
		if int64(len(p)) > b.left {
			p = p[:b.left]
		}
		if len(p) > 0 {
			n, err = c.some(p)
			b.left -= int64(n)
		}
		if b.left == 0 {
			err = io.EOF
		} else if errors.Is(err, io.EOF) {
			err = errBodyCut
		}
	}
	if errors.Is(err, io.EOF) {
		b.over.Store(true)
	}
	b.err = err
	return n, err
}

// ask sends 100 once, unless the body has begun to come, or the final head has gone out.
func (c *Conn) ask() {
	if c.in.asked {
		return
	}
	c.in.asked = true
	c.asking.Lock()
	defer c.asking.Unlock()
	if c.begun || c.r < c.w {
		return
	}
	c.progress()
	_, _ = c.nc.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) // Read will tell
	c.writing.Store(0)
}

// Halt has a Read that waits, and each one after, return an error. Another goroutine than Read's may call it.
func (c *Conn) Halt() {
	if !c.in.halted.Swap(true) {
		_ = c.nc.SetReadDeadline(longAgo)
	}
}

// errHalted comes out of Read after Halt.
var errHalted = errors.New("http1: the body is not wanted any more")

// some reads what is in the buffer, or else what comes.
func (c *Conn) some(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	return c.waiting(func() (int, error) { return c.nc.Read(p) })
}

// more fills the buffer while a body is read.
func (c *Conn) more() error {
	_, err := c.waiting(func() (int, error) { return 0, c.fill() })
	return err
}

func (c *Conn) waiting(read func() (int, error)) (int, error) {
	if !c.in.raw {
		c.reading.Store(c.after(c.srv.BodyTimeout))
	}
	n, err := read()
	late := c.reading.Swap(0) == expired
	switch {
	case c.in.halted.Load():
		return n, errHalted
	case late:
		c.in.halted.Store(true)
		return n, errBodyLate
	}
	return n, err
}

// readChunks decodes what is in the buffer, and waits only if that yields nothing.
func (c *Conn) readChunks(p []byte) (n int, err error) {
	b := &c.in
	for n < len(p) {
		var wait bool
		switch {
		case b.inside && b.left > 0:
			if c.r == c.w && n == 0 && int64(len(p)) <= b.left { // straight into p
				if n, err = c.some(p); err != nil {
					return n, cutShort(err)
				}
				b.left -= int64(n)
				return n, nil
			}
			k := copy(p[n:], c.buf[c.r:min(c.w, c.r+int(min(b.left, int64(c.w-c.r))))])
			n, c.r, b.left = n+k, c.r+k, b.left-int64(k)
			wait = k == 0
		case b.inside:
			switch {
			case c.w-c.r < 2:
				wait = true
			case c.buf[c.r] != '\r' || c.buf[c.r+1] != '\n':
				return n, errChunkEnd
			default:
				c.r += 2
				b.inside = false
			}
		default:
			wait, err = c.nextChunk()
			if err != nil {
				return n, err
			}
		}
		if !wait {
			continue
		}
		if n > 0 {
			return n, nil
		}
		if err := c.more(); err != nil {
			return 0, cutShort(err)
		}
	}
	return n, nil
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return errBodyCut
	}
	return err
}

// nextChunk reads a chunk's size, and the trailers after the last one: then the error is io.EOF. wait: more must come first.
func (c *Conn) nextChunk() (wait bool, err error) {
	b := &c.in
	if b.ending {
		return c.readTrailers()
	}
	line := c.buf[c.r:c.w]
	eol := bytes.IndexByte(line, '\n')
	switch {
	case max(eol, 0) > maxSizeLine, eol < 0 && len(line) > maxSizeLine:
		return false, errChunkExt
	case len(line) > 0 && classes[line[0]]&inHex == 0: // at once, not at the end of a line that never comes
		return false, errChunkSize
	case eol < 0:
		return true, nil
	}
	size, exts, bad := chunkSize(line[:eol+1])
	if bad != nil {
		return false, bad
	}
	if b.exts += exts; b.exts > maxExts {
		return false, errChunkExt
	}
	c.r += eol + 1
	if size == 0 {
		b.ending = true
		return c.readTrailers()
	}
	if b.excess = max(b.excess+eol+1+len("\r\n")-2*int(min(size, 1<<30)), 0); b.excess > chunkFlood {
		return false, errChunkFlood
	}
	b.left, b.inside = size, true
	return false, nil
}

// readTrailers reads fields up to and with the empty line that ends them.
func (c *Conn) readTrailers() (wait bool, err error) {
	b, rest := &c.in, c.buf[c.r:c.w]
	end, looked, bad := 0, 0, (*Error)(nil)
	if len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n' {
		end = 2
	} else {
		end, looked, bad = endOfHead(rest, b.looked)
	}
	b.looked = looked
	switch {
	case bad != nil:
		return false, bad
	case max(end, looked) > c.srv.MaxHead:
		return false, errTrailerSize
	case end == 0:
		return true, nil
	}
	if b.trailers, bad = appendFields(b.trailers[:0], rest[:end], c.srv.MaxFields); bad != nil {
		return false, bad
	}
	c.r += end
	return false, io.EOF
}

// chunkSize reads a chunk's first line, whose LF is there.
func chunkSize(line []byte) (size int64, exts int, err *Error) {
	n := 0
	for n < len(line) && classes[line[n]]&inHex != 0 {
		d := line[n]
		switch {
		case d <= '9':
			d -= '0'
		default:
			d = d | 0x20 - 'a' + 10
		}
		size = size<<4 | int64(d)
		if n++; n > 15 {
			return 0, 0, errChunkSize
		}
	}
	rest := line[n:]
	if n == 0 || len(rest) < 2 || rest[len(rest)-2] != '\r' {
		if len(rest) == 1 && n > 0 {
			return 0, 0, errBareLF
		}
		return 0, 0, errChunkSize
	}
	ext := rest[:len(rest)-2]
	if len(ext) == 0 {
		return size, 0, nil
	}
	if t := trim(ext); len(t) == 0 || t[0] != ';' {
		return 0, 0, errChunkSize
	}
	if !all(ext, inValue) || len(ext) > maxSizeLine {
		return 0, 0, errChunkExt
	}
	return size, len(ext), nil
}
