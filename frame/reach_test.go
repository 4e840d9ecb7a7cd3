package frame_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// A frame that says which stream it is about costs that stream, whatever is
// wrong with the rest of it.
func TestAMalformedFrameCostsItsStream(t *testing.T) {
	trailing := func(head []byte) []byte { return append(head, 0xc0) }
	var long frame.Fields
	long.Add("x", string(make([]byte, frame.MaxHead)))
	for name, tc := range map[string]struct {
		head   []byte
		stream uint64 // 0: it costs the connection
		code   frame.Code
	}{
		"HEADERS with a status that is a number": {msg([]any{1, 7, 0, []any{":status", 200}}), 7, http2.ErrCodeProtocol},
		"HEADERS with a name that is a number":   {msg([]any{1, 7, 0, []any{1, "x"}}), 7, http2.ErrCodeProtocol},
		"HEADERS with nil for a value":           {msg([]any{1, 7, 0, []any{"x", nil}}), 7, http2.ErrCodeProtocol},
		"HEADERS with an odd list":               {msg([]any{1, 7, 0, []any{":status", "200", "x"}}), 7, http2.ErrCodeProtocol},
		"HEADERS with a map":                     {msg([]any{1, 7, 0, map[string]string{":status": "200"}}), 7, http2.ErrCodeProtocol},
		"HEADERS with a total that is text":      {msg([]any{1, 7, 1, []any{}, "0"}), 7, http2.ErrCodeProtocol},
		"DATA with a total below 0":              {msg([]any{0, 7, 1, -1}), 7, http2.ErrCodeProtocol},
		"RST_STREAM with a name for a code":      {msg([]any{3, 7, 0, "CANCEL", ""}), 7, http2.ErrCodeProtocol},
		"WINDOW_UPDATE with 2^53":                {msg([]any{8, 7, 0, uint64(1) << 53}), 7, http2.ErrCodeProtocol},
		"HEADERS, too few elements":              {msg([]any{1, 7, 0}), 7, http2.ErrCodeFrameSize},
		"HEADERS, too many elements":             {msg([]any{1, 7, 0, []any{}, 0}), 7, http2.ErrCodeFrameSize},
		"HEADERS, more bytes behind":             {trailing(msg([]any{1, 7, 0, []any{}})), 7, http2.ErrCodeFrameSize},
		"DATA, more bytes behind":                {trailing(msg([]any{0, 7, 0})), 7, http2.ErrCodeFrameSize},
		"HEADERS over 64 KiB":                    {frame.AppendHeaders(nil, 7, long, false, 0), 7, http2.ErrCodeFrameSize},
		"of the future, cut off":                 {[]byte{0x94, 0xcc, 200, 7, 0, 0x91}, 7, http2.ErrCodeProtocol},

		"HEADERS on stream 0":              {msg([]any{1, 0, 0, []any{}}), 0, http2.ErrCodeProtocol},
		"HEADERS over 64 KiB on stream 0":  {frame.AppendHeaders(nil, 0, long, false, 0), 0, http2.ErrCodeFrameSize},
		"JOIN over 64 KiB":                 {frame.AppendJoin(nil, frame.JoinInfo{Name: string(make([]byte, frame.MaxHead))}), 0, http2.ErrCodeFrameSize},
		"GOAWAY on a stream":               {msg([]any{7, 7, 0, 0, 0, ""}), 0, http2.ErrCodeProtocol},
		"WELCOME on a stream, no map":      {msg([]any{64, 7, 0}), 0, http2.ErrCodeFrameSize},
		"a stream that is text":            {msg([]any{0, "7", 0}), 0, http2.ErrCodeProtocol},
		"an array cut off after its type":  {[]byte{0x93, 0}, 0, http2.ErrCodeProtocol},
		"64 KiB of something that is none": {bytes.Repeat([]byte{0xc1}, frame.MaxHead+1), 0, http2.ErrCodeProtocol},
	} {
		f, err := frame.Parse(tc.head, nil)
		if tc.stream == 0 {
			if ce, ok := errors.AsType[frame.ConnError](err); !ok || ce.Code != tc.code {
				t.Errorf("%s: %v, want an error of the connection, %v", name, err, tc.code)
			}
			continue
		}
		if se, ok := errors.AsType[frame.StreamError](err); !ok || se.Stream != tc.stream || se.Code != tc.code {
			t.Errorf("%s: %v, want an error of stream %d, %v", name, err, tc.stream, tc.code)
		}
		if f.Stream != tc.stream || f.End() != (tc.head[3] == 1) {
			t.Errorf("%s: comes back as %v on stream %d, end %v", name, f.Type, f.Stream, f.End())
		}
	}
}

// However it is cut off: as soon as the stream can be read, it is named.
func TestATruncatedFrameCostsItsStream(t *testing.T) {
	named := 0
	for _, v := range vectors(t) {
		whole, err := frame.Parse(v.head, v.payload)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		link := slices.Contains([]frame.Type{frame.GoAway, frame.Welcome, frame.Join, frame.Own}, whole.Type)
		for n := range v.head {
			_, err := frame.Parse(v.head[:n], v.payload)
			want := frame.StreamError{Stream: whole.Stream}
			if link || whole.Stream == 0 || !prologue(v.head[:n]) {
				if reach(err) != reach(frame.ConnError{}) {
					t.Errorf("%s, %d bytes of it: %v, want an error of the connection", v.name, n, err)
				}
				continue
			}
			if named++; reach(err) != reach(want) {
				t.Errorf("%s, %d bytes of it: %v, want %s", v.name, n, err, reach(want))
			}
		}
	}
	if named == 0 {
		t.Error("no prefix named a stream")
	}
}

// prologue tells whether type, stream and flags can be read, in the words of
// another implementation.
func prologue(head []byte) bool {
	d := msgpack.NewDecoder(bytes.NewReader(head))
	if _, err := d.DecodeArrayLen(); err != nil {
		return false
	}
	for range 3 {
		if _, err := d.DecodeUint64(); err != nil {
			return false
		}
	}
	return true
}

// What is too large is not looked at: neither walked nor copied.
func TestAHeadOver64KiBIsNotRead(t *testing.T) {
	for name, rest := range map[string][]byte{
		"nested":       bytes.Repeat([]byte{0x91}, 8<<20),
		"empty fields": append([]byte{0xdd, 0x00, 0x80, 0x00, 0x00}, bytes.Repeat([]byte{0xa0}, 8<<20)...),
		"junk":         bytes.Repeat([]byte{0xc1}, 8<<20),
	} {
		head := append([]byte{0x94, 1, 7, 0}, rest...)
		var err error
		if n := allocated(func() { _, err = frame.Parse(head, nil) }); n > errorCost {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
		if se, ok := errors.AsType[frame.StreamError](err); !ok || se.Code != http2.ErrCodeFrameSize {
			t.Errorf("%s: %v, want a FRAME_SIZE_ERROR of the stream: it was read", name, err)
		}
	}
}
