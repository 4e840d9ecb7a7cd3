//go:build !unix

package http1

import "net"

func peek(net.Conn) bool { return false }
