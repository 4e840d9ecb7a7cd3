//go:build unix

package main

import (
	"math"
	"syscall"
)

// descriptors is how many files this process may open; 0: any number, as far as is known.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 { //nolint:unconvert // it is signed on some systems
		return 0
	}
	return int(limit.Cur)
}
