package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

const (
	greetingSize      = 64
	maxHandshakeFrame = 8 << 10  // bytes of one handshake command
	maxHandshake      = 16 << 10 // bytes that a peer may send before traffic
)

// opening is the part of our greeting that libzmq must see before it shows its mechanism: signature and version.
var opening = [12]byte{0: 0xff, 9: 0x7f, 10: 3, 11: 0}

// fence is the connection that zmq4 gets to see during the handshake. zmq4 believes every length that it reads,
// so the fence reads one whole frame at a time, judges it, and only then hands it on. It reads not one byte past
// the last frame that zmq4 asks for. Writes are gathered until the next read.
type fence struct {
	net.Conn
	mechanism string // the peer's, once its greeting is there
	want      string // the only mechanism that will do; empty is any
	sent      []byte // what left ahead of zmq4's own greeting, which begins with it
	out       []byte
	in        []byte // read and judged, not yet taken by zmq4
	read      int
	greeted   bool
	err       error // the first thing that went wrong, in our words
}

// open sends the first bytes of our greeting ahead of zmq4 and waits for the peer's whole one.
func (f *fence) open() error {
	f.sent = opening[:]
	if _, err := f.Conn.Write(f.sent); err != nil {
		return f.fail(err)
	}
	return f.next()
}

// Write keeps p until the next Read or flush.
func (f *fence) Write(p []byte) (int, error) {
	n := len(p)
	if len(f.sent) > 0 {
		m := min(len(p), len(f.sent))
		if !bytes.Equal(p[:m], f.sent[:m]) {
			return 0, f.fail(errors.New("our own greeting changed midway"))
		}
		p, f.sent = p[m:], f.sent[m:]
	}
	f.out = append(f.out, p...)
	return n, nil
}

// Read hands on what has been judged.
func (f *fence) Read(p []byte) (int, error) {
	if len(f.in) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.in)
	f.in = f.in[n:]
	return n, nil
}

func (f *fence) flush() error {
	if len(f.out) == 0 {
		return nil
	}
	_, err := f.Conn.Write(f.out)
	f.out = f.out[:0]
	return f.fail(err)
}

func (f *fence) fail(err error) error {
	if f.err == nil {
		f.err = err
	}
	return err
}

// next reads the greeting, or one frame.
func (f *fence) next() error {
	if err := f.flush(); err != nil {
		return err
	}
	if !f.greeted {
		f.greeted = true
		return f.fail(f.readGreeting())
	}
	return f.fail(f.readFrame())
}

func (f *fence) readGreeting() error {
	g := make([]byte, greetingSize)
	for n := 0; n < len(g); {
		// Judged as it comes: whoever is no ZMTP peer may never send all 64 bytes.
		m, err := f.Conn.Read(g[n:])
		n += m
		f.read += m
		if err := checkGreeting(g[:n]); err != nil {
			return err
		}
		if err != nil && n < len(g) {
			return unexpectedEOF(err)
		}
	}
	name, _, _ := bytes.Cut(g[12:32], []byte{0})
	f.mechanism = string(name)
	if f.want != "" && f.mechanism != f.want {
		return fmt.Errorf("the peer wants the mechanism %q, this side %s", f.mechanism, f.want)
	}
	f.in = g
	return nil
}

// checkGreeting judges a greeting by as much of it as is there.
func checkGreeting(g []byte) error {
	switch {
	case len(g) > 0 && g[0] != 0xff, len(g) > 9 && g[9] != 0x7f:
		return fmt.Errorf("the peer does not speak ZMTP 3: it began with %q", g[:min(len(g), 16)])
	case len(g) > 10 && g[10] < 3:
		return errors.New("the peer speaks a version of ZMTP before 3.0; it needs ZeroMQ 4 or newer")
	case len(g) > 32 && g[32] > 1:
		return fmt.Errorf("malformed greeting: as-server is %d", g[32])
	}
	return nil
}

// readFrame reads one handshake command.
func (f *fence) readFrame() error {
	var head [9]byte
	if err := f.readFull(head[:2]); err != nil {
		return err
	}
	flags, n, size := head[0], 2, uint64(head[1])
	if flags&^flagLong != flagCommand {
		return fmt.Errorf("a frame with flags %#02x where a handshake command belongs", flags)
	}
	if flags&flagLong != 0 {
		if err := f.readFull(head[2:]); err != nil {
			return err
		}
		n, size = len(head), binary.BigEndian.Uint64(head[1:])
	}
	if size > maxHandshakeFrame || f.read+int(size) > maxHandshake {
		return fmt.Errorf("a handshake command of %d bytes: at most %d are taken, and %d in all", size, maxHandshakeFrame, maxHandshake)
	}
	frame := make([]byte, n+int(size))
	copy(frame, head[:n])
	if err := f.readFull(frame[n:]); err != nil {
		return err
	}
	if name, body, err := splitCommand(frame[n:]); err != nil {
		return err
	} else if string(name) == "ERROR" {
		return refusal(body)
	}
	f.in = frame
	return nil
}

func (f *fence) readFull(p []byte) error {
	n, err := io.ReadFull(f.Conn, p)
	f.read += n
	return unexpectedEOF(err)
}

func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
