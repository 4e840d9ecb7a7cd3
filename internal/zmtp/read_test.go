package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
)

func long(flags byte, size uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{flags | flagLong}, size)
}

// traffic runs a connection whose peer sends b and then closes its half.
func traffic(t testing.TB, o Options, handshake, b []byte) (messages [][][]byte, err error) {
	t.Helper()
	near, far := testpipe.NewSize(len(handshake) + len(b) + 4096)
	defer far.Close()
	mustWrite(t, far, concat(handshake, b))
	if err := far.(*testpipe.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c, err := Accept(near, o)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run(func(parts [][]byte) error {
		messages = append(messages, copyParts(parts))
		return nil
	})
	if _, readErr := near.Read(nil); !errors.Is(readErr, net.ErrClosed) {
		t.Errorf("Run left the connection open: %v", readErr)
	}
	return messages, err
}

func TestReadMessages(t *testing.T) {
	kib := strings.Repeat("k", 1024)
	for _, test := range []struct {
		name  string
		sends string
		want  [][]string
		err   error
	}{
		{"none", "", nil, io.EOF},
		{"one empty part", "\x00\x00", [][]string{{""}}, io.EOF},
		{"two messages", "\x00\x01a\x00\x01b", [][]string{{"a"}, {"b"}}, io.EOF},
		{"parts", "\x01\x01a\x01\x00\x00\x01c", [][]string{{"a", "", "c"}}, io.EOF},
		{"long form", string(long(0, 1024)) + kib, [][]string{{kib}}, io.EOF},
		{"long form of a short part", string(long(0, 1)) + "a", [][]string{{"a"}}, io.EOF},
		{"eight parts", strings.Repeat("\x01\x00", 7) + "\x00\x00", [][]string{{"", "", "", "", "", "", "", ""}}, io.EOF},
		{"commands between parts", "\x01\x01a\x04\x07\x04PING\x00\x00\x04\x05\x04PONG\x00\x01b", [][]string{{"a", "b"}}, io.EOF},
		{"unknown command", "\x04\x08\x06FUTURE!\x00\x01a", [][]string{{"a"}}, io.EOF},
		{"command in the long form", string(long(flagCommand, 5)) + "\x04PONG\x00\x01a", [][]string{{"a"}}, io.EOF},
		{"closed in a header", "\x00\x01a\x00", [][]string{{"a"}}, io.ErrUnexpectedEOF},
		{"closed in a part", "\x00\x01a\x00\x02b", [][]string{{"a"}}, io.ErrUnexpectedEOF},
		{"closed between parts", "\x01\x01a", nil, io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := traffic(t, Options{}, nullDealer, []byte(test.sends))
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
				t.Errorf("got %.300q", got)
			}
			if !errors.Is(err, test.err) {
				t.Errorf("Run: %v, want %v", err, test.err)
			}
		})
	}
}

