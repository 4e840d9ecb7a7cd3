package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of CPU time in /proc/PID/stat: USER_HZ is 100 on every Linux.
const tick = 10 * time.Millisecond

type procStat struct {
	pid, parent int
	cpu         time.Duration // user and system time of all threads
}

// treeCPU is the CPU time used so far by a process and its living descendants.
func treeCPU(root int) (time.Duration, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	all := map[int]procStat{}
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it ended since the directory was read
		}
		stat, err := parseStat(line)
		if err != nil {
			return 0, err
		}
		all[stat.pid] = stat
	}
	if _, ok := all[root]; !ok {
		return 0, fmt.Errorf("process %d has ended", root)
	}
	return sumTree(all, root), nil
}

func sumTree(all map[int]procStat, root int) time.Duration {
	var sum time.Duration
	for _, stat := range all {
		for pid := stat.pid; pid != 0; pid = all[pid].parent {
			if pid == root {
				sum += stat.cpu
				break
			}
		}
	}
	return sum
}

// parseStat reads a line of /proc/PID/stat. The second field is the program's name in parentheses and may hold
// anything, so fields are counted from the last closing one.
func parseStat(line []byte) (procStat, error) {
	bad := fmt.Errorf("/proc/PID/stat: cannot read %q", line)
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return procStat{}, bad
	}
	const fieldState, fieldParent, fieldUser, fieldSystem = 3, 4, 14, 15
	rest := bytes.Fields(line[end+1:])
	if len(rest) <= fieldSystem-fieldState {
		return procStat{}, bad
	}
	var numbers [4]int
	for i, text := range [][]byte{
		bytes.TrimSpace(line[:open]), rest[fieldParent-fieldState], rest[fieldUser-fieldState], rest[fieldSystem-fieldState],
	} {
		var err error
		if numbers[i], err = strconv.Atoi(string(text)); err != nil {
			return procStat{}, bad
		}
	}
	return procStat{pid: numbers[0], parent: numbers[1], cpu: time.Duration(numbers[2]+numbers[3]) * tick}, nil
}
