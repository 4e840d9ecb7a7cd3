// Package interop holds end-to-end tests: a router, workers in Go, and workers
// on libzmq in Python and Ruby, each a process of its own, and what happens to
// clients when one of them is killed, frozen, restarted or malicious.
//
// The Go workers are the test binary itself, started again; the router is
// cmd/dialmux, built once. TestMeaning alone has both in its own process.
package interop