func TestReadLimits(t *testing.T) {
	mib := make([]byte, 1<<20)
	for _, test := range []struct {
		name      string
		handshake []byte
		sends     []byte
		want      string // in the error; empty is io.EOF
	}{
		{"1 MiB part", nullDealer, concat(long(0, 1<<20), mib), ""},
		{"part over 1 MiB", nullDealer, long(0, 1<<20+1), "a part of 1048577 bytes: at most 1048576 are taken"},
		{"8 MiB part of a REP", nullREP, concat(long(0, 8<<20), mib, mib, mib, mib, mib, mib, mib, mib), ""},
		{"part of a REP over 8 MiB", nullREP, long(0, 8<<20+1), "at most 8388608 are taken"},
		{"2^31", nullDealer, long(0, 1<<31), "a part of 2147483648 bytes"},
		{"2^62", nullDealer, long(0, 1<<62), "a part of 4611686018427387904 bytes"},
		{"2^62 - 1, zmq4's end", nullDealer, unhex("023fffffffffffffff"), "a part of 4611686018427387903 bytes"},
		{"2^63", nullDealer, long(0, 1<<63), "a part of 9223372036854775808 bytes"},
		{"2^64 - 1", nullDealer, long(0, 1<<64-1), "a part of 18446744073709551615 bytes"},
		{"2^64 - 1, a command", nullDealer, long(flagCommand, 1<<64-1), "a command of 18446744073709551615 bytes: at most 256"},
		{"command over 256", nullDealer, long(flagCommand, 257), "a command of 257 bytes"},
		{"1 MiB and 64 KiB in two parts", nullDealer, concat(long(flagMore, 64<<10), mib[:64<<10], long(0, 1<<20), mib), ""},
		{"one byte more", nullDealer, concat(long(flagMore, 64<<10), mib[:64<<10], []byte{flagMore, 1, 0}, long(0, 1<<20)), "a message of more than 1114112 bytes"},
		{"8 MiB and 64 KiB of a REP", nullREP, concat(long(flagMore, 64<<10), mib[:64<<10], long(0, 8<<20), bytes.Repeat(mib, 8)), ""},
		{"one byte more of a REP", nullREP, concat(long(flagMore, 64<<10+1), mib[:64<<10+1], long(0, 8<<20)), "a message of more than 8454144 bytes"},
		{"nine parts", nullDealer, bytes.Repeat([]byte{1, 0}, 9), "a message of more than 8 parts"},
		{"more on a command", nullDealer, []byte{5, 0}, "flags 0x05"},
		{"reserved flag", nullDealer, []byte{8}, "flags 0x08"},
		{"empty command", nullDealer, []byte{4, 0}, "malformed command"},
		{"nameless command", nullDealer, []byte{4, 1, 0}, "malformed command"},
		{"command shorter than its name", nullDealer, []byte("\x04\x05\x05PING"), "malformed command"},
		{"PING without TTL", nullDealer, []byte("\x04\x06\x04PING\x00"), "malformed PING"},
		{"PING with too much context", nullDealer, concat([]byte("\x04\x18\x04PING\x00\x00"), make([]byte, 17)), "malformed PING"},
		{"ERROR", nullDealer, []byte("\x04\x0b\x05ERROR\x04nope"), `the peer refused the connection: "nope"`},
		{"malformed ERROR", nullDealer, []byte("\x04\x0b\x05ERROR\xffnope"), "malformed ERROR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := allocated()
			_, err := traffic(t, Options{}, test.handshake, test.sends)
			if test.want == "" {
				if !errors.Is(err, io.EOF) {
					t.Errorf("Run: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want ... %s", err, test.want)
			}
			if grew := allocated() - before; grew > 1<<20 {
				t.Errorf("%d bytes allocated", grew)
			}
		})
	}
}

func TestLimitsAreOptions(t *testing.T) {
	for _, test := range []struct {
		o         Options
		handshake []byte
		sends     string
		want      string
	}{
		{Options{MaxPart: 3}, nullDealer, "\x00\x04aaaa", "a part of 4 bytes: at most 3"},
		{Options{MaxPart: 3}, nullREP, "\x00\x04aaaa", "EOF"},
		{Options{MaxPartREP: 3}, nullREP, "\x00\x04aaaa", "a part of 4 bytes: at most 3"},
		{Options{MaxPart: 1 << 20}, nullDealer, string(long(flagMore, 1<<16+1)) + strings.Repeat("a", 1<<16+1) + string(long(0, 1<<20)), "a message of more than 1114112 bytes"},
		{Options{MaxPart: math.MaxInt}, nullDealer, "\x01\x01a\x00\x01b", "EOF"},
		{Options{MaxParts: 1}, nullDealer, "\x01\x00\x00\x00", "more than 1 parts"},
	} {
		if _, err := traffic(t, test.o, test.handshake, []byte(test.sends)); !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want ... %s", test.o, err, test.want)
		}
	}
}

func TestSetMaxPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		mustWrite(t, far, []byte("\x01\x05first\x00\x05hello\x00\x06second\x00\x0ba third one\x00\x0ca fourth one"))
		c.SetMaxPart(6)
		var got []string
		err := c.Run(func(parts [][]byte) error {
			got = append(got, string(bytes.Join(parts, []byte(" "))))
			if len(got) == 2 {
				c.SetMaxPart(11)
			}
			return nil
		})
		if want := []string{"first hello", "second", "a third one"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if !strings.Contains(err.Error(), "a part of 12 bytes: at most 11 are taken") {
			t.Errorf("Run: %v", err)
		}
	})
}

