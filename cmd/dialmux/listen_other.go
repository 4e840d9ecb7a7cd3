//go:build !linux

package main

import (
	"errors"
	"net"
)

// refuseMore is for Linux only: elsewhere a connection that comes in the
// moment when the port closes may be reset.
func refuseMore(*net.TCPListener) error { return errors.ErrUnsupported }
