package http1_test

import (
	"bytes"
	"math/rand/v2"
)

// morsels are what parsers stumble over.
func morsels() []string {
	return []string{
		"\x00", "\r", "\n", "\r\n", "\r\n\r\n", "\n\n", "\t", " ", ",", ";", ":", "+", "-", "0", "0x", "\x7f", "\x80", "\xff", "\x0b", "\x0c", "\"", "/", "*", "?", "#", "%", "%2", "@", "[", "]", "\\",
		"chunked", "identity", "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Host: a\r\n", "Host: b\r\n", "Connection: close\r\n",
		"Connection: keep-alive\r\n", "Expect: 100-continue\r\n", "Trailer: X-A\r\n", "Pragma: no-cache\r\n", " folded\r\n", "X-A: b\r\n", "0\r\n\r\n", "5\r\nhello\r\n", "1;a=b\r\nx\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/ HTTP/1.1\r\n", "CONNECT a:1 HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n", "HTTP/1.0", "HTTP/1.1", "HTTP/1.2", "http://", "a:80", "9223372036854775807", "ffffffffffffffff",
	}
}

// mutate does one to four things to a conversation, most of them to whole lines.
func mutate(rng *rand.Rand, b []byte, cases []requestCase) []byte {
	bits := morsels()
	for range 1 + rng.IntN(4) {
		lines := bytes.SplitAfter(b, []byte("\n"))
		i, j := rng.IntN(len(lines)), rng.IntN(len(lines))
		at := rng.IntN(len(b) + 1)
		switch rng.IntN(13) {
		case 0: // a line twice
			b = joined(lines[:i+1], lines[i:])
		case 1: // a line less
			b = joined(lines[:i], lines[i+1:])
		case 2: // two lines change places
			lines[i], lines[j] = lines[j], lines[i]
			b = joined(lines)
		case 3: // a line's end becomes another
			ends := []string{"\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t", " \r\n", "\r\n\r\n", ""}
			line := bytes.TrimRight(lines[i], "\r\n")
			b = joined(lines[:i], [][]byte{line, []byte(ends[rng.IntN(len(ends))])}, lines[i+1:])
		case 4, 5: // a morsel somewhere
			b = spliced(b, at, at, bits[rng.IntN(len(bits))])
		case 6: // a morsel at a place that matters: around a colon, or at a line's beginning
			at = len(joined(lines[:i]))
			if colon := bytes.IndexByte(lines[i], ':'); colon >= 0 && rng.IntN(3) > 0 {
				at += colon + rng.IntN(2)
			}
			b = spliced(b, at, at, bits[rng.IntN(len(bits))])
		case 7: // a few bytes less
			b = spliced(b, at, min(len(b), at+1+rng.IntN(3)), "")
		case 8: // the other case
			for k := at; k < min(len(b), at+8); k++ {
				if b[k]|0x20 >= 'a' && b[k]|0x20 <= 'z' {
					b[k] ^= 0x20
				}
			}
		case 9: // another byte
			if at < len(b) {
				b[at] = byte(rng.IntN(256))
			}
		case 10: // a line from another case
			other := cases[rng.IntN(len(cases))].send
			if len(other) <= 4096 {
				theirs := bytes.SplitAfter(other, []byte("\n"))
				b = joined(lines[:i], theirs[rng.IntN(len(theirs)):][:1], lines[i:])
			}
		case 11: // the end of another case
			other := cases[rng.IntN(len(cases))].send
			if len(other) <= 4096 {
				b = spliced(b, at, at, string(other[rng.IntN(len(other)+1):]))
			}
		case 12: // a digit more or less
			for k := at; k < len(b); k++ {
				if b[k] >= '0' && b[k] <= '9' {
					b[k] = '0' + byte(rng.IntN(10))
					break
				}
			}
		}
	}
	return b
}

func joined(groups ...[][]byte) (b []byte) {
	for _, lines := range groups {
		b = append(b, bytes.Join(lines, nil)...)
	}
	return b
}

// spliced puts s in place of b[from:to].
func spliced(b []byte, from, to int, s string) []byte {
	out := append([]byte(nil), b[:from]...)
	return append(append(out, s...), b[to:]...)
}
