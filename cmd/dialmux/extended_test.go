package main_test

import (
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/net/http2"
)

// offersExtendedConnect tells whether the server's SETTINGS do (RFC 8441 section 3).
func offersExtendedConnect(t *testing.T, address string) bool {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(nc, nc)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	got, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := got.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("%v came before SETTINGS", got)
	}
	value, ok := settings.Value(http2.SettingEnableConnectProtocol)
	return ok && value == 1
}

func TestExtendedConnectIsOffered(t *testing.T) {
	for debug, want := range map[string]bool{"": true, "http2xconnect=1": true, "madvdontneed=1": true, "http2xconnect=0": false} {
		t.Run("GODEBUG="+debug, func(t *testing.T) {
			t.Setenv("GODEBUG", debug)
			if debug == "" {
				if err := os.Unsetenv("GODEBUG"); err != nil {
					t.Fatal(err)
				}
			}
			if got := offersExtendedConnect(t, startRouter(t).web); got != want {
				t.Errorf("extended CONNECT is offered: %v", got)
			}
		})
	}
}
