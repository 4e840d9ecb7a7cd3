package main

import (
	"os"
	"testing"
)

// TestF1ToF7Chaos is the harness for a short time, about twenty seconds or
// $CHAOS_DURATION: no promise is broken. Without the latter, only faults that take
// no heartbeat to be noticed.
//
// Labels of the hazards that it meets: F1, F2, F3, F4, F5, F6, F7, O7, W7, W14, W15, W16, H14, H15.
func TestF1ToF7Chaos(t *testing.T) {
	args := []string{"-dialmux", buildDialmux(t), "-python", "testdata", "-others=false", "-rate", "250"}
	if duration := os.Getenv("CHAOS_DURATION"); duration != "" {
		args = append(args, "-duration", duration)
	} else {
		args = append(args, "-duration", "20s", "-faults", "worker-kill|worker-drain|router|full-disk|descriptors|slow")
	}
	if seed := os.Getenv("CHAOS_SEED"); seed != "" {
		args = append(args, "-seed", seed)
	}
	if err := run(t.Context(), args, lines{t}, lines{t}); err != nil {
		t.Error(err)
	}
}
