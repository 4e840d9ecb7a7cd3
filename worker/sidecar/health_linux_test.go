package sidecar

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"
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
	a, err := New(fmt.Sprintf("http://127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port), Options{Timeout: 100 * time.Millisecond})
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

// Of a Unix socket that is known at once.
func TestAFullBacklogOfAUnixSocketIsNoDeath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	a, err := New("unix:"+path, Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; { // those that the kernel takes
		err = a.Check(t.Context())
	}
	if !isNoAnswer(err) {
		t.Error(err)
	}
}
