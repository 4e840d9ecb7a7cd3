package http1

import "bytes"

// Field is one line of a head or of trailers.
type Field struct {
	Name  []byte // lower case
	Value []byte // without the white space around it
}

// Head is a request's head. Its slices are of the connection's buffer: they last until the body is read.
type Head struct {
	Method    []byte
	Path      []byte // "/..." with the query, or "*"; of CONNECT, empty
	Authority []byte // of an absolute target, else Host; "" if there is none
	Minor     int    // of HTTP/1.Minor: 0 or 1
	Length    int64  // of the body; 0: none, -1: chunked
	Expect    bool   // 100-continue
	Upgrade   bool   // Connection names Upgrade
	Fields    []Field

	close bool // the client wants the connection closed
}

// limits bound one head.
type limits struct {
	head, target, fields int
}

// The bytes that may stand where; see RFC 9110 sections 5.5 and 5.6.2, RFC 3986.
const (
	inToken = 1 << iota
	inValue
	inTarget
	inHost
	inHex
)

var classes = func() (t [256]uint8) {
	for c := range 256 {
		alpha := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if alpha || digit || c < 0x80 && c > 0x20 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0 {
			t[c] |= inToken
		}
		if c >= 0x20 && c != 0x7f || c == '\t' {
			t[c] |= inValue
		}
		if c > 0x20 && c != 0x7f && c != '#' { // bytes from 0x80 on are no ASCII, but mean one thing
			t[c] |= inTarget
		}
		if alpha || digit || c > 0x20 && c < 0x80 && bytes.IndexByte([]byte("-._~!$&'()*+,;=%:[]"), byte(c)) >= 0 {
			t[c] |= inHost
		}
		if digit || c|0x20 >= 'a' && c|0x20 <= 'f' {
			t[c] |= inHex
		}
	}
	return t
}()

func all(b []byte, class uint8) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// endOfHead looks for the empty line that ends a head, from b[from] on, where a line may go on. It returns where the head
// ends, or how far it has looked (end 0). Every line must end in CRLF.
func endOfHead(b []byte, from int) (end, looked int, err *Error) {
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, len(b), nil
		}
		i += n
		if i == 0 || b[i-1] != '\r' {
			return 0, i, errBareLF
		}
		if i == 1 || b[i-2] == '\n' {
			return i + 1, i + 1, nil
		}
		i++
	}
}

// parse reads a whole head, the empty line included, into h, whose memory it reuses. Names become lower case in b.
func (h *Head) parse(b []byte, l *limits) *Error {
	*h = Head{Fields: h.Fields[:0]}
	eol := bytes.IndexByte(b, '\r')
	if eol < 0 || eol+1 >= len(b) || b[eol+1] != '\n' {
		return errBareCR
	}
	target, err := h.requestLine(b[:eol], l)
	if err != nil {
		return err
	}
	if h.Fields, err = appendFields(h.Fields, b[eol+2:], l.fields); err != nil {
		return err
	}
	f := framing{length: -1}
	for i := range h.Fields {
		if err := h.note(&h.Fields[i], &f); err != nil {
			return err
		}
	}
	if err := h.where(target, &f); err != nil {
		return err
	}
	return h.body(&f)
}

// requestLine returns the target, whose form depends on the method.
func (h *Head) requestLine(line []byte, l *limits) (target []byte, err *Error) {
	sp := bytes.IndexByte(line, ' ')
	last := bytes.LastIndexByte(line, ' ')
	if sp <= 0 || last == sp {
		return nil, errRequestLine
	}
	h.Method, target = line[:sp], line[sp+1:last]
	version := line[last+1:]
	if !all(h.Method, inToken) {
		return nil, errRequestLine
	}
	switch {
	case string(version) == "HTTP/1.1":
		h.Minor = 1
	case string(version) == "HTTP/1.0":
		h.close = true
	case len(version) == 8 && string(version[:5]) == "HTTP/" && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]):
		return nil, errVersion
	default:
		return nil, errRequestLine
	}
	if len(target) > l.target {
		return nil, errTargetSize
	}
	if !IsTarget(target) {
		return nil, errTarget
	}
	return target, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// appendFields reads lines up to and with the empty one that ends b.
