//go:build !race

package http1

// raced tells whether the race detector is on, which allocates.
const raced = false
