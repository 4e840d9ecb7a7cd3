package interop

import (
	"os"
	"os/exec"
	"testing"
)

const (
	python = "/usr/bin/python3"
	ruby   = "/usr/bin/ruby"
)

// needPython and needRuby fail in CI, where nothing may be skipped in silence.
func needPython(t testing.TB) {
	t.Helper()
	need(t, "python3-zmq python3-msgpack", python, "-c", "import zmq, msgpack")
}

func needRuby(t testing.TB) {
	t.Helper()
	need(t, "ruby-ffi-rzmq ruby-msgpack", ruby, "-e", "require 'ffi-rzmq'; require 'msgpack'")
}

func need(t testing.TB, packages string, command ...string) {
	t.Helper()
	if err := exec.Command(command[0], command[1:]...).Run(); err != nil {
		complain := t.Skipf
		if os.Getenv("CI") == "true" {
			complain = t.Fatalf
		}
		complain("%q: %v: install %s (Debian)", command, err, packages)
	}
}

// socket is a kind of worker on libzmq.
type socket string

const (
	rep    socket = "REP"
	dealer socket = "DEALER"
	routed socket = "ROUTER"
)

// startPython runs a worker of testdata.
func startPython(t testing.TB, kind socket, name string, env []string, endpoints ...string) *process {
	t.Helper()
	needPython(t)
	args := []string{"-u", "-B"} // prints at once; leaves no files behind
	switch kind {
	case rep:
		args = append(args, "testdata/rep.py")
	case dealer:
		args = append(args, "testdata/native.py")
	case routed:
		args = append(args, "testdata/native.py", "--router-socket")
	}
	return start(t, name, env, python, append(append(args, name), endpoints...)...)
}
