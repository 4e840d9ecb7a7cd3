// Package frame is Dialmux's vocabulary: frame types, limits, and the codec
// between frames and the bytes that SPEC.md defines.
//
// It is pure: no socket, no goroutine, no logger. Append functions write into
// the slice that they are given; Parse returns slices of what it was given.
package frame

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"
	"golang.org/x/net/http2"
)

// Type says what a frame means. Below 0x40 the numbers are HTTP/2's own
// (RFC 9113 section 6).
type Type uint8

const (
	Data         = Type(http2.FrameData)         // [0, stream, flags, total if END_STREAM], payload: body bytes
	Headers      = Type(http2.FrameHeaders)      // [1, stream, flags, [name, value, ...], total if END_STREAM], payload: first body bytes
	RSTStream    = Type(http2.FrameRSTStream)    // [3, stream, 0, code, reason]
	GoAway       = Type(http2.FrameGoAway)       // [7, 0, 0, last stream taken, code, reason]
	WindowUpdate = Type(http2.FrameWindowUpdate) // [8, stream, 0, credit]
	Welcome      = Type(0x40)                    // [64, 0, 0, map], from the router
	Join         = Type(0x41)                    // [65, 0, 0, map], from the worker
	Own          = Type(0x42)                    // [66, 0, 0, map]
)

// EndStream is the one flag: the sender has ended its direction of the
// stream, and the total length of its body stands in the frame.
const EndStream = uint8(http2.FlagDataEndStream)

// Code is why a stream or a connection ended (RFC 9113 section 7).
type Code = http2.ErrCode

const (
	// MaxHead is the largest head, in bytes.
	MaxHead = 64 << 10
	// MaxPayload is the largest payload of one frame, in bytes.
	MaxPayload = 64 << 10
	// MaxNumber bounds every number on the wire, so that languages whose
	// numbers are doubles can take part.
	MaxNumber = 1<<53 - 1
	// Protocol is the version in WELCOME and JOIN.
	Protocol = 1
)

// Frame is one parsed message. Its slices belong to the buffers that Parse
// was given. Only the members that the type names are set.
type Frame struct {
	Type   Type
	Flags  uint8
	Stream uint64 // 0 for frames about the connection

	Total   uint64 // DATA, HEADERS: length of the whole body, with END_STREAM
	Fields  Fields // HEADERS
	Code    Code   // RST_STREAM, GOAWAY
	Reason  []byte // RST_STREAM, GOAWAY
	Last    uint64 // GOAWAY
	Credit  uint64 // WINDOW_UPDATE
	Rest    []byte // WELCOME, JOIN, OWN: the map; unknown types: every further element, still encoded
	rest    uint32 // elements in Rest
	Payload []byte
}

// End reports whether the sender ended its direction with this frame.
func (f *Frame) End() bool { return f.Flags&EndStream != 0 }

// Parse reads one message of one or two parts; payload is nil where there is
// no second one. Types that it does not know come back whole, in Rest. The
// error is a ConnError or a StreamError.
func Parse(head, payload []byte) (Frame, error) {
	f := Frame{Payload: payload}
	n, b, err := msgp.ReadArrayHeaderBytes(head)
	if err != nil || n < 3 {
		return f, connError(http2.ErrCodeProtocol, "head is not a msgpack array of [type, stream, flags, ...]")
	}
	typ, b, err1 := number(b)
	stream, b, err2 := number(b)
	flags, b, err3 := number(b)
	if err1 != nil || err2 != nil || err3 != nil || typ > 0xff || flags > 0xff {
		return f, connError(http2.ErrCodeProtocol, "head does not begin with three numbers: type (0 to 255), stream (below 2^53), flags (0 to 255)")
	}
	f.Type, f.Stream, f.Flags = Type(typ), stream, uint8(flags)
	if len(head) > MaxHead {
		return f, f.fault(http2.ErrCodeFrameSize, "head of %d bytes, at most %d are allowed", len(head), MaxHead)
	}
	if len(payload) > MaxPayload {
		return f, f.fault(http2.ErrCodeFrameSize, "payload of %d bytes, at most %d are allowed", len(payload), MaxPayload)
	}
	b, err = f.parseRest(b, n-3)
	if err != nil {
		return f, err
	}
	if len(b) > 0 {
		return f, f.fault(http2.ErrCodeFrameSize, "%d bytes after the head of %v", len(b), f.Type)
	}
	return f, nil
}

