package zmtp

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dialmux/dialmux/internal/testpipe"
)

// FuzzAccept plays a peer from its first byte on.
func FuzzAccept(f *testing.F) {
	for _, seed := range [][]byte{nullREP, nullDealer, nullRouter, plainDealer, concat(nullGreeting, reqReady), concat(nullGreeting, dealerMeReady), []byte("GET / HTTP/1.1\r\n\r\n")} {
		f.Add(seed)
	}
	for _, c := range captures(f, "*") {
		f.Add(c.whole)
	}
	f.Add(concat(nullGreeting, long(flagCommand, 1<<62)))
	f.Add(concat(nullGreeting, ready([]byte("\x0bSocket-Type\x00\x00\x00"))))
	f.Fuzz(func(t *testing.T, sends []byte) {
		if len(sends) > testpipe.DefaultSize {
			return
		}
		var p Peer
		var err error
		bounded(t, len(sends), func() { p, err = acceptBytes(t, sends, true) })
		if err != nil {
			return
		}
		if p.Socket != "REP" && p.Socket != "DEALER" && p.Socket != "ROUTER" || p.Mechanism != "NULL" && p.Mechanism != "PLAIN" ||
			p.Mechanism == "NULL" && p.User+p.Password != "" || len(p.Identity) > 255 || len(p.User) > 255 || len(p.Password) > 255 {
			t.Errorf("accepted %+v", p)
		}
	})
}

// FuzzConnect plays a router from its first byte on.
func FuzzConnect(f *testing.F) {
	for _, c := range captures(f, "FROM-ROUTER.*") {
		f.Add(c.whole, bytes.HasPrefix(c.whole[12:], []byte("PLAIN")))
	}
	f.Add(concat(nullGreeting, routerReady), false)
	f.Add(concat(plainGreeting, []byte("\x04\x08\x07WELCOME"), routerReady), true)
	f.Add(concat(plainGreeting, []byte("\x04\x0b\x05ERROR\x04nope")), true)
	f.Fuzz(func(t *testing.T, sends []byte, plain bool) {
		if len(sends) > testpipe.DefaultSize {
			return
		}
		var p Peer
		var err error
		bounded(t, len(sends), func() { p, err = connectBytes(t, sends, plain) })
		if err == nil && (p.Mechanism != "NULL" && p.Mechanism != "PLAIN" || plain != (p.Mechanism == "PLAIN") || p.User+p.Password != "") {
			t.Errorf("connected to %+v", p)
		}
	})
}

// connectBytes is acceptBytes for the other end.
func connectBytes(t *testing.T, b []byte, plain bool) (Peer, error) {
	near, far := testpipe.New()
	defer far.Close()
	mustWrite(t, far, b)
	_ = far.(*testpipe.Conn).CloseWrite()
	o := Options{}
	if plain {
		o.User, o.Password = "user", "secret"
	}
	c, err := Connect(near, o)
	if err != nil {
		var he *HandshakeError
		if !errors.As(err, &he) {
			t.Errorf("%T, want *HandshakeError: %v", err, err)
		}
		return Peer{}, err
	}
	defer c.Close()
	return c.Peer(), nil
}

// FuzzRead plays a peer after a good handshake. What it sends is cut into the same messages however it arrives, and
// within the limits.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x00\x01a"), byte(1))
	f.Add([]byte("\x01\x01a\x01\x00\x00\x01c\x00\x00"), byte(3))
	f.Add(concat(long(0, 300), make([]byte, 300)), byte(100))
	f.Add(long(flagMore, 1<<63), byte(2))
	f.Add([]byte("\x01\x01a\x04\x09\x04PING\x00\x00hi\x00\x01b"), byte(5))
	f.Add([]byte("\x04\x0b\x05ERROR\x04nope"), byte(1))
	for i, c := range captures(f, "*") {
		f.Add(c.traffic, byte(7*i))
	}
	f.Fuzz(func(t *testing.T, sends []byte, piece byte) {
		o := Options{MaxPart: 1000, MaxParts: 3, QueueLimit: 1 << 20}
		messages, err := traffic(t, o, nullDealer, sends)
		if err == nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrDead) {
			t.Errorf("Run: %v", err)
		}
		size := 0
		for _, m := range messages {
			if len(m) == 0 || len(m) > 3 {
				t.Errorf("a message of %d parts", len(m))
			}
			for _, part := range m {
				size += len(part) + 2
				if len(part) > 1000 {
					t.Errorf("a part of %d bytes", len(part))
				}
			}
		}
		if size > len(sends) {
			t.Errorf("%d bytes of messages out of %d", size, len(sends))
		}

		r := newReader(1000, 3)
		got := 0
		for rest := sends; ; {
			event, err := r.next()
			if err != nil {
				break
			}
			if event == isMessage {
				if got == len(messages) {
					if !errorsInCommands(sends) {
						t.Fatal("more messages in pieces")
					}
					break
				}
				for i, part := range r.parts {
					if string(part) != string(messages[got][i]) {
						t.Fatalf("message %d differs", got)
					}
				}
				got++
				r.release()
			}
			if event == isIncomplete {
				if len(rest) == 0 {
					break
				}
				n := copy(r.space(), rest[:min(len(rest), 1+int(piece))])
				rest = rest[n:]
				r.grew(n)
			}
		}
		if most := max(smallBuffer, 4*len(sends)); len(r.buf) > most {
			t.Errorf("%d bytes cost a buffer of %d", len(sends), len(r.buf))
		}
		if got < len(messages) {
			t.Fatalf("%d messages in pieces, %d at once", got, len(messages))
		}
	})
}

// errorsInCommands says whether a command may have ended the connection, which the reader alone does not see.
func errorsInCommands(sends []byte) bool {
	for _, b := range sends {
		if b&^flagLong == flagCommand {
			return true
		}
	}
	return false
}

// capture is what a real peer sent, see testdata/README.md.
type capture struct {
	whole   []byte
	traffic []byte // behind the handshake
}

func captures(tb testing.TB, pattern string) (all []capture) {
	tb.Helper()
	files, err := filepath.Glob("testdata/captures/" + pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("no captures %s: %v", pattern, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		c := capture{whole: b}
		for b = b[min(len(b), greetingSize):]; len(b) > 1 && len(b) >= 2+int(b[1]); {
			command := b[2 : 2+int(b[1])]
			b = b[2+len(command):]
			if bytes.HasPrefix(command, []byte("\x05READY")) || bytes.HasPrefix(command, []byte("\x08INITIATE")) {
				break
			}
		}
		c.traffic = b
		all = append(all, c)
	}
	return all
}

// bounded checks that a handshake costs no more than its buffers and a few copies of what was sent. The fuzzing engine takes
// memory of its own now and then, so that it is asked again.
func bounded(t *testing.T, sent int, shake func()) {
	t.Helper()
	for try := 1; ; try++ {
		before := allocated()
		shake()
		switch grew := allocated() - before; {
		case grew <= uint64(256<<10+16*sent):
			return
		case try == 5:
			t.Fatalf("%d bytes cost %d bytes of memory", sent, grew)
		}
	}
}
