//go:build !linux

package supervise

import "syscall"

// Elsewhere they are process 1's.

func adopt()                                                              {}
func (g *Group) signalStrays(*process, syscall.Signal, map[int]bool) bool { return false }
func (g *Group) bury(<-chan struct{})                                     {}
func beganAt(int) uint64                                                  { return 0 }
