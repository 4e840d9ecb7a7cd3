package frame

import (
	"fmt"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// reader reads one msgpack value from the front of b and returns what follows.
type reader func(b []byte) ([]byte, error)

// entries is what a reader of a map knows of it.
type entries []struct {
	key  string
	read reader
	seen bool
}

// parse reads a map into what the entries point at.
func (known entries) parse(b []byte) ([]byte, error) {
	return eachEntry(b, func(key, b []byte) ([]byte, error) {
		for i := range known {
			e := &known[i]
			if e.key != string(key) {
				continue
			}
			if e.seen {
				return b, errTwice
			}
			e.seen = true
			return e.read(b)
		}
		return skip(b)
	})
}

// eachEntry walks a map; each reads one value and returns what follows it.
func eachEntry(b []byte, each func(key, b []byte) ([]byte, error)) ([]byte, error) {
	n, b, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return b, errNotMap
	}
	for range n {
		key, v, err := text(b)
		if err != nil {
			return b, err
		}
		if b, err = each(key, v); err != nil {
			return b, fmt.Errorf("%.40q: %w", key, err)
		}
	}
	return b, nil
}

func eachItem(b []byte, each reader) ([]byte, error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return b, errNotArray
	}
	for ; err == nil && n > 0; n-- {
		b, err = each(b)
	}
	return b, err
}

func num(p *uint64) reader {
	return func(b []byte) (_ []byte, err error) {
		*p, b, err = number(b)
		return b, err
	}
}

func nums(p *[]uint64) reader {
	return func(b []byte) ([]byte, error) {
		return eachItem(b, func(b []byte) ([]byte, error) {
			n, b, err := number(b)
			*p = append(*p, n)
			return b, err
		})
	}
}

func str(p *string) reader {
	return func(b []byte) (_ []byte, err error) {
		*p, b, err = label(b)
		return b, err
	}
}

func strs(p *[]string) reader {
	return func(b []byte) ([]byte, error) {
		return eachItem(b, func(b []byte) ([]byte, error) {
			s, b, err := label(b)
			*p = append(*p, s)
			return b, err
		})
	}
}

func strMap(p *map[string]string) reader {
	return func(b []byte) ([]byte, error) {
		*p = map[string]string{}
		return eachEntry(b, func(key, b []byte) ([]byte, error) {
			if !utf8.Valid(key) {
				return b, errUTF8
			}
			if _, twice := (*p)[string(key)]; twice {
				return b, errTwice
			}
			s, b, err := label(b)
			(*p)[string(key)] = s
			return b, err
		})
	}
}

// label is text that ends up in logs and JSON, where only UTF-8 will do.
func label(b []byte) (string, []byte, error) {
	v, rest, err := text(b)
	if err == nil && !utf8.Valid(v) {
		err = errUTF8
	}
	return string(v), rest, err
}

// skip passes over one value of any kind. It counts where msgp.Skip recurses:
// a head of nothing but array headers would cost a stack of megabytes.
func skip(b []byte) ([]byte, error) {
	for left := uint64(1); left > 0; left-- {
		var n uint32
		var err error
		switch msgp.NextType(b) {
		case msgp.MapType:
			n, b, err = msgp.ReadMapHeaderBytes(b)
			left += 2 * uint64(n)
		case msgp.ArrayType:
			n, b, err = msgp.ReadArrayHeaderBytes(b)
			left += uint64(n)
		default:
			b, err = msgp.Skip(b)
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}
