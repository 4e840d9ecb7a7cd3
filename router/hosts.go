package router

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const maxHost = 255 // bytes of a name (RFC 1035 section 2.3.4)

var errHost = errors.New("want a name, *.name or *, without a port, as in shop.example.com or [::1]")

// ParseHost is a host that a worker announces, as routes are found by it: in lower case, without the dot that a name may end with,
// an IPv6 address as RFC 5952 writes it, and any as "". The error says what would be right.
func ParseHost(s string) (string, error) {
	if s == "" || s == "*" {
		return "", nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		return "", fmt.Errorf("want [%v]: an IPv6 address stands in brackets, without a port", a.WithZone(""))
	}
	if a, ok := literal([]byte(s)); ok {
		return "[" + a.String() + "]", nil
	}
	name := strings.TrimPrefix(s, "*.")
	if name == "" || name[0] == '.' || strings.Contains(name, "..") || len(s) > maxHost {
		return "", errHost
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return "", errHost
		}
	}
	return strings.TrimSuffix(strings.ToLower(s), "."), nil
}

// appendHost appends the host of a request as routes are found by it.
func appendHost(to, host []byte) []byte {
	if a, ok := literal(host); ok {
		return append(a.AppendTo(append(to, '[')), ']')
	}
	return appendLower(to, host)
}

// hostName is an authority without its port, and the dot that a name may end with.
func hostName(authority []byte) []byte {
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && bytes.IndexByte(authority[i:], ']') < 0 {
		authority = authority[:i]
	}
	return bytes.TrimSuffix(authority, []byte("."))
}

// literal is the IPv6 address in brackets, which has many spellings.
func literal(host []byte) (a netip.Addr, ok bool) {
	if len(host) == 0 || host[0] != '[' || host[len(host)-1] != ']' {
		return a, false
	}
	a, err := netip.ParseAddr(string(host[1 : len(host)-1]))
	return a, err == nil && a.Is6() && a.Zone() == ""
}
