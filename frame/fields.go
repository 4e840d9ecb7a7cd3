package frame

import (
	"iter"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Fields is a list of header fields in wire form: names and values in order,
// duplicates kept. The zero value is an empty list, ready for Add.
type Fields struct {
	pairs uint32
	raw   []byte // msgpack: name, value, name, value
}

// Len is the number of fields.
func (f Fields) Len() int { return int(f.pairs) }

// Size is the encoded size in bytes.
func (f Fields) Size() int { return len(f.raw) }

// Reset empties f and keeps its memory.
func (f *Fields) Reset() { f.pairs, f.raw = 0, f.raw[:0] }

// Shrink empties f, and keeps its memory only if that is at most so many bytes.
func (f *Fields) Shrink(most int) {
	if f.Reset(); cap(f.raw) > most {
		f.raw = nil
	}
}

// Add appends one field. The name goes out as it is: lower case is the
// caller's to see to.
func (f *Fields) Add(name, value string) {
	f.raw = appendText(appendText(f.raw, name), value)
	f.pairs++
}

// AddBytes is Add for slices.
func (f *Fields) AddBytes(name, value []byte) {
	f.raw = appendText(appendText(f.raw, name), value)
	f.pairs++
}

// CopyFrom makes f a copy of g in f's own memory.
func (f *Fields) CopyFrom(g Fields) { f.pairs, f.raw = g.pairs, append(f.raw[:0], g.raw...) }

// Next returns the first field and the list without it. f must not be empty.
func (f Fields) Next() (name, value []byte, rest Fields) {
	name, b, _ := text(f.raw) // parsed or built before, so it is well formed
	value, b, _ = text(b)
	return name, value, Fields{f.pairs - 1, b}
}

// All yields each field in order; the slices are f's own.
func (f Fields) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for f.pairs > 0 {
			var name, value []byte
			name, value, f = f.Next()
			if !yield(name, value) {
				return
			}
		}
	}
}

// Get returns the first value of a name, nil where there is none.
func (f Fields) Get(name string) []byte {
	for n, v := range f.All() {
		if string(n) == name {
			return v
		}
	}
	return nil
}

func (f Fields) append(dst []byte) []byte {
	return append(msgp.AppendArrayHeader(dst, 2*f.pairs), f.raw...)
}

func parseFields(b []byte) (Fields, []byte, error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || n%2 != 0 {
		return Fields{}, b, errPairs
	}
	raw := b
	for range n {
		if _, b, err = text(b); err != nil {
			return Fields{}, b, errPairs
		}
	}
	end := len(raw) - len(b)
	return Fields{n / 2, raw[:end:end]}, b, nil // no capacity: Add must not write over what follows
}

// text reads a str or a bin: workers in languages whose strings must be UTF-8
// send bin for what is not.
func text(b []byte) (v, rest []byte, err error) {
	switch {
	case len(b) == 0:
		return nil, b, errText
	case b[0] >= 0xa0 && b[0] <= 0xbf, b[0] >= 0xd9 && b[0] <= 0xdb:
		v, rest, err = msgp.ReadStringZC(b)
	case b[0] >= 0xc4 && b[0] <= 0xc6:
		v, rest, err = msgp.ReadBytesZC(b)
	default:
		return nil, b, errText
	}
	if err != nil {
		return nil, b, errText
	}
	return v, rest, nil
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	if isUTF8(s) {
		return appendStr(dst, s)
	}
	return append(msgp.AppendBytesHeader(dst, uint32(len(s))), s...)
}

// appendStr is msgp.AppendString for both kinds of text.
func appendStr[T string | []byte](dst []byte, s T) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, 0xd9, byte(n))
	case n < 1<<16:
		dst = append(dst, 0xda, byte(n>>8), byte(n))
	default:
		dst = append(dst, 0xdb, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, s...)
}

// isUTF8 looks at most values once, byte by byte: they are ASCII.
func isUTF8[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return utf8.ValidString(string(s[i:]))
		}
	}
	return true
}

// number reads a whole number from 0 to MaxNumber.
func number(b []byte) (uint64, []byte, error) {
	if len(b) == 0 {
		return 0, b, errNumber
	}
	if b[0] < 0x80 {
		return uint64(b[0]), b[1:], nil
	}
	n, rest, err := msgp.ReadUint64Bytes(b)
	if err != nil || n > MaxNumber {
		return 0, b, errNumber
	}
	return n, rest, nil
}