// A limit below zero is none that everything is under.
func TestSetMaxPartBelowZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		mustWrite(t, far, []byte("\x00\x00\x00\x01a"))
		c.SetMaxPart(-1)
		n := 0
		err := c.Run(func([][]byte) error { n++; return nil })
		if n != 1 || !strings.Contains(err.Error(), "a part of 1 bytes: at most 0 are taken") {
			t.Errorf("Run: %v after %d messages", err, n)
		}
	})
}

// The sum is bounded by the limit of now.
func TestSetMaxPartBoundsTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		half := concat(long(flagMore, 64<<10), make([]byte, 64<<10))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = far.Write(concat(half, half, []byte{0, 0}, half, half, []byte{0, 1})) })
		c.SetMaxPart(64 << 10)
		n := 0
		err := c.Run(func([][]byte) error { n++; return nil })
		if n != 1 || !strings.Contains(err.Error(), "a message of more than 131072 bytes") {
			t.Errorf("Run: %v after %d messages", err, n)
		}
		wg.Wait()
	})
}

// Wherever the peer stops, what was whole has been received and Run says which kind of end it was.
func TestTruncatedTraffic(t *testing.T) {
	messages := [][]byte{
		[]byte("\x01\x01a\x00\x02bc"),
		[]byte("\x04\x09\x04PING\x00\x00xy"),
		concat(long(flagMore, 300), bytes.Repeat([]byte("d"), 300), []byte("\x04\x05\x04PONG"), []byte("\x00\x00")),
	}
	whole := concat(messages...)
	for n := range len(whole) + 1 {
		got, err := traffic(t, Options{}, nullDealer, whole[:n])
		want, boundary := 0, n == 0 || n == 7 || n == 18 || n == len(whole)
		if n >= 7 {
			want = 1
		}
		if n == len(whole) {
			want = 2
		}
		if len(got) != want || errors.Is(err, io.ErrUnexpectedEOF) == boundary || errors.Is(err, io.EOF) != boundary {
			t.Errorf("%d bytes: %d messages, %v", n, len(got), err)
		}
	}
}

func TestReceiveErrorEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, testpipe.DefaultSize, Options{})
		mustWrite(t, far, []byte("\x00\x01a\x00\x01b"))
		stop, calls := errors.New("enough"), 0
		err := c.Run(func([][]byte) error { calls++; return stop })
		if !errors.Is(err, stop) || calls != 1 {
			t.Errorf("Run: %v after %d calls", err, calls)
		}
		if _, err := io.Copy(io.Discard, far); err != nil {
			t.Errorf("the peer sees %v, not the end", err)
		}
		if _, err := c.Send(1, Ordinary, nil); !errors.Is(err, ErrClosed) || !errors.Is(err, stop) {
			t.Errorf("Send afterwards: %v", err)
		}
	})
}

// receive may append to a part without writing over what follows it.
func TestPartsDoNotOverlap(t *testing.T) {
	r := newReader(100, 8)
	feed(t, &r, []byte("\x01\x01a\x00\x01b\x00\x01c"))
	_ = append(r.parts[0], "xxxx"...)
	_ = append(r.parts[1], "xxxx"...)
	if string(r.parts[1]) != "b" {
		t.Errorf("the second part is %q", r.parts[1])
	}
	r.release()
	if event, err := r.next(); event != isMessage || err != nil || string(r.parts[0]) != "c" {
		t.Errorf("%d, %v: %q", event, err, r.parts)
	}
}

