package main

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestRefuseMore(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0"} {
		l, err := bind(address, "listen")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		before, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		if err := refuseMore(l); err != nil {
			t.Fatal(err)
		}
		if after, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v %v, want it refused", address, after, err)
		}
		taken, err := l.Accept()
		if err != nil || taken.RemoteAddr().String() != before.LocalAddr().String() {
			t.Fatalf("%s: accepted %v, %v", address, taken, err)
		}
		defer taken.Close()
		if _, err := taken.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if n, err := before.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%s: read %d bytes, %v", address, n, err)
		}
	}
}
