package zmtp

import (
	"errors"
	"testing"

	"github.com/dialmux/dialmux/internal/testpipe"
)

// FuzzAccept plays a peer from its first byte on.
func FuzzAccept(f *testing.F) {
	for _, seed := range [][]byte{nullREP, nullDealer, nullRouter, plainDealer, concat(nullGreeting, reqReady), concat(nullGreeting, dealerMeReady), []byte("GET / HTTP/1.1\r\n\r\n")} {
		f.Add(seed)
	}
	f.Add(concat(nullGreeting, long(flagCommand, 1<<62)))
	f.Add(concat(nullGreeting, ready([]byte("\x0bSocket-Type\x00\x00\x00"))))
	f.Fuzz(func(t *testing.T, sends []byte) {
		if len(sends) > testpipe.DefaultSize {
			return
		}
		p, err := acceptBytes(t, sends, true)
		if err != nil {
			return
		}
		if p.Socket != "REP" && p.Socket != "DEALER" && p.Socket != "ROUTER" || p.Mechanism != "NULL" && p.Mechanism != "PLAIN" ||
			p.Mechanism == "NULL" && p.User+p.Password != "" || len(p.Identity) > 255 || len(p.User) > 255 || len(p.Password) > 255 {
			t.Errorf("accepted %+v", p)
		}
	})
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