// Cut into whatever pieces, the messages are the same.
func TestReaderFindsTheSameInAnyPieces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 255, 256, 1000, 16 << 10, 70 << 10, 300 << 10}
	var sent []byte
	var want [][][]byte
	for range 30 {
		message := make([][]byte, 1+rnd.IntN(3))
		for i := range message {
			message[i] = bytes.Repeat([]byte{byte(rnd.Int())}, sizes[rnd.IntN(len(sizes))])
			if rnd.IntN(4) == 0 {
				sent = append(sent, "\x04\x05\x04PONG"...)
			}
			flags := byte(flagMore)
			if i == len(message)-1 {
				flags = 0
			}
			sent = append(appendHeader(sent, flags, len(message[i])), message[i]...)
		}
		want = append(want, message)
	}
	for _, piece := range []int{1, 7, 1000, 20000, 1 << 30} {
		r := newReader(1<<20, 8)
		rest, got := sent, 0
		for got < len(want) {
			event, err := r.next()
			switch {
			case err != nil:
				t.Fatal(err)
			case event == isMessage:
				if !slices.EqualFunc(r.parts, want[got], bytes.Equal) {
					t.Fatalf("pieces of %d: message %d differs", piece, got)
				}
				got++
				r.release()
			case event == isIncomplete:
				space := r.space()
				if len(space) == 0 || len(rest) == 0 {
					t.Fatalf("%d bytes of space, %d to come, %d messages found", len(space), len(rest), got)
				}
				n := copy(space, rest[:min(piece, len(rest))])
				rest = rest[n:]
				r.grew(n)
			}
			if len(r.buf) > 4<<20 {
				t.Fatalf("a buffer of %d bytes", len(r.buf))
			}
		}
	}
}

// A claimed length takes no memory before its bytes are there.
func TestBufferGrowsOnlyWithWhatArrives(t *testing.T) {
	r := newReader(8<<20, 8)
	feed(t, &r, long(0, 8<<20))
	for sent := 0; sent < 8<<20; sent += 4096 {
		if limit := max(smallBuffer, 4*sent); len(r.buf) > limit {
			t.Fatalf("a buffer of %d bytes after %d", len(r.buf), sent)
		}
		feed(t, &r, make([]byte, 4096))
	}
	if len(r.parts) != 1 || len(r.parts[0]) != 8<<20 {
		t.Fatal("the part is not there")
	}
	r.release()
	if r.space(); len(r.buf) > 64<<10 {
		t.Errorf("%d bytes are kept when the buffer runs empty", len(r.buf))
	}
}

// Messages of the largest size, each with something of the next behind it, and commands between their parts, take a buffer that is
// little larger, and not many more moves than the commands' bytes call for.
func TestBufferIsNoLargerThanAMessageNeeds(t *testing.T) {
	for _, maxPart := range []int{64 << 10, 1 << 20, 8 << 20} {
		message := append(appendHeader(nil, flagMore, besidePart), make([]byte, besidePart)...)
		message = append(appendHeader(message, flagMore, maxPart-1), make([]byte, maxPart-1)...)
		message = append(message, bytes.Repeat([]byte("\x04\x05\x04PONG"), (8<<20)/7)...)
		message = append(message, 0, 1, 0)
		sent := bytes.Repeat(message, 3)
		most := (maxPart + besidePart) / 3 * 4
		r := newReader(maxPart, 8)
		total, messages, peak, moved := len(sent), 0, 0, 0
		for messages < 3 {
			event, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			if event == isMessage {
				messages++
				r.release()
			}
			if event != isIncomplete {
				continue
			}
			before, at := len(r.buf), r.end
			space := r.space()
			if r.end < at {
				moved += r.end
			}
			if size := len(r.buf); size > before {
				moved += r.end
				peak = max(peak, before+size)
			}
			n := copy(space, sent[:min(len(sent), 50_000)])
			if n == 0 {
				t.Fatalf("parts of %d: %d bytes of space, %d to come", maxPart, len(space), len(sent))
			}
			sent = sent[n:]
			r.grew(n)
		}
		if limit := most + most/2; peak > limit {
			t.Errorf("parts of %d: %d bytes of buffers while they grow, want at most %d", maxPart, peak, limit)
		}
		if moved > 8*total {
			t.Errorf("parts of %d: %d bytes are moved to read %d", maxPart, moved, total)
		}
		t.Logf("parts of %d: %d bytes of buffers while they grow, %d bytes moved to read %d", maxPart, peak, moved, total)
	}
}

