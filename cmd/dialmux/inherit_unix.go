//go:build unix

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// inherit takes what the environment says was passed to this very process.
func inherit() (i inherited, err error) {
	if err := passed(); err != nil {
		return i, err
	}
	for _, f := range activation.Files(true) {
		err = errors.Join(err, i.take(f))
		_ = f.Close() // a listener has a descriptor of its own
	}
	if err != nil {
		i.close()
		first, _, _ := strings.Cut(err.Error(), "\n")
		return inherited{}, errors.New(first)
	}
	return i, nil
}

// passed judges how many sockets the environment says there are, which activation takes at its word.
func passed() error {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil
	}
	text, is := os.LookupEnv("LISTEN_FDS")
	if n, err := strconv.Atoi(text); is && (err != nil || n < 0 || n > maxPassed) {
		return fmt.Errorf("LISTEN_FDS=%.40q: want how many sockets were passed, 0 to %d; a service manager sets it (sd_listen_fds(3)), unset it if none started this process", text, maxPassed)
	}
	return nil
}

const maxPassed = 1000

func (i *inherited) take(f *os.File) error {
	var to **net.TCPListener
	switch f.Name() {
	case "http":
		to = &i.http
	case "redirect-http":
		to = &i.redirect
	case "admin":
		to = &i.admin
	case "workers":
	default:
		return fmt.Errorf("inherited socket %q: nothing here is called so; say FileDescriptorName=http, workers, admin or redirect-http in its .socket unit, and one such unit for each name", f.Name())
	}
	l, err := listens(f)
	tcp, is := l.(*net.TCPListener)
	_, local := l.(*net.UnixListener)
	switch {
	case err != nil, !is && (to != nil || !local):
		if l != nil {
			_ = l.Close()
		}
		return fmt.Errorf("inherited socket %q: it does not listen for TCP; say ListenStream= with a port or an address and a port in its .socket unit", f.Name())
	case to == nil:
		i.workers = append(i.workers, l)
	case *to != nil:
		_ = l.Close()
		return fmt.Errorf("inherited socket %q: there are two of that name; one ListenStream= is right, since workers alone may have several", f.Name())
	default:
		*to = tcp
	}
	return nil
}

var errNotListening = errors.New("the socket does not listen")

func listens(f *os.File) (net.Listener, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	listening := 0
	if err := raw.Control(func(fd uintptr) {
		listening, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	}); err != nil {
		return nil, err
	}
	if listening == 0 {
		return nil, errNotListening
	}
	return net.FileListener(f)
}
