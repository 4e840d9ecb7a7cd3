package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := []byte("4711 (a (b) 9 c) S 42 1 1 0 -1 4194560 7 0 0 0 30 12 5 6 20 0 1 0 99 1 2\n")
	got, err := parseStat(line)
	want := procStat{pid: 4711, parent: 42, cpu: 420 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, broken := range []string{"", "1", "1 (a", ") 1 (", "1 (a) S 1", "x (a) S 42 1 1 0 -1 1 7 0 0 0 30 12"} {
		if got, err := parseStat([]byte(broken)); err == nil {
			t.Errorf("%q was read as %+v", broken, got)
		}
	}
}

func TestSumTree(t *testing.T) {
	all := map[int]procStat{}
	for _, stat := range []procStat{{1, 0, 1}, {10, 1, 20}, {11, 10, 300}, {12, 11, 4000}, {20, 1, 50000}, {30, 99, 600000}} {
		all[stat.pid] = stat
	}
	if got := sumTree(all, 10); got != 4320 {
		t.Errorf("process 10 and its descendants: got %d, want 20 + 300 + 4000", got)
	}
}

func TestTreeCPUOfThisProcess(t *testing.T) {
	before, err := treeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for {
		now, err := treeCPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			return
		}
	}
}

func TestTreeCPUOfNoProcess(t *testing.T) {
	if _, err := treeCPU(1 << 30); err == nil {
		t.Error("a process that is not there has a CPU time")
	}
}
