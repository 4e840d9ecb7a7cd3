package router_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2client is a client of HTTP/2 that sends whatever frames it is told to.
type h2client struct {
	*http2.Framer // for writing
	t             *testing.T
	w             *world
	nc            net.Conn
	block         bytes.Buffer
	enc           *hpack.Encoder
	inbox         *mailbox[h2frame]
	closed        chan struct{}
	next          uint32 // stream
}

// h2frame is a frame from the router.
type h2frame struct {
	kind   http2.FrameType
	stream uint32
	status string // of HEADERS
	code   http2.ErrCode
	data   string
}

// http2 says hello on nc, and reads all that comes.
func (w *world) http2(nc net.Conn) *h2client {
	w.t.Helper()
	c := &h2client{Framer: http2.NewFramer(nc, nil), t: w.t, w: w, nc: nc, inbox: newMailbox[h2frame](), closed: make(chan struct{}), next: 1}
	c.enc = hpack.NewEncoder(&c.block)
	c.AllowIllegalWrites = true
	if _, err := nc.Write([]byte(http2.ClientPreface)); err != nil {
		w.t.Fatal(err)
	}
	if c.WriteSettings() != nil || c.WriteSettingsAck() != nil {
		w.t.Fatal("the router does not listen")
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	w.wg.Go(c.listen)
	return c
}

// dialHTTP2 is a connection of its own.
func (w *world) dialHTTP2() *h2client {
	w.t.Helper()
	nc, err := w.clients.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.http2(nc)
}

func (c *h2client) listen() {
	defer close(c.closed)
	fr := http2.NewFramer(nil, c.nc)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		s := h2frame{kind: f.Header().Type, stream: f.Header().StreamID}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			s.status = f.PseudoValue("status")
		case *http2.DataFrame:
			s.data = string(f.Data())
		case *http2.RSTStreamFrame:
			s.code = f.ErrCode
		case *http2.GoAwayFrame:
			s.code = f.ErrCode
		}
		c.inbox.put(s)
	}
}

// heard is what has come since it was last asked, once nothing moves.
type heard struct {
	answers map[uint32]string // status and body
	resets  map[uint32]http2.ErrCode
	pings   int
	goAway  bool
	code    http2.ErrCode // GOAWAY's
	closed  bool
}

func (c *h2client) heard() heard {
	c.t.Helper()
	c.w.settle()
	h := heard{answers: map[uint32]string{}, resets: map[uint32]http2.ErrCode{}}
	for s, ok := c.inbox.peek(); ok; s, ok = c.inbox.peek() {
		switch s.kind {
		case http2.FrameHeaders:
			h.answers[s.stream] = s.status + " "
		case http2.FrameData:
			h.answers[s.stream] += s.data
		case http2.FrameRSTStream:
			h.resets[s.stream] = s.code
		case http2.FramePing:
			h.pings++
		case http2.FrameGoAway:
			h.goAway, h.code = true, s.code
		}
	}
	select {
	case <-c.closed:
		h.closed = true
	default:
	}
	return h
}

// refused tells whether the request on stream was answered by 400 or reset, or
// cost the connection.
func (h heard) refused(stream uint32) bool {
	_, reset := h.resets[stream]
	return reset || strings.HasPrefix(h.answers[stream], "400 ") || h.goAway && h.code != http2.ErrCodeNo
}

// ordinary is a GET, with more fields.
func ordinary(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/"}, more...)
}

// but is an ordinary GET with another value of one pseudo field, and more fields.
func but(name, value string, more ...string) []string {
	fields := ordinary(more...)
	for i := 0; i < 8; i += 2 {
		if fields[i] == name {
			fields[i+1] = value
		}
	}
	return fields
}

// encode makes a block of names and values.
func (c *h2client) encode(fields ...string) []byte {
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return c.block.Bytes()
}

const frameSize = 16 << 10

// open sends the head of a request on a stream of its own. It says what has
// become of the connection, and which stream it was.
func (c *h2client) open(end bool, fields ...string) (stream uint32, err error) {
	block := c.encode(fields...)
	stream = c.next
	c.next += 2
	first := block[:min(len(block), frameSize)]
	block = block[len(first):]
	err = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for err == nil && len(block) > 0 {
		piece := block[:min(len(block), frameSize)]
		block = block[len(piece):]
		err = c.WriteContinuation(stream, len(block) == 0, piece)
	}
	return stream, err
}

// ask is open for a connection that is sound.
func (c *h2client) ask(end bool, fields ...string) (stream uint32) {
	c.t.Helper()
	stream, err := c.open(end, fields...)
	if err != nil {
		c.t.Fatal(err)
	}
	return stream
}
