package router

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// inPieces is a connection that comes and goes so many bytes at a time.
type inPieces struct {
	net.Conn
	in   bytes.Buffer
	size int
}

func (c *inPieces) Read(p []byte) (int, error)  { return c.in.Read(p[:min(len(p), c.size)]) }
func (c *inPieces) Write(p []byte) (int, error) { return len(p), nil }
func (c *inPieces) Close() error                { return nil }

// H12: what a client may send that carries nothing follows from what it and the
// server send that does, however the bytes are cut.
func TestH12MeteredConnections(t *testing.T) {
	ping := func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) }
	head := func(f *http2.Framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}, EndHeaders: true})
	}
	data := func(f *http2.Framer) error { return f.WriteData(1, false, []byte("x")) }
	for name, tc := range map[string]struct {
		each  []func(*http2.Framer) error // from the client
		wrote []func(*http2.Framer) error // by the server, after each
		ends  bool
	}{
		"PING":                              {[]func(*http2.Framer) error{ping}, nil, true},
		"PING, answered":                    {[]func(*http2.Framer) error{ping}, []func(*http2.Framer) error{func(f *http2.Framer) error { return f.WritePing(true, [8]byte{}) }}, true},
		"empty DATA":                        {[]func(*http2.Framer) error{func(f *http2.Framer) error { return f.WriteData(1, false, nil) }}, nil, true},
		"RST_STREAM of what runs":           {[]func(*http2.Framer) error{head, func(f *http2.Framer) error { return f.WriteRSTStream(1, 8) }}, nil, false},
		"DATA":                              {[]func(*http2.Framer) error{data}, nil, false},
		"requests that end with empty DATA": {[]func(*http2.Framer) error{head, func(f *http2.Framer) error { return f.WriteData(1, true, nil) }}, nil, false},
		"five PINGs to a request":           {[]func(*http2.Framer) error{head, ping, ping, ping, ping, ping}, nil, true},
		"small messages, with PINGs and credit": {
			[]func(*http2.Framer) error{data, ping, func(f *http2.Framer) error { return f.WriteWindowUpdate(0, 1) }, func(f *http2.Framer) error { return f.WriteWindowUpdate(1, 1) }}, nil, false,
		},
		"credit for what the server sends": {
			[]func(*http2.Framer) error{ping, func(f *http2.Framer) error { return f.WriteWindowUpdate(0, 1) }, func(f *http2.Framer) error { return f.WriteWindowUpdate(1, 1) }},
			[]func(*http2.Framer) error{data},
			false,
		},
	} {
		for _, size := range []int{1, 7, 9, 4096} {
			c := &inPieces{size: size}
			flooded := 0
			m := meter(c, func() { flooded++ })
			_, _ = io.WriteString(&c.in, http2.ClientPreface)
			in, out := http2.NewFramer(&c.in, nil), http2.NewFramer(m, nil)
			in.AllowIllegalWrites, out.AllowIllegalWrites = true, true
			var err error
			for range 5000 {
				for _, write := range tc.each {
					if err := write(in); err != nil {
						t.Fatal(err)
					}
				}
				for err == nil && c.in.Len() > 0 {
					_, err = m.Read(make([]byte, 4096))
				}
				for _, write := range tc.wrote {
					if err := write(out); err != nil {
						t.Fatal(err)
					}
				}
			}
			if ended := err != nil; ended != tc.ends || ended != (flooded == 1) {
				t.Errorf("%s, in pieces of %d: ended: %v (%v, told %d times), want %v", name, size, ended, err, flooded, tc.ends)
			}
		}
	}
}
