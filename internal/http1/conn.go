package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one client's connection, and the request on it that is being served. Its methods are for the Handler, during
// Serve or Refuse, in the goroutine that these were called in. Only Read and Trailers may be called from one other
// goroutine meanwhile, and Halt from any.
//
// An answer is
//
//	any number of   Status(1xx), Field..., EndInfo
//	one             Status, Field..., EndHead
//	any number of   Write, Flush
//	one             Field... (trailers), Finish
//
// or Abort at any point. What is written leaves at the next Flush, EndInfo or Finish, or when the buffer is full.
type Conn struct {
	srv *Server
	nc  net.Conn
	h   Handler
	socket
	place int // in srv.conns, guarded by srv.mu

	// Read by the sweep. Times are srv.clock's; 0 is none.
	reading, writing atomic.Int64 // deadlines
	since            atomic.Int64 // when Serve began
	idle             atomic.Bool  // no byte of a request has come
	switched         atomic.Bool  // to another protocol, in which a client may close its half and listen
	seen             uint64       // what the client had taken, owned by the sweep

	mu      sync.Mutex
	serving bool // guarded by mu
	told    bool // guarded by mu: Left was called for this request

	// Owned by the connection's goroutine until a request with a body is served; then by whoever calls Read.
	buf  []byte // of a pool, or larger; nil: none is held
	r, w int    // what has been read and not used is buf[r:w]
	one  [1]byte
	head Head
	in   body

	asking sync.Mutex // of an answer to Expect, and what stands against it: the final head

	answer
}

// size is what a connection's buffers hold while it is busy. Larger heads get larger buffers of their own.
const size = 4 << 10

var buffers = sync.Pool{New: func() any { return new([size]byte) }}

// ServeConn serves a client until one side closes, and closes nc unless HTTP2 got it: then it returns true.
func (s *Server) ServeConn(nc net.Conn, h Handler) (handedOver bool) {
	s.start()
	c := &Conn{srv: s, nc: nc, h: h}
	c.open()
	s.add(c)
	defer s.remove(c)
	handed := c.run()
	c.letGo()
	switch {
	case handed != nil:
		s.HTTP2(handed)
	case c.broken:
		Reset(nc)
	default:
		_ = nc.Close()
	}
	return handed != nil
}

// run serves one request after the other. It returns the connection if it is to be handed to HTTP2.
func (c *Conn) run() (handed net.Conn) {
	for first := true; ; first = false {
		head, err := c.readHead(first)
		switch {
		case errors.Is(err, errPreface):
			return &replay{c.nc, bytes.Clone(c.buf[c.r:c.w])}
		case err != nil:
			refusal, ok := errors.AsType[*Error](err)
			if !ok {
				return nil
			}
			c.refuse(refusal)
			c.linger()
			return nil
		}
		if err := c.head.parse(head, &c.srv.limits); err != nil {
			c.refuse(err)
			c.linger()
			return nil
		}
		c.in.begin(c.head.Length)
		c.beginAnswer(&c.head)
		c.serve()
		if c.broken || !c.done {
			c.broken = true
			return nil
		}
		if c.in.halted.Load() {
			_ = c.nc.SetReadDeadline(time.Time{})
		}
		if c.closing {
			if !c.head.close || !c.in.ended() || c.r < c.w || c.pending() {
				c.linger()
			}
			return nil
		}
	}
}

func (c *Conn) serve() {
	c.mu.Lock()
	c.serving, c.told = true, false
	c.mu.Unlock()
	c.since.Store(c.srv.clock.Load())
	c.h.Serve(c)
	c.since.Store(0)
	c.mu.Lock()
	c.serving = false
	c.mu.Unlock()
}

// refuse answers what is no request.
func (c *Conn) refuse(why *Error) {
	c.head = Head{Fields: c.head.Fields[:0], Minor: 1, close: true}
	c.in.begin(0)
	c.beginAnswer(&c.head)
	c.h.Refuse(c, why)
}

