//go:build !unix

package sidecar

import "net"

// quiet cannot be told here without reading: a request that meets the end is lost, and the router's to send again.
func quiet(net.Conn) bool { return true }
