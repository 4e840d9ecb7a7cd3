//go:build unix

package main

import (
	"os"
	"syscall"
)

// handedOn are the signals that are the app's.
func handedOn() []os.Signal { return []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} }
