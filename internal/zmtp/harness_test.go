package zmtp

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func mustWrite(t testing.TB, nc net.Conn, b []byte) {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, nc net.Conn, n int) []byte {
	t.Helper()
	b, err := readFull(nc, n)
	if err != nil {
		t.Fatalf("%v after %d of %d bytes", err, len(b), n)
	}
	return b
}

func bytesOf(parts []string) [][]byte {
	b := make([][]byte, len(parts))
	for i, p := range parts {
		b[i] = []byte(p)
	}
	return b
}

func send(t testing.TB, c *Conn, parts ...string) uint64 {
	t.Helper()
	return sendAs(t, c, 0, Ordinary, parts...)
}

func sendAs(t testing.TB, c *Conn, stream uint64, class Class, parts ...string) uint64 {
	t.Helper()
	gen, err := c.Send(stream, class, bytesOf(parts)...)
	if err != nil {
		t.Fatal(err)
	}
	return gen
}

// wantMessage takes the next message, in a bubble or not.
func wantMessage(t testing.TB, r *running, parts ...string) {
	t.Helper()
	var got [][]byte
	select {
	case got = <-r.got:
	case <-r.done:
		t.Fatalf("Run ended: %v", r.err)
	}
	if len(got) != len(parts) {
		t.Fatalf("got %q, want %q", got, parts)
	}
	for i := range parts {
		if string(got[i]) != parts[i] {
			t.Fatalf("got %.200q, want %.200q", got, parts)
		}
	}
}

// wantNone waits until nothing moves any more, in a bubble.
func wantNone(t testing.TB, r *running) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-r.got:
		t.Fatalf("got %q, want nothing", got)
	default:
	}
}

// drain reads what has been written to the far end of a connection and not been read.
func drain(t testing.TB, nc net.Conn) []byte {
	t.Helper()
	synctest.Wait()
	return readAvailable(t, nc)
}

func readAvailable(t testing.TB, nc net.Conn) (all []byte) {
	t.Helper()
	if err := nc.SetReadDeadline(time.Now().Add(1)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.SetReadDeadline(time.Time{}) }()
	for {
		b := make([]byte, 64<<10)
		n, err := nc.Read(b)
		all = append(all, b[:n]...)
		if err != nil {
			return all
		}
	}
}
