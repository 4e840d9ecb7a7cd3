package sidecar_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker/sidecar"
)

// An app that takes no more connections, and does not refuse them either.
func TestCheckOfAFullBacklog(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	a, err := sidecar.New(fmt.Sprintf("http://127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port), sidecar.Options{Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; { // those that the kernel takes
		err = a.Check(t.Context())
	}
	if err.Error() != "no connection within 100ms" {
		t.Error(err)
	}
}
