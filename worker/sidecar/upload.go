package sidecar

import (
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"
)

// continueWait is how long the body is held back for an app that does not answer Expect: 100-continue.
const continueWait = time.Second

// upload is a request's body on its way to the app, while the answer may be on its own.
type upload struct {
	c      *conn
	q      *request
	buf    *[bufferSize]byte
	resume chan struct{} // closed when the app wants the body; nil: it is sent at once
	cancel chan struct{} // closed when nobody wants it any more
	done   chan struct{}

	ending atomic.Bool // the last bytes are being written

	// After done.
	err       error
	truncated bool // err is the client's: its body broke off
}

// chunkRoom is what a chunk's size takes before its data, and the end of the line after it.
const chunkRoom = 10

func (u *upload) run() {
	defer close(u.done)
	if u.resume != nil {
		late := time.NewTimer(continueWait)
		defer late.Stop()
		select {
		case <-u.resume:
		case <-late.C:
		case <-u.cancel:
			u.err = errors.New("the app answered without the body")
			return
		}
	}
	if u.q.chunked {
		u.err = u.sendChunks()
	} else {
		u.err = u.sendPlain()
	}
}

// cancelled tells that it was not the client who broke the body off.
func (u *upload) cancelled() bool {
	select {
	case <-u.cancel:
		return true
	default:
		return false
	}
}

func (u *upload) sendPlain() error {
	for rest := u.q.ContentLength; rest > 0; {
		n, err := u.q.Body.Read(u.buf[:min(rest, bufferSize)])
		if rest -= int64(n); n > 0 {
			u.ending.Store(rest == 0)
			if _, err := u.c.Write(u.buf[:n]); err != nil {
				return err
			}
		}
		if err != nil && rest > 0 {
			u.truncated = !u.cancelled()
			return err
		}
	}
	return nil
}

func (u *upload) sendChunks() error {
	for {
		n, err := u.q.Body.Read(u.buf[chunkRoom : bufferSize-2])
		if n > 0 {
			if _, err := u.c.Write(u.chunk(n)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			u.truncated = !u.cancelled()
			return err
		}
	}
	b := append(u.buf[:0], "0\r\n"...)
	for name, values := range u.q.Trailer {
		for _, value := range values {
			b = appendField(b, name, value)
		}
	}
	u.ending.Store(true)
	_, err := u.c.Write(append(b, "\r\n"...))
	return err
}

// chunk frames n bytes that stand behind chunkRoom.
func (u *upload) chunk(n int) []byte {
	var size [chunkRoom]byte
	head := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
	from := chunkRoom - len(head)
	copy(u.buf[from:], head)
	copy(u.buf[chunkRoom+n:], "\r\n")
	return u.buf[from : chunkRoom+n+2]
}
