package sidecar

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
)

var (
	errChunk  = errors.New("its chunks are malformed")
	errExcess = errors.New("its chunks are next to empty, and their lines long")
)

// maxExcess bounds what an answer spends on lines rather than data: net/http's measure.
const maxExcess = 16 << 10

// chunks is a chunked body (RFC 9112 section 7.1). net/http's reader waits for the whole of a chunk; this one gives what is there.
type chunks struct {
	c   *conn
	res *http.Response // gets the trailers

	rest   uint64 // of the chunk at hand
	within bool   // the end of its last line is to come
	last   bool   // only trailers are
	excess int64
	err    error
}

// Read waits for one byte at most.
func (b *chunks) Read(p []byte) (n int, err error) {
	r := b.c.answers
	for b.err == nil && n < len(p) {
		switch {
		case b.rest > 0:
			if n > 0 && r.Buffered() == 0 {
				return n, nil
			}
			var m int
			m, b.err = r.Read(p[n:][:min(uint64(len(p)-n), b.rest)])
			n += m
			b.rest -= uint64(m)
		case n > 0 && !b.lineBuffered():
			return n, nil
		case b.last:
			b.err = b.readTrailers()
			return n, b.err
		default:
			b.err = b.begin()
		}
		if b.err == io.EOF { //nolint:errorlint // of the connection
			b.err = io.ErrUnexpectedEOF
		}
	}
	return n, b.err
}

// lineBuffered tells whether what comes next can be read without waiting: a chunk's size, or all trailers.
func (b *chunks) lineBuffered() bool {
	ahead, _ := b.c.answers.Peek(b.c.answers.Buffered()) // all is there
	if b.last {
		return bytes.HasPrefix(ahead, crlf) || bytes.Contains(ahead, []byte("\r\n\r\n"))
	}
	if b.within {
		ahead = ahead[min(len(ahead), len(crlf)):]
	}
	return bytes.Contains(ahead, crlf)
}

var crlf = []byte("\r\n")

// begin reads the end of the chunk before, and the size of the next.
func (b *chunks) begin() error {
	if b.within {
		b.within = false
		end, err := b.line()
		if err != nil {
			return err
		}
		if len(end) > 0 {
			return errChunk
		}
	}
	line, err := b.line()
	if err != nil {
		return err
	}
	b.excess += int64(len(line) + len(crlf))
	digits, _, _ := bytes.Cut(bytes.TrimRight(line, " \t"), []byte(";")) // what follows is an extension
	if b.rest, err = strconv.ParseUint(string(digits), 16, 64); err != nil || len(digits) > 16 {
		return errChunk
	}
	b.excess = max(0, b.excess-16-2*int64(min(b.rest, maxExcess)))
	if b.excess > maxExcess {
		return errExcess
	}
	b.within, b.last = b.rest > 0, b.rest == 0
	return nil
}

// line returns the next one without its end.
func (b *chunks) line() ([]byte, error) {
	line, err := b.c.answers.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line, ok := bytes.CutSuffix(line, crlf)
	if !ok || bytes.IndexByte(line, '\r') >= 0 {
		return nil, errChunk
	}
	return line, nil
}

// readTrailers returns io.EOF after them.
func (b *chunks) readTrailers() error {
	b.c.limit = maxHead
	trailers, err := textproto.NewReader(b.c.answers).ReadMIMEHeader()
	b.c.limit = math.MaxInt64
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	if b.res.Trailer == nil && len(trailers) > 0 {
		b.res.Trailer = http.Header{}
	}
	for name, values := range trailers {
		b.res.Trailer[name] = values
	}
	return io.EOF
}
