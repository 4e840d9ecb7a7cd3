package router

import (
	"bytes"
	"strconv"
)

// What each field means to a proxy. Names are in lower case.

// isHopByHop tells the fields that concern one connection (RFC 9110 section
// 7.6.1), and the two that credentials for a proxy travel in.
func isHopByHop(name []byte) bool {
	switch string(name) {
	case "connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-authenticate",
		"proxy-authorization", "trailer":
		return true
	}
	return false
}

// isOurs tells the request fields by which a proxy tells a worker who the client
// is: they are ours to set. It sees through underscores: CGI and WSGI make one
// variable of X-Forwarded-For and X_Forwarded_For.
func isOurs(name []byte) bool {
	if len(name) < len("forwarded") || name[0] != 'x' && name[0] != 'f' {
		return false
	}
	var b [len("x-client-cert-subject")]byte
	n := copy(b[:], name)
	for i, c := range b[:n] {
		if c == '_' {
			b[i] = '-'
		}
	}
	if bytes.HasPrefix(b[:n], []byte("x-forwarded-")) { // -For, -Proto, and many more that somebody believes
		return true
	}
	if n < len(name) {
		return false
	}
	switch string(b[:n]) {
	case "forwarded", "x-real-ip", "x-client-cert-subject", "x-request-id":
		return true
	}
	return false
}

// isForbiddenTrailer tells fields that would change what came before them
// (RFC 9110 section 6.5.1).
func isForbiddenTrailer(name []byte) bool {
	switch string(name) {
	case "content-length", "content-encoding", "content-type", "content-range", "host", "authorization", "cache-control",
		"expect", "max-forwards", "range", "set-cookie", "cookie", "age", "date", "expires", "location", "retry-after", "vary", "via":
		return true
	}
	return isHopByHop(name) || isOurs(name)
}

// nominated are names that a Connection field takes out; nil: there are none.
type nominated map[string]bool

// add takes the names in one Connection field.
func (n *nominated) add(value []byte) {
	for len(value) > 0 {
		var name []byte
		name, value, _ = bytes.Cut(value, []byte(","))
		name = bytes.TrimSpace(name)
		if len(name) == 0 || bytes.EqualFold(name, []byte("close")) || bytes.EqualFold(name, []byte("keep-alive")) {
			continue
		}
		if *n == nil {
			*n = nominated{}
		}
		(*n)[string(bytes.ToLower(name))] = true
	}
}

func (n nominated) has(name []byte) bool { return n[string(name)] }

// expects judges one Expect field (RFC 9110 section 10.1.1).
func expects(value []byte) *failure {
	for len(value) > 0 {
		var element []byte
		element, value, _ = bytes.Cut(value, []byte(","))
		if element = bytes.TrimSpace(element); len(element) > 0 && !bytes.EqualFold(element, []byte("100-continue")) {
			return &failure{417, "100-continue is the only expectation met here", false}
		}
	}
	return nil
}

// isToken tells RFC 9110 section 5.6.2's.
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
		case bytes.IndexByte([]byte("!#$%&'*+.^_`|~"), c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// isValue allows what RFC 9110 section 5.5 does: visible characters, space,
// tab, and bytes from 0x80 on.
func isValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// appendLower appends name in lower case.
func appendLower[T string | []byte](dst []byte, name T) []byte {
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// version is a client's version of HTTP.
type version struct{ major, minor int }

// via is what Via says of a message that came in by v (RFC 9110 section 7.6.3).
func (v version) via() string {
	switch v {
	case version{1, 1}:
		return "1.1 dialmux"
	case version{1, 0}:
		return "1.0 dialmux"
	case version{2, 0}:
		return "2.0 dialmux"
	}
	return strconv.Itoa(v.major) + "." + strconv.Itoa(v.minor) + " dialmux"
}
