package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestParseStatm(t *testing.T) {
	got, err := parseStatm([]byte("5000 300 200 10 0 400 0\n"), 4096)
	if err != nil || got != 300*4096 {
		t.Errorf("got %d, %v; want 300 pages", got, err)
	}
	for _, broken := range []string{"", "5000", "5000 x"} {
		if got, err := parseStatm([]byte(broken), 4096); err == nil {
			t.Errorf("%q was read as %d", broken, got)
		}
	}
}

// What statm says is what the kernel says elsewhere in kilobytes.
func TestResidentOfThisProcess(t *testing.T) {
	got, err := resident(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		t.Fatal(err)
	}
	if off := got - kilobytes<<10; off < -got/4 || off > got/4 {
		t.Errorf("%d bytes resident, the kernel says %d KiB", got, kilobytes)
	}
}

// Clients from several addresses ask on connections that stay open.
func TestIdleClientIsServedAgain(t *testing.T) {
	server := httptest.NewServer(handler)
	defer server.Close()
	for host := range 2 {
		c, err := dialFrom(t.Context(), host, server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := askOnce(c); err != nil {
				t.Error(err)
			}
		}
		_ = c.Close()
		if err := askOnce(c); err == nil {
			t.Error("a closed connection was served")
		}
	}
}
