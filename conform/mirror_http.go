package conform

import (
	"bytes"
	"strconv"
	"strings"
)

// answer is what a client got for one request, read strictly: bytes that one
// HTTP implementation might take for something else than another are a
// failure, whatever the case is about.
type answer struct {
	infos    []httpHead
	head     httpHead
	begun    bool // the final head is there
	body     []byte
	trailers []string
	whole    bool
	size     int // in bytes, once whole
}

type httpHead struct {
	status int
	fields []string // name in lower case, value, ...
}

func (h httpHead) get(name string) []string { return valuesOf(h.fields, name) }

// parseAnswer reads as much of an HTTP/1.1 answer as is there.
func parseAnswer(raw []byte, method string, closed bool) (a answer) {
	rest := raw
	for {
		h, n := parseHTTPHead(rest)
		if n == 0 {
			return a
		}
		rest = rest[n:]
		if h.status >= 200 || h.status == 101 {
			a.head, a.begun = h, true
			break
		}
		a.infos = append(a.infos, h)
	}
	codings, lengths := a.head.get("transfer-encoding"), a.head.get("content-length")
	switch {
	case len(codings) > 0 && len(lengths) > 0:
		failf("the client got transfer-encoding and content-length in one head: %s", describeFields(a.head.fields))
	case len(lengths) > 1 || len(codings) > 1:
		failf("the client got a length twice: %s", describeFields(a.head.fields))
	}
	n := -1
	switch {
	case method == "HEAD", a.head.status == 204, a.head.status == 304, a.head.status == 101:
		n = 0
	case len(codings) > 0:
		n = a.parseChunks(rest)
	case len(lengths) > 0:
		length, err := strconv.ParseUint(lengths[0], 10, 40)
		if err != nil {
			failf("the client got content-length: %q", lengths[0])
		}
		a.body = rest[:min(uint64(len(rest)), length)]
		if uint64(len(rest)) >= length {
			n = int(length)
		}
	default:
		a.body = rest
		if closed {
			n = len(rest)
		}
	}
	if n >= 0 {
		a.whole, a.size = true, len(raw)-len(rest)+n
	}
	return a
}

// parseHTTPHead reads one head; n is its size, 0 if it is not whole yet.
func parseHTTPHead(raw []byte) (h httpHead, n int) {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		return h, 0
	}
	lines := strings.Split(string(raw[:end]), "\r\n")
	first := lines[0]
	status, _, _ := strings.Cut(strings.TrimPrefix(first, "HTTP/1.1 "), " ")
	code, err := strconv.Atoi(status)
	if !strings.HasPrefix(first, "HTTP/1.1 ") || err != nil || len(status) != 3 || code < 100 || code > 599 || !clean(first) {
		failf("expected a status line; the client got %.200q", first)
	}
	h.status = code
	h.fields = parseLines(lines[1:])
	return h, end + 4
}

func parseLines(lines []string) (fields []string) {
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		if !found || !token(name) || !clean(value) {
			failf("expected a header field; the client got the line %.200q", line)
		}
		fields = append(fields, strings.ToLower(name), strings.Trim(value, " \t"))
	}
	return fields
}

// clean tells whether a value has no control character but tab.
func clean(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

func token(s string) bool {
	const chars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && strings.Trim(s, chars) == ""
}

// parseChunks reads a chunked body and its trailers. It returns their size, -1
// if they are not whole.
func (a *answer) parseChunks(raw []byte) int {
	at := 0
	for {
		end := bytes.Index(raw[at:], []byte("\r\n"))
		if end < 0 {
			return -1
		}
		line := string(raw[at : at+end])
		size, err := strconv.ParseUint(line, 16, 40)
		if err != nil {
			failf("expected the size of a chunk; the client got %.200q", line)
		}
		at += end + 2
		if size == 0 {
			break
		}
		if uint64(len(raw)-at) < size+2 {
			a.body = append(a.body, raw[at:min(uint64(len(raw)), uint64(at)+size)]...)
			return -1
		}
		a.body = append(a.body, raw[at:uint64(at)+size]...)
		at += int(size) + 2
		if string(raw[at-2:at]) != "\r\n" {
			failf("expected the end of a chunk; the client got %q", raw[at-2:at])
		}
	}
	if bytes.HasPrefix(raw[at:], []byte("\r\n")) {
		return at + 2
	}
	end := bytes.Index(raw[at:], []byte("\r\n\r\n"))
	if end < 0 {
		return -1
	}
	a.trailers = parseLines(strings.Split(string(raw[at:at+end]), "\r\n"))
	return at + end + 4
}