func appendFields(fields []Field, b []byte, most int) ([]Field, *Error) {
	for len(b) > 2 || len(b) == 2 && b[0] != '\r' {
		colon := 0
		for colon < len(b) && classes[b[colon]]&inToken != 0 {
			if c := b[colon]; c >= 'A' && c <= 'Z' {
				b[colon] = c | 0x20
			}
			colon++
		}
		switch {
		case colon == 0 && (b[0] == ' ' || b[0] == '\t'):
			return fields, errFold
		case colon < len(b) && (b[colon] == '\r' || b[colon] == '\n'):
			return fields, errNoFieldColon
		case colon == 0 || colon == len(b) || b[colon] != ':':
			return fields, errFieldName
		}
		rest := b[colon+1:]
		end := 0
		for end < len(rest) && classes[rest[end]]&inValue != 0 {
			end++
		}
		switch {
		case end+1 >= len(rest), rest[end] != '\r' && rest[end] != '\n':
			return fields, errFieldValue
		case rest[end] == '\n':
			return fields, errBareLF
		case rest[end+1] != '\n':
			return fields, errBareCR
		}
		if len(fields) == most {
			return fields, errFieldCount
		}
		fields = append(fields, Field{b[:colon:colon], trim(rest[:end])})
		b = rest[end+2:]
	}
	return fields, nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b[:len(b):len(b)]
}

// framing is what the fields say of where the request ends and whom it is for.
type framing struct {
	length  int64 // -1: no Content-Length
	codings int
	other   bool // a coding that is not chunked
	last    bool // chunked is the last
	host    []byte
	hosts   int
}

// note takes what concerns the connection from one field.
func (h *Head) note(f *Field, w *framing) *Error {
	switch len(f.Name) {
	case 4:
		if string(f.Name) == "host" {
			w.hosts++
			w.host = f.Value
		}
	case 6:
		if string(f.Name) == "expect" {
			for value := f.Value; len(value) > 0; {
				var expectation []byte
				expectation, value = nextOf(value)
				switch {
				case is(expectation, "100-continue"):
					h.Expect = true
				case len(expectation) > 0:
					return errExpectation
				}
			}
		}
	case 10:
		if string(f.Name) == "connection" {
			for value := f.Value; len(value) > 0; {
				var option []byte
				switch option, value = nextOf(value); {
				case is(option, "close"):
					h.close = true
				case is(option, "keep-alive"):
					if h.Minor == 0 && !hasClose(h.Fields) {
						h.close = false
					}
				case is(option, "upgrade"):
					h.Upgrade = true
				}
			}
		}
	case 14:
		if string(f.Name) == "content-length" {
			if w.length >= 0 {
				return errLength
			}
			n, ok := decimal(f.Value)
			if !ok {
				return errLength
			}
			w.length = n
		}
	case 17:
		if string(f.Name) == "transfer-encoding" {
			for value := f.Value; ; {
				comma := bytes.IndexByte(value, ',')
				coding, _ := nextOf(value)
				w.last = is(coding, "chunked")
				w.other = w.other || !w.last
				w.codings++
				if comma < 0 { // else an element follows, be it empty
					break
				}
				value = value[comma+1:]
			}
		}
	}
	return nil
}

// hasClose tells whether HTTP/1.0's keep-alive is contradicted.
func hasClose(fields []Field) bool {
	for _, f := range fields {
		if string(f.Name) != "connection" {
			continue
		}
		for value := f.Value; len(value) > 0; {
			var option []byte
			if option, value = nextOf(value); is(option, "close") {
				return true
			}
		}
	}
	return false
}

// where settles path and authority from the target's form (RFC 9112 section 3.2).
func (h *Head) where(target []byte, w *framing) *Error {
	if w.hosts > 1 || w.hosts == 0 && h.Minor == 1 {
		return errHosts
	}
	if len(w.host) > 0 && !IsAuthority(w.host) {
		return errHost
	}
	h.Authority = w.host
	switch {
	case string(h.Method) == "CONNECT":
		if !IsAuthority(target) || target[len(target)-1] == ':' || bytes.LastIndexByte(target, ':') <= bytes.LastIndexByte(target, ']') {
			return errConnect
		}
		h.Authority = target
	case target[0] == '/':
		h.Path = target
	case len(target) == 1 && target[0] == '*':
		if string(h.Method) != "OPTIONS" {
			return errAsterisk
		}
		h.Path = target
	default:
		return h.absolute(target)
	}
	return nil
}

