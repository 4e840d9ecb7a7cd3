package router

import (
	"math"
	"testing"
)

func TestMemoryBound(t *testing.T) {
	r, err := New(Config{MaxRequests: 10, MaxWorkers: 2, MaxMemory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.MemoryBound(Port{MaxConnections: 3}), int64(1<<20+10*boundRequest+2*boundWorker+3*boundConnection); got != want {
		t.Errorf("%d, want %d", got, want)
	}
	if got := r.MemoryBound(Port{MaxConnections: -1}); got != -1 {
		t.Errorf("without a limit: %d", got)
	}
	if got, want := r.MemoryBound(), int64(1<<20+10*boundRequest+2*boundWorker); got != want {
		t.Errorf("without a port: %d, want %d", got, want)
	}
	for name, cfg := range map[string]Config{
		"memory":         {MaxMemory: math.MaxInt64},
		"nearly as much": {MaxMemory: math.MaxInt64 - boundRequest*DefaultMaxRequests},
		"requests":       {MaxRequests: math.MaxInt},
		"workers":        {MaxWorkers: math.MaxInt},
	} {
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.MemoryBound(Port{}); got != math.MaxInt64 {
			t.Errorf("more %s than can be counted: %d", name, got)
		}
		if got := r.MemoryBound(Port{MaxConnections: -1}); got != -1 {
			t.Errorf("more %s than can be counted, and no limit: %d", name, got)
		}
	}
}
