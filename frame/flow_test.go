package frame_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
)

func TestCost(t *testing.T) {
	for n, want := range map[int]int64{0: 0, 1: 1024, 1023: 1024, 1024: 1024, 1025: 1025, 65536: 65536} {
		if got := frame.Cost(n); got != want {
			t.Errorf("Cost(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	for _, tc := range []struct {
		window  int64
		n, want int
	}{
		{0, 10, 0},
		{-5, 10, 0},
		{1023, 1, 0}, // one byte costs 1,024
		{1024, 1, 1},
		{1024, 5000, 1024},
		{65536, 65536, 65536},
		{1 << 40, 1 << 30, frame.MaxPayload},
		{1 << 40, 0, 0},
	} {
		if got := frame.Fit(tc.window, tc.n); got != tc.want {
			t.Errorf("Fit(%d, %d) = %d, want %d", tc.window, tc.n, got, tc.want)
		}
	}
}

// Whatever fits costs no more than the window has, and a body gets through a
// window that is given back as it is used.
func TestFitNeverOverdraws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(-frame.RequestWindow, 4*frame.ResponseWindow).Draw(t, "window")
		n := rapid.IntRange(0, 1<<20).Draw(t, "n")
		fit := frame.Fit(window, n)
		if fit < 0 || fit > n || fit > frame.MaxPayload {
			t.Fatalf("Fit(%d, %d) = %d", window, n, fit)
		}
		if fit > 0 && frame.Cost(fit) > window {
			t.Fatalf("Fit(%d, %d) = %d, which costs %d", window, n, fit, frame.Cost(fit))
		}
		if fit == 0 && n > 0 && window >= frame.MinCost {
			t.Fatalf("Fit(%d, %d) = 0: the body would stand still", window, n)
		}
	})
}