func feed(t *testing.T, r *reader, b []byte) {
	t.Helper()
	for len(b) > 0 {
		n := copy(r.space(), b)
		b = b[n:]
		r.grew(n)
		if _, err := r.next(); err != nil {
			t.Fatal(err)
		}
	}
}

// A flood of PINGs between two parts does not pile up behind the first.
func TestCommandsBetweenPartsDoNotPileUp(t *testing.T) {
	r := newReader(1<<20, 8)
	feed(t, &r, []byte("\x01\x05first"))
	for range 100_000 {
		feed(t, &r, []byte("\x04\x07\x04PING\x00\x00"))
	}
	feed(t, &r, []byte("\x00\x04last"))
	if len(r.buf) > smallBuffer || len(r.parts) != 2 || string(r.parts[0]) != "first" || string(r.parts[1]) != "last" {
		t.Errorf("%q in a buffer of %d bytes", r.parts, len(r.buf))
	}
}

func TestPongCarriesTheContext(t *testing.T) {
	for _, test := range []struct{ sends, want string }{
		{"\x04\x07\x04PING\x00\x00", "\x04\x05\x04PONG"},
		{"\x04\x09\x04PING\x01\x00hi", "\x04\x07\x04PONGhi"},
		{"\x04\x17\x04PING\x00\x000123456789abcdef", "\x04\x15\x04PONG0123456789abcdef"},
		{"\x01\x01a\x04\x09\x04PING\x00\x00hi", "\x04\x07\x04PONGhi"}, // between parts
	} {
		synctest.Test(t, func(t *testing.T) {
			c, far := rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
			run(t, c)
			drain(t, far) // our first PING
			mustWrite(t, far, []byte(test.sends))
			if got := drain(t, far); string(got) != test.want {
				t.Errorf("%q was answered by %q, want %q", test.sends, got, test.want)
			}
		})
	}
}

// A peer that pings and does not read costs 256 KiB, then its connection.
func TestPingFloodIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, 1024, Options{QueueLimit: 1000})
		r := run(t, c)
		var sent int
		flood := bytes.Repeat([]byte("\x04\x07\x04PING\x00\x00"), 100)
		for {
			n, err := far.Write(flood)
			sent += n
			if err != nil {
				break
			}
			if sent > 4*urgentReserve {
				t.Fatal("the flood is taken for ever")
			}
			time.Sleep(time.Second) // no faster than any peer may
		}
		if err := r.wait(); !strings.Contains(err.Error(), "the peer does not read: over 262144 bytes wait for it") {
			t.Errorf("Run: %v", err)
		}
	})
}

// A peer that pings and reads makes us work for nothing.
func TestCommandsAreCounted(t *testing.T) {
	const ping, pong = "\x04\x07\x04PING\x00\x00", "\x04\x05\x04PONG"
	for _, command := range []string{ping, pong, "\x04\x08\x07UNKNOWN"} {
		synctest.Test(t, func(t *testing.T) {
			c, far := rawPeer(t, testpipe.DefaultSize, Options{Heartbeat: hour})
			r := run(t, c)
			for range 10 {
				mustWrite(t, far, []byte(strings.Repeat(command, 990)))
				synctest.Wait()
				drain(t, far)
				time.Sleep(10 * time.Second)
			}
			mustWrite(t, far, []byte("\x00\x05still"))
			wantMessage(t, r, "still")
			mustWrite(t, far, []byte(strings.Repeat(command, 1100)))
			if err := r.wait(); !strings.Contains(err.Error(), "over 1000 commands") {
				t.Errorf("%q: Run: %v", command, err)
			}
		})
	}
}

// One connection that is slow to read holds up itself alone, and only its writer.
func TestSlowReaderIsStillRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := rawPeer(t, 64, Options{})
		r := run(t, c)
		for range 100 {
			send(t, c, strings.Repeat("x", 1000))
		}
		mustWrite(t, far, []byte("\x00\x05still"))
		wantMessage(t, r, "still")
		time.Sleep(time.Second)
		want := 100 * (9 + 1000)
		got := 0
		for got < want {
			got += len(readAvailable(t, far))
		}
		if got != want+2*9 && got != want+9 {
			t.Errorf("%d bytes came, want %d and a PING or two", got, want)
		}
	})
}