var errPreface = errors.New("HTTP/2's preface")

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// readHead waits for a whole head, and uses it up. An *Error is to be answered; after any other the connection is just
// closed.
func (c *Conn) readHead(first bool) ([]byte, error) {
	if err := c.await(first); err != nil {
		return nil, err
	}
	for skipped, looked := false, 0; ; {
		b := c.buf[c.r:c.w]
		if !skipped && len(b) >= 2 && b[0] == '\r' && b[1] == '\n' { // RFC 9112 section 2.2
			skipped, looked = true, 0
			c.r += 2
			continue
		}
		end := 0
		if first && c.srv.HTTP2 != nil && len(b) > 0 && string(b[:min(len(b), len(preface))]) == preface[:min(len(b), len(preface))] {
			if len(b) >= len(preface) {
				if c.reading.Swap(0) == expired {
					return nil, io.EOF
				}
				return nil, errPreface
			}
		} else {
			if len(b) > 0 && b[0] != '\r' && classes[b[0]]&inToken == 0 { // TLS, for one, has no lines
				return nil, errRequestLine
			}
			var err *Error
			if end, looked, err = endOfHead(b, looked); err != nil {
				return nil, err
			}
		}
		switch {
		case max(end, looked) > c.srv.MaxHead && bytes.IndexByte(b[:c.srv.MaxHead], '\n') < 0:
			return nil, errTargetSize
		case max(end, looked) > c.srv.MaxHead:
			return nil, errHeadSize
		case end > 0:
			if c.reading.Swap(0) == expired { // it has just come, but the connection's deadline is set
				return nil, errHeadLate
			}
			c.r += end
			return b[:end], nil
		case !first && c.reading.Load() == 0:
			c.reading.Store(c.after(c.srv.HeadTimeout))
		}
		err := c.fill()
		switch {
		case c.reading.Load() == expired && c.r == c.w, err != nil && c.r == c.w:
			return nil, io.EOF
		case c.reading.Load() == expired:
			return nil, errHeadLate
		case errors.Is(err, io.EOF):
			return nil, errHeadCut
		case err != nil:
			return nil, err
		}
	}
}

// await waits for the first byte of a request, without a buffer.
func (c *Conn) await(first bool) error {
	limit := c.srv.IdleTimeout
	if first {
		limit = c.srv.HeadTimeout
	}
	if c.r < c.w {
		return nil
	}
	c.r, c.w = 0, 0
	c.forget()
	c.letGo()
	deadline := c.after(limit)
	c.reading.Store(deadline)
	c.idle.Store(true)
	err := c.fill()
	c.idle.Store(false)
	if err != nil {
		return err
	}
	if !first {
		deadline = 0 // else it is the head's as well, whatever Drain has made of it
	}
	if c.reading.Swap(deadline) == expired {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// after is a deadline; 0 is none. The clock may be a beat behind.
func (c *Conn) after(limit time.Duration) int64 {
	if limit < 0 {
		return 0
	}
	return c.srv.clock.Load() + int64(limit+beat)
}

// fill reads at least one byte behind what is in the buffer.
func (c *Conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.buf != nil && c.w == len(c.buf) {
		switch {
		case c.r > 0:
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		default:
			larger := make([]byte, 2*len(c.buf))
			copy(larger, c.buf)
			c.giveBack()
			c.buf = larger
		}
	}
	return c.read()
}

// forget drops what points into the buffer, of earlier requests too: it may be a large one.
func (c *Conn) forget() {
	c.head, c.in.trailers = Head{Fields: emptied(c.head.Fields)}, emptied(c.in.trailers)
}

// emptied keeps a list's memory, if that is small.
func emptied(fields []Field) []Field {
	if cap(fields) > 32 {
		return nil
	}
	clear(fields[:cap(fields)])
	return fields[:0]
}

// letGo gives the buffers back, which must be empty.
func (c *Conn) letGo() {
	c.giveBack()
	c.buf = nil
	if c.out != nil {
		if cap(c.out) == size {
			buffers.Put((*[size]byte)(c.out[:size]))
		}
		c.out = nil
	}
}

func (c *Conn) giveBack() {
	if len(c.buf) == size {
		buffers.Put((*[size]byte)(c.buf))
	}
}

// grab sees to it that there is a buffer.
func (c *Conn) grab() {
	if c.buf == nil {
		c.buf = buffers.Get().(*[size]byte)[:]
	}
}

// linger lets the client read the answer: what it still sends is thrown away, or the kernel would answer it with a reset.
func (c *Conn) linger() {
	if w, ok := c.nc.(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
		return
	}
	if _, ok := c.nc.(around); ok { // TLS has said goodbye in its own way; now TCP's
		if w, ok := Beneath(c.nc).(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
			return
		}
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	c.grab()
	for end := c.after(lingeringAll); c.srv.clock.Load() < end; {
		c.reading.Store(c.after(lingering))
		if _, err := c.nc.Read(c.buf); err != nil || c.reading.Load() == expired {
			return
		}
	}
}

// Reset closes so that the peer sees that something broke off.
func Reset(nc net.Conn) {
	under := Beneath(nc)
	if t, ok := under.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = under.Close()
}

// around is a connection that stands around another one: TLS's, for one.
type around interface{ NetConn() net.Conn }

// Beneath is the connection that all others stand around.
func Beneath(nc net.Conn) net.Conn {
	for {
		outer, ok := nc.(around)
		if !ok {
			return nc
		}
		nc = outer.NetConn()
	}
}

// replay is a connection whose first bytes are read again.
type replay struct {
	net.Conn
	first []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}
