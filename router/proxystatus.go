package router

import "strings"

// proxyStatus is what Proxy-Status says of an answer of the router's own (RFC
// 9209): the error's type, and why.
func (f *failure) proxyStatus() string { return proxyStatus(f.kind(), f.reason) }

func proxyStatus(kind, details string) string {
	var b strings.Builder
	b.WriteString("dialmux; error=")
	b.WriteString(kind)
	b.WriteString(`; details="`)
	for _, c := range []byte(details) { // a String of RFC 8941 section 3.3.3
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// kind is the error's type (RFC 9209 section 2.3).
func (f *failure) kind() string {
	switch {
	case f == errBroken:
		return "http_protocol_error"
	case f == errQueueFull, f == errBusy, f == errCrowded, f == errCrowdedByAddress, f == errMemory:
		return "connection_limit_reached"
	case f == errNoRoute:
		return "destination_not_found"
	case f.status == 405:
		return "http_request_denied"
	case f.status < 500, f.status == 501, f.status == 505:
		return "http_request_error"
	case f.status == 502:
		return "connection_terminated"
	case f.status == 503:
		return "destination_unavailable"
	case f.status == 504:
		return "http_response_timeout"
	}
	return "proxy_internal_error"
}