// absolute takes a target apart whose host overrides Host (RFC 9112 section 3.2.2).
func (h *Head) absolute(target []byte) *Error {
	colon := bytes.IndexByte(target, ':')
	if colon < 0 || len(target) < colon+3 || string(target[colon:colon+3]) != "://" {
		return errAuthority
	}
	if scheme := target[:colon]; !is(scheme, "http") && !is(scheme, "https") {
		return errTarget
	}
	rest := target[colon+3:]
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || !IsAuthority(rest[:end]) {
		return errHost
	}
	h.Authority, h.Path = rest[:end], rest[end:]
	switch {
	case len(h.Path) == 0 && string(h.Method) == "OPTIONS":
		h.Path = []byte("*") // RFC 9112 section 3.2.4
	case len(h.Path) == 0:
		h.Path = []byte("/")
	case h.Path[0] == '?': // written over the authority's last byte it would change that
		h.Path = append([]byte("/"), h.Path...)
	}
	return nil
}

// IsTarget tells the characters that may stand in a request's target.
func IsTarget(b []byte) bool { return len(b) > 0 && all(b, inTarget) }

// IsAuthority tells host or host:port, without user information (RFC 9110 section 4.2.4).
func IsAuthority(b []byte) bool {
	if len(b) == 0 || !all(b, inHost) {
		return false
	}
	host, port := b, []byte(nil)
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 3 || bytes.IndexByte(b[1:], '[') >= 0 || bytes.IndexByte(b[end+1:], ']') >= 0 {
			return false
		}
		for _, c := range b[1:end] {
			if classes[c]&inHex == 0 && c != ':' && c != '.' {
				return false
			}
		}
		host, port = b[:end+1], b[end+1:]
	} else {
		if bytes.IndexByte(b, '[') >= 0 || bytes.IndexByte(b, ']') >= 0 {
			return false
		}
		if colon := bytes.IndexByte(b, ':'); colon >= 0 {
			host, port = b[:colon], b[colon:]
		}
	}
	if len(host) == 0 || !escaped(host) {
		return false
	}
	if len(port) == 0 {
		return true
	}
	if port[0] != ':' || len(port) > 6 {
		return false
	}
	n := 0
	for _, c := range port[1:] {
		if !isDigit(c) {
			return false
		}
		n = 10*n + int(c-'0')
	}
	return n <= 65535
}

// escaped tells whether each % begins two hexadecimal digits.
func escaped(b []byte) bool {
	for i, c := range b {
		if c == '%' && (i+2 >= len(b) || classes[b[i+1]]&inHex == 0 || classes[b[i+2]]&inHex == 0) {
			return false
		}
	}
	return true
}

// body settles the length (RFC 9112 section 6.3).
func (h *Head) body(w *framing) *Error {
	switch {
	case w.codings > 0 && w.length >= 0:
		return errTwoLengths
	case w.codings > 0 && h.Minor == 0:
		return errCodingOf10
	case w.codings > 0 && !w.last, w.codings > 1 && !w.other:
		return errCoding
	case w.other:
		return errCodingOther
	case w.codings > 0:
		h.Length = -1
	default:
		h.Length = max(w.length, 0)
	}
	if h.Length == 0 || h.Minor == 0 { // RFC 9110 section 10.1.1
		h.Expect = false
	}
	return nil
}

// decimal reads digits only, below 2^63.
func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// nextOf splits the first element off a list (RFC 9110 section 5.6.1).
func nextOf(list []byte) (element, rest []byte) {
	if comma := bytes.IndexByte(list, ','); comma >= 0 {
		return trim(list[:comma]), list[comma+1:]
	}
	return trim(list), nil
}

// is compares without regard to case; lower is in lower case.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