// parseRest reads the n elements that follow type, stream and flags.
func (f *Frame) parseRest(b []byte, n uint32) ([]byte, error) {
	want := uint32(0)
	switch f.Type {
	case Data, WindowUpdate, Welcome, Join, Own:
		want = 1
	case Headers, RSTStream:
		want = 2
	case GoAway:
		want = 3
	default:
		f.Rest, f.rest = b, n
		for range n {
			var err error
			if b, err = skip(b); err != nil {
				return b, f.fault(http2.ErrCodeProtocol, "%v: %v", f.Type, err)
			}
		}
		f.Rest = f.Rest[:len(f.Rest)-len(b)]
		return b, nil
	}
	if (f.Type == Data || f.Type == Headers) && !f.End() {
		want--
	}
	if n != want {
		return b, f.fault(http2.ErrCodeFrameSize, "%v has %d elements, wants %d", f.Type, n+3, want+3)
	}
	if (f.Stream == 0) != f.aboutConnection() {
		return b, f.fault(http2.ErrCodeProtocol, "%v on stream %d", f.Type, f.Stream)
	}
	var err error
	switch f.Type {
	case Headers:
		if f.Fields, b, err = parseFields(b); err != nil {
			return b, f.fault(http2.ErrCodeProtocol, "HEADERS: %v", err)
		}
	case GoAway:
		f.Last, b, err = number(b)
	case WindowUpdate:
		f.Credit, b, err = number(b)
	case Welcome, Join, Own:
		f.Rest, f.rest = b, 1
		b, err = skip(b)
		if err == nil && msgp.NextType(f.Rest) != msgp.MapType {
			err = errNotMap
		}
		f.Rest = f.Rest[:len(f.Rest)-len(b)]
	}
	if err == nil && (f.Type == Data || f.Type == Headers) && f.End() {
		f.Total, b, err = number(b)
	}
	if err == nil && (f.Type == RSTStream || f.Type == GoAway) {
		var code uint64
		if code, b, err = number(b); err == nil {
			f.Code = Code(min(code, 1<<32-1))
			f.Reason, b, err = text(b)
		}
	}
	if err != nil {
		return b, f.fault(http2.ErrCodeProtocol, "%v: %v", f.Type, err)
	}
	return b, nil
}

// Append writes f's head to dst, whatever its type: what Parse read comes out
// with the same meaning. The payload is a part of its own and is not written.
func (f *Frame) Append(dst []byte) []byte {
	switch f.Type {
	case Data:
		return AppendData(dst, f.Stream, f.End(), f.Total)
	case Headers:
		return AppendHeaders(dst, f.Stream, f.Fields, f.End(), f.Total)
	case RSTStream:
		return AppendRSTStream(dst, f.Stream, f.Code, string(f.Reason))
	case GoAway:
		return AppendGoAway(dst, f.Last, f.Code, string(f.Reason))
	case WindowUpdate:
		return AppendWindowUpdate(dst, f.Stream, f.Credit)
	}
	return append(appendHead(dst, 3+f.rest, f.Type, f.Stream, f.Flags), f.Rest...)
}

// AppendData writes the head of a DATA frame; total counts only with end.
func AppendData(dst []byte, stream uint64, end bool, total uint64) []byte {
	if !end {
		return appendHead(dst, 3, Data, stream, 0)
	}
	return msgp.AppendUint64(appendHead(dst, 4, Data, stream, EndStream), total)
}

// AppendHeaders writes the head of a HEADERS frame; total counts only with end.
func AppendHeaders(dst []byte, stream uint64, fields Fields, end bool, total uint64) []byte {
	if !end {
		return fields.append(appendHead(dst, 4, Headers, stream, 0))
	}
	return msgp.AppendUint64(fields.append(appendHead(dst, 5, Headers, stream, EndStream)), total)
}

// AppendRSTStream writes the head of an RST_STREAM frame.
func AppendRSTStream(dst []byte, stream uint64, code Code, reason string) []byte {
	dst = msgp.AppendUint64(appendHead(dst, 5, RSTStream, stream, 0), uint64(code))
	return appendText(dst, reason)
}

// AppendGoAway writes the head of a GOAWAY frame: last is the highest stream
// that its sender has taken or will take.
func AppendGoAway(dst []byte, last uint64, code Code, reason string) []byte {
	dst = msgp.AppendUint64(appendHead(dst, 6, GoAway, 0, 0), last)
	return appendText(msgp.AppendUint64(dst, uint64(code)), reason)
}

// AppendWindowUpdate writes the head of a WINDOW_UPDATE frame.
func AppendWindowUpdate(dst []byte, stream, credit uint64) []byte {
	return msgp.AppendUint64(appendHead(dst, 4, WindowUpdate, stream, 0), credit)
}

func appendHead(dst []byte, n uint32, t Type, stream uint64, flags uint8) []byte {
	dst = msgp.AppendArrayHeader(dst, n)
	dst = msgp.AppendUint64(dst, uint64(t))
	dst = msgp.AppendUint64(dst, stream)
	return msgp.AppendUint64(dst, uint64(flags))
}

func (f *Frame) aboutConnection() bool {
	switch f.Type {
	case GoAway, Welcome, Join, Own:
		return true
	}
	return false
}

// fault is a StreamError where the frame is about a stream, else a ConnError.
func (f *Frame) fault(code Code, format string, args ...any) error {
	if f.Stream == 0 || f.aboutConnection() {
		return connError(code, format, args...)
	}
	return StreamError{Stream: f.Stream, Code: code, Reason: fmt.Sprintf(format, args...)}
}

func (t Type) String() string {
	switch t {
	case Welcome:
		return "WELCOME"
	case Join:
		return "JOIN"
	case Own:
		return "OWN"
	}
	return http2.FrameType(t).String()
}
