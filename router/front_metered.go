package router

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// What an HTTP/2 client may send that carries nothing (SETTINGS, PING, PRIORITY,
// WINDOW_UPDATE, RST_STREAM, empty DATA and CONTINUATION, unknown types) beyond
// what the heads and bodies both ways are good for: net/http goes on answering
// such frames for as long as they come (CVE-2019-9511 and its kin).
const (
	idleFrames    = 1000 // at once
	idleFrameRate = 50   // a second

	framesOfFrame = 4    // that a HEADERS frame, or one of DATA, is good for
	bytesOfFrame  = 1024 // that are good for one more
)

var errFlood = errors.New("too many frames that carry nothing")

// metered is an HTTP/2 connection that ends when its client floods it.
type metered struct {
	net.Conn
	flooded func()

	left atomic.Int64 // idle frames that may come

	in     frames // owned by Read
	looked time.Time
	over   bool

	out frames // owned by Write
}

func meter(nc net.Conn, flooded func()) *metered {
	m := &metered{Conn: nc, flooded: flooded, in: frames{skip: len(http2.ClientPreface)}, looked: time.Now()}
	m.left.Store(idleFrames)
	return m
}

// NetConn is the connection within.
func (m *metered) NetConn() net.Conn { return m.Conn }

// tls is the state of TLS within; nil: none is spoken.
func (m *metered) tls() *tls.ConnectionState {
	t, ok := m.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

func (m *metered) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	for b, whole := p[:n], false; len(b) > 0; {
		if b, whole = m.out.next(b); whole && m.out.carries() {
			m.earn(framesOfFrame + m.out.skip/bytesOfFrame)
		}
	}
	return n, err
}

func (m *metered) Read(p []byte) (int, error) {
	if m.over {
		return 0, errFlood
	}
	n, err := m.Conn.Read(p)
	if now := time.Now(); now.Sub(m.looked) > time.Second/idleFrameRate {
		m.earn(int(min(now.Sub(m.looked), time.Minute) * idleFrameRate / time.Second))
		m.looked = now
	}
	for b, whole := p[:n], false; len(b) > 0; {
		switch b, whole = m.in.next(b); {
		case !whole:
		case m.in.carries():
			m.earn(framesOfFrame + m.in.skip/bytesOfFrame)
		case !m.in.ends():
			m.left.Add(-1)
		}
	}
	if m.left.Load() < 0 {
		m.over = true
		m.flooded()
		_ = m.Close()
		return 0, errFlood
	}
	return n, err
}

func (m *metered) earn(n int) {
	if m.left.Add(int64(n)) > idleFrames {
		m.left.Store(idleFrames)
	}
}

// frames reads the heads of frames (RFC 9113 section 4.1) that pass by in pieces.
type frames struct {
	head [9]byte
	have int // bytes of head
	skip int // bytes before the next one
}

// next takes up to the end of a head, which is whole then, or of what is before it.
func (f *frames) next(b []byte) (rest []byte, whole bool) {
	if f.skip > 0 {
		n := min(f.skip, len(b))
		f.skip -= n
		return b[n:], false
	}
	n := copy(f.head[f.have:], b)
	if f.have += n; f.have < len(f.head) {
		return b[n:], false
	}
	f.have = 0
	f.skip = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
	return b[n:], true
}

// carries tells a frame that has something in it.
func (f *frames) carries() bool {
	switch http2.FrameType(f.head[3]) {
	case http2.FrameHeaders:
		return true
	case http2.FrameData, http2.FrameContinuation:
		return f.skip > 0
	}
	return false
}

// ends tells the empty DATA that a body ends with.
func (f *frames) ends() bool {
	return http2.FrameType(f.head[3]) == http2.FrameData && http2.Flags(f.head[4]).Has(http2.FlagDataEndStream)
}
