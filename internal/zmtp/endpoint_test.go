package zmtp

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/dialmux/dialmux/internal/testpipe"
)

func TestMalformedEndpoints(t *testing.T) {
	for _, test := range []struct{ endpoint, want string }{
		{"", "names no transport"},
		{"127.0.0.1:8000", "names no transport"},
		{"udp://127.0.0.1:8000", `transport "udp" is not known`},
		{"tcp://127.0.0.1", "no host and port"},
		{"tcp://", "no host and port"},
		{"tcp://:8000", "the host is missing"},
		{"tcp://127.0.0.1:", "port is not a number"},
		{"tcp://127.0.0.1:http", "port is not a number"},
		{"tcp://127.0.0.1:65536", "port is not a number"},
		{"tcp://127.0.0.1:-1", "port is not a number"},
		{"tcp://::1:8000", "no host and port"},
		{"ipc://", "the path is missing"},
		{"ipc://*", "the path is missing"},
		{"ipc:///" + strings.Repeat("x", 200), "longer than the 103 bytes"},
	} {
		_, listenErr := Listen(test.endpoint)
		_, dialErr := Dial(t.Context(), test.endpoint)
		_, loopErr := IsLoopback(test.endpoint)
		for name, err := range map[string]error{"Listen": listenErr, "Dial": dialErr, "IsLoopback": loopErr} {
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "tcp://host:port") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s(%q): %v", name, test.endpoint, err)
			}
		}
	}
	if _, err := Dial(t.Context(), "tcp://*:8000"); err == nil || !strings.Contains(err.Error(), "name a host") {
		t.Errorf("dialling every address: %v", err)
	}
}

func TestIsLoopback(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"ipc:///run/dialmux.sock":        true,
		"tcp://127.0.0.1:8000":           true,
		"tcp://127.9.9.9:8000":           true,
		"tcp://[::1]:8000":               true,
		"tcp://[::ffff:127.0.0.1]:8000":  true,
		"tcp://localhost:8000":           true,
		"tcp://LOCALHOST:8000":           true,
		"tcp://*:8000":                   false,
		"tcp://0.0.0.0:8000":             false,
		"tcp://[::]:8000":                false,
		"tcp://10.0.0.1:8000":            false,
		"tcp://localhost.example.:8000":  false,
		"tcp://127.0.0.1.example.:8000":  false,
		"tcp://[::ffff:128.0.0.1]:8000":  false,
		"tcp://2130706433:8000":          false, // a name, whatever a resolver makes of it
		"tcp://worker.example.com.:8000": false,
	} {
		if got, err := IsLoopback(endpoint); got != want || err != nil {
			t.Errorf("IsLoopback(%q) = %v, %v", endpoint, got, err)
		}
	}
}

// acceptOver connects two of us through the endpoint and returns the server's view of the client.
func acceptOver(t *testing.T, l net.Listener, endpoint string) (*Conn, *Conn) {
	t.Helper()
	near, err := Dial(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var accepted *Conn
	var acceptErr error
	wg.Go(func() { accepted, acceptErr = Accept(far, Options{}) })
	connected, err := Connect(near, Options{})
	wg.Wait()
	if err != nil || acceptErr != nil {
		t.Fatalf("Connect: %v, Accept: %v", err, acceptErr)
	}
	t.Cleanup(func() { _, _ = accepted.Close(), connected.Close() })
	return accepted, connected
}

func TestListenAndDial(t *testing.T) {
	for endpoint, prefix := range map[string]string{
		"tcp://127.0.0.1:0": "tcp://127.0.0.1:",
		"tcp://localhost:0": "tcp://",
		"tcp://*:0":         "tcp://*:",
		"ipc://" + filepath.Join(t.TempDir(), "s"): "ipc://",
	} {
		l, err := Listen(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		bound := Bound(l)
		if !strings.HasPrefix(bound, prefix) || strings.HasSuffix(bound, ":0") {
			t.Errorf("Listen(%q) is bound to %q", endpoint, bound)
		}
		reachable := strings.Replace(bound, "*", "127.0.0.1", 1)
		first, client := acceptOver(t, l, reachable)
		second, _ := acceptOver(t, l, reachable)
		a, b := first.Peer().Addr, second.Peer().Addr
		if a == b || a == "" || strings.HasPrefix(endpoint, "ipc") != strings.HasPrefix(a, "ipc:") {
			t.Errorf("peers of %s are called %q and %q", endpoint, a, b)
		}
		r := run(t, first)
		run(t, client)
		send(t, client, "hello")
		wantMessage(t, r, "hello")
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestListenErrorsNameTheRemedy(t *testing.T) {
	l, err := Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, test := range []struct{ endpoint, want string }{
		{Bound(l), "cannot listen on " + Bound(l) + ": bind: address already in use; stop the program that holds it"},
		{"tcp://192.0.2.1:0", "choose an address of this machine"},
		{"ipc://" + filepath.Join(t.TempDir(), "none", "s"), "create the directory first"},
	} {
		_, err := Listen(test.endpoint)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Count(err.Error(), test.endpoint) != 1 {
			t.Errorf("got %v, want ... %s", err, test.want)
		}
	}
}

func TestDialErrorNamesTheEndpoint(t *testing.T) {
	l, err := Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := Bound(l)
	_ = l.Close()
	if _, err := Dial(t.Context(), gone); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "cannot connect to "+gone) {
		t.Errorf("got %v", err)
	}
}

func TestSocketFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("ipc://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("ipc://" + path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket that is in use was taken: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}

	// What a killed process leaves behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	if l, err = Listen("ipc://" + path); err != nil {
		t.Fatalf("a stale socket was not replaced: %v", err)
	}
	_ = l.Close()

	// Somebody's file is no socket, and stays.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("ipc://" + path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen over a file: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestBoundOfAnotherNetwork(t *testing.T) {
	l := testpipe.NewListener()
	defer l.Close()
	if got := Bound(l); got != "pipe://pipe:listener" {
		t.Errorf("got %q", got)
	}
}
