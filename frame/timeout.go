package frame

import (
	"bytes"
	"time"
)

// MaxTimeout is what longer timeouts count as: as good as none, and far from
// where durations overflow.
const MaxTimeout = 10 * 365 * 24 * time.Hour

// ParseRequestTimeout reads the value of a request-timeout field: seconds, up to
// nine digits, and perhaps a point and up to nine more.
func ParseRequestTimeout(b []byte) (d time.Duration, ok bool) {
	whole, fraction, dot := bytes.Cut(b, []byte("."))
	if len(whole) > 9 || len(fraction) > 9 || dot && len(fraction) == 0 {
		return 0, false
	}
	s, ok := digits(whole)
	n, fine := digits(fraction)
	for range 9 - len(fraction) {
		n *= 10
	}
	return min(time.Duration(s)*time.Second+time.Duration(n), MaxTimeout), ok && (fine || !dot)
}

// ParseGRPCTimeout reads the value of a grpc-timeout field: up to eight digits
// and a unit, one of H M S m u n (gRPC over HTTP/2, "Requests").
func ParseGRPCTimeout(b []byte) (d time.Duration, ok bool) {
	if len(b) < 2 || len(b) > 9 {
		return 0, false
	}
	switch b[len(b)-1] {
	case 'H':
		d = time.Hour
	case 'M':
		d = time.Minute
	case 'S':
		d = time.Second
	case 'm':
		d = time.Millisecond
	case 'u':
		d = time.Microsecond
	case 'n':
		d = time.Nanosecond
	default:
		return 0, false
	}
	n, ok := digits(b[:len(b)-1])
	if n > int64(MaxTimeout/d) {
		return MaxTimeout, ok
	}
	return time.Duration(n) * d, ok
}

// digits reads at most nine.
func digits(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, len(b) > 0
}
