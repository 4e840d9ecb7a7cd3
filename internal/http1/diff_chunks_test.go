package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// FuzzChunks reads chunked bodies as they come in pieces of any size, into buffers of any size. What is understood must depend
// on neither, and what is held must stay small however long a line, or a trailer, goes on.
func FuzzChunks(f *testing.F) {
	for _, body := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0;c\r\nX-A: b\r\nX-B: c\r\n\r\n", "1\r\nx\r\n", "1;aaaaaaaaaaaaaaaaaaaa\r\nx\r\n",
		"000000000000005\r\nhello\r\n", "0\r\nX-A: b\r\n", "0\r\nX-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "5\nhello\r\n", "5\r\nhello0\r\n\r\n", "ffffffffffffffff\r\n", "fffffffffffffff\r\nx", ";", "0", "5;a\rb\r\n",
	} {
		f.Add([]byte(body), uint16(0), byte(3), byte(2))
		f.Add([]byte(body), uint16(2000), byte(200), byte(100))
	}
	for _, client := range []string{"curl", "go", "python", "nginx", "haproxy"} { // the chunks behind the head that speaks of them
		sent, err := os.ReadFile("testdata/captures/" + client)
		if err != nil {
			f.Fatal(err)
		}
		if _, rest, ok := bytes.Cut(bytes.ToLower(sent), []byte("transfer-encoding: chunked\r\n")); ok {
			_, rest, _ = bytes.Cut(rest, []byte("\r\n\r\n"))
			f.Add(rest[:min(len(rest), 1<<10)], uint16(0), byte(7), byte(100))
		}
	}
	s := &Server{MaxHead: 8 << 10, MaxFields: 20}
	s.start()
	f.Fuzz(func(t *testing.T, body []byte, times uint16, piece, room byte) {
		if len(body) == 0 || len(body) > 1<<10 {
			return
		}
		sent := bytes.Repeat(body, min(1+int(times), 1+(128<<10)/len(body)))
		whole := decode(t, s, sent, len(sent), 4096)
		for _, pieces := range [][2]int{{1, 512}, {1 + int(piece), 1 + int(room)}, {len(sent), 1 + int(room)}, {1 + int(piece), 4096}} {
			if got := decode(t, s, sent, pieces[0], pieces[1]); got != whole {
				t.Errorf("in pieces of %d, read %d at a time: %.300s; at once: %.300s; sent %.600q", pieces[0], pieces[1], got, whole, sent)
			}
		}
	})
}

// decode says in a line what a body is understood as.
func decode(t *testing.T, s *Server, sent []byte, piece, room int) string {
	c := &Conn{srv: s, nc: &script{left: sent, piece: piece}}
	c.in.begin(-1)
	var data bytes.Buffer
	var err error
	for p := make([]byte, room); err == nil; {
		var n int
		n, err = c.Read(p)
		data.Write(p[:n])
		if n == 0 && err == nil {
			t.Fatalf("Read returned nothing, and no error: %.600q", sent)
		}
		if most := 4 * s.MaxHead; len(c.buf) > most {
			t.Fatalf("%d bytes are held, more than %d: %.600q", len(c.buf), most, sent)
		}
	}
	if data.Len() > len(sent) {
		t.Errorf("%d bytes became %d: %.600q", len(sent), data.Len(), sent)
	}
	if _, again := c.Read(make([]byte, 1)); !errors.Is(again, err) {
		t.Errorf("after %v Read goes on with %v: %.600q", err, again, sent)
	}
	why, ok := errors.AsType[*Error](err)
	switch {
	case errors.Is(err, io.EOF):
		var trailers strings.Builder
		for _, f := range c.Trailers() {
			fmt.Fprintf(&trailers, "%s: %q, ", f.Name, f.Value)
		}
		unread := len(c.nc.(*script).left) + c.w - c.r
		return fmt.Sprintf("%q, trailers %s%d bytes behind them", data.Bytes(), trailers.String(), unread)
	case !ok:
		t.Errorf("an error that is nobody's fault: %v: %.600q", err, sent)
	case why.Status != 400 && why.Status != 431:
		t.Errorf("status %d: %.600q", why.Status, sent)
	}
	return fmt.Sprintf("%q, and %d", data.Bytes(), why.Status)
}

// script is a connection that yields what is left of it in pieces.
type script struct {
	net.Conn
	left  []byte
	piece int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.left[:min(s.piece, len(s.left))])
	s.left = s.left[n:]
	return n, nil
}
