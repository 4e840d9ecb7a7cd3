package sidecar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// maxInforms bounds the informational heads of one answer; the router takes no more.
const maxInforms = 16

var errInforms = fmt.Errorf("it has more than %d informational heads", maxInforms)

// check says what is wrong with a head that could be read.
func check(res *http.Response, q *request) error {
	switch status := res.StatusCode; {
	case status < 100 || status > 599:
		return &fault{"http_protocol_error", fmt.Errorf("its status is %d", status)}
	case status == http.StatusSwitchingProtocols && q.protocol == "":
		return &fault{"http_upgrade_failed", errors.New("it is of status 101, and nobody asked to upgrade")}
	case status == http.StatusSwitchingProtocols && !strings.EqualFold(res.Header.Get("Upgrade"), q.protocol):
		return &fault{"http_upgrade_failed", fmt.Errorf("it upgrades to %.40q, and %.40q was asked for", res.Header.Get("Upgrade"), q.protocol)}
	}
	return checkFields(res.Header)
}

func checkFields(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return &fault{"http_protocol_error", fmt.Errorf("its field name %.40q is malformed", name)}
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return &fault{"http_protocol_error", fmt.Errorf("the value of its field %.40q is malformed", name)}
			}
		}
	}
	return nil
}

// setFields passes on what is not of this hop alone.
func setFields(to, from http.Header) {
	named := from["Connection"]
	for name, values := range from {
		if name != "Content-Length" && isOneHop(name) || named != nil && httpguts.HeaderValuesContainsToken(named, name) {
			continue
		}
		to[name] = values
	}
}

// inform passes an informational head on.
func inform(w http.ResponseWriter, status int, from http.Header) {
	h := w.Header()
	setFields(h, from)
	delete(h, "Content-Length")
	w.WriteHeader(status)
	clear(h)
}

// copyAnswer passes a final head and the body on, each byte as soon as no more is at hand. c is what it comes from, nil if that cannot be
// looked into.
func (a *App) copyAnswer(w http.ResponseWriter, res *http.Response, c *conn) error {
	h := w.Header()
	setFields(h, res.Header)
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // nobody has to guess
	}
	announced := make([]string, 0, len(res.Trailer))
	for name := range res.Trailer {
		announced = append(announced, name)
	}
	if slices.Sort(announced); len(announced) > 0 {
		h["Trailer"] = []string{strings.Join(announced, ", ")}
	}
	w.WriteHeader(res.StatusCode)
	if res.Body == http.NoBody {
		return nil
	}
	if err := a.copyBody(w, res, c); err != nil {
		return err
	}
	setTrailers(h, res.Trailer, announced)
	return nil
}

func setTrailers(h, trailers http.Header, announced []string) {
	for name, values := range trailers {
		switch {
		case isOneHop(name) || !httpguts.ValidTrailerHeader(name) || values == nil:
		case slices.Contains(announced, name):
			h[name] = values
		default:
			h[http.TrailerPrefix+name] = values
		}
	}
}

// An answer of which nothing has left can still be another worker's if the app dies, and one that leaves in one piece is cheaper. So the
// first piece waits for a little more: a small answer of known length until it is whole.
const (
	small     = 4 << 10                // it fits into one frame together with its head
	wholeness = time.Second            // for all of a small answer
	aMoment   = 5 * time.Millisecond   // from the head to what follows
	anInstant = 500 * time.Microsecond // from the first of the body to what follows
)

func (a *App) copyBody(w http.ResponseWriter, res *http.Response, c *conn) error {
	flush := http.NewResponseController(w).Flush
	buf := a.buffers.Get().(*[bufferSize]byte)
	defer a.buffers.Put(buf)
	left, sent := false, 0
	patience, late := aMoment, time.Time{}
	rest := res.ContentLength   // -1 if that is not known
	for rest != 0 || c == nil { // HTTP/2 has trailers behind bodies of known length too
		var n int
		var err error
		switch {
		case atHand(res, c):
			n, err = res.Body.Read(buf[:])
		case left:
			if err := flush(); err != nil {
				return errors.Join(http.ErrAbortHandler, err)
			}
			n, err = res.Body.Read(buf[:])
		default:
			if 0 < res.ContentLength && res.ContentLength <= small {
				if late.IsZero() {
					late = time.Now().Add(wholeness)
				}
				patience = time.Until(late)
			}
			n, left, err = readOrFlush(res.Body, buf[:], patience, flush)
		}
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return errors.Join(http.ErrAbortHandler, err)
			}
			if rest > 0 {
				rest -= int64(n)
			}
			sent += n
			left, patience = left || sent > small, anInstant
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && c != nil && !c.broken:
			return &fault{"http_protocol_error", err}
		case err != nil:
			if !left {
				a.expire(res.Request.Context())
			}
			return err
		}
	}
	return nil
}

// readOrFlush reads, and calls flush if that takes longer than patience.
func readOrFlush(body io.Reader, p []byte, patience time.Duration, flush func() error) (n int, flushed bool, err error) {
	done := make(chan error, 1)
	timer := time.AfterFunc(patience, func() { done <- flush() })
	n, err = body.Read(p)
	if timer.Stop() {
		return n, false, err
	}
	<-done // what it could not send, writing cannot either
	return n, true, err
}

// atHand tells whether what comes next of the body, or its end, can be read without waiting.
func atHand(res *http.Response, c *conn) bool {
	if c == nil {
		return false
	}
	n := c.answers.Buffered()
	if res.ContentLength >= 0 || len(res.TransferEncoding) == 0 {
		return n > 0
	}
	ahead, _ := c.answers.Peek(n) // all is there
	ahead, _ = bytes.CutPrefix(ahead, []byte("\r\n"))
	return bytes.HasPrefix(ahead, []byte("0\r\n")) && bytes.HasSuffix(ahead, []byte("\r\n\r\n"))
}

// proxyStatus is what Proxy-Status says of an answer of the sidecar's own (RFC 9209).
func proxyStatus(f *fault) string {
	details := strings.Map(func(c rune) rune { // a String of RFC 8941 section 3.3.3
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return '?'
		}
		return c
	}, f.Error())
	return `dialmux-sidecar; error=` + f.kind + `; details="` + details + `"`
}
