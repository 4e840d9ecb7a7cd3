package frame

import (
	"testing"
	"time"
)

func TestTimeouts(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"5", 5 * time.Second, true},
		{"0", 0, true},
		{"0.25", 250 * time.Millisecond, true},
		{"999999999.999999999", MaxTimeout, true},
		{"", 0, false},
		{".5", 0, false},
		{"5.", 0, false},
		{"-1", 0, false},
		{"+1", 0, false},
		{"1e3", 0, false},
		{"5s", 0, false},
		{" 5", 0, false},
		{"1000000000", 0, false},
		{"1.0000000000", 0, false},
		{"1.2.3", 0, false},
	} {
		if d, ok := ParseRequestTimeout([]byte(tc.in)); ok != tc.ok || ok && d != tc.want {
			t.Errorf("Request-Timeout %q: %v %v, want %v %v", tc.in, d, ok, tc.want, tc.ok)
		}
	}
	for _, tc := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"1H", time.Hour, true},
		{"2M", 2 * time.Minute, true},
		{"3S", 3 * time.Second, true},
		{"250m", 250 * time.Millisecond, true},
		{"99999999u", 99999999 * time.Microsecond, true},
		{"7n", 7, true},
		{"99999999H", MaxTimeout, true},
		{"1s", 0, false},
		{"m", 0, false},
		{"123456789m", 0, false},
		{"-1m", 0, false},
		{"1.5S", 0, false},
		{"", 0, false},
	} {
		if d, ok := ParseGRPCTimeout([]byte(tc.in)); ok != tc.ok || ok && d != tc.want {
			t.Errorf("grpc-timeout %q: %v %v, want %v %v", tc.in, d, ok, tc.want, tc.ok)
		}
	}
}
