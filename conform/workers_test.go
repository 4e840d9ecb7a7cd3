package conform

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Every worker that the repository shows to people passes.
func TestWorkers(t *testing.T) {
	const python = "/usr/bin/python3"
	for _, test := range []struct {
		name    string
		rep     bool
		command func(t *testing.T) []string
	}{
		{name: "C", command: func(t *testing.T) []string {
			return []string{compiled(t, "../examples/c/worker.c")}
		}},
		{name: "Go", command: func(t *testing.T) []string {
			program := filepath.Join(t.TempDir(), "worker")
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../examples/conform").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return []string{program}
		}},
		{name: "Python", command: func(t *testing.T) []string {
			needs(t, "python3-zmq python3-msgpack", python, "-c", "import zmq, msgpack")
			return []string{python, "-B", "../examples/python/conform.py"}
		}},
		{name: "Python-REP", rep: true, command: func(t *testing.T) []string {
			needs(t, "python3-zmq python3-msgpack", python, "-c", "import zmq, msgpack")
			return []string{python, "-B", "../examples/python/conform_rep.py"}
		}},
		{name: "Ruby-REP", rep: true, command: func(t *testing.T) []string {
			needs(t, "ruby-ffi-rzmq ruby-msgpack", "/usr/bin/ruby", "-e", "require 'ffi-rzmq'; require 'msgpack'")
			return []string{"/usr/bin/ruby", "../examples/ruby/conform_rep.rb"}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			passes(t, &WorkerKit{REP: test.rep, Command: test.command(t)})
		})
	}
}

// passes puts a worker through every case.
func passes(t *testing.T, k *WorkerKit) {
	t.Helper()
	var output bytes.Buffer
	k.Listen, k.Token, k.Output = "tcp://127.0.0.1:0", "a token", &output
	var report []Result
	err := k.Run(t.Context(), func(r Result) {
		t.Logf("%s %s (must: %v) %s", r.Verdict, r.Case, r.Must, r.Why)
		report = append(report, r)
	})
	if err != nil {
		t.Error(err)
	}
	if len(report) == 0 {
		t.Error("no case was run")
	}
	if !Failed(report) && !t.Failed() {
		return
	}
	for _, r := range report {
		if r.Must && r.Verdict == Fail {
			t.Errorf("%s: %s\nIt checks: %s", r.Case, r.Why, r.Checks)
			for _, line := range r.Frames {
				t.Log("    " + line)
			}
		}
	}
	t.Logf("the worker wrote:\n%s", output.Bytes()) // it has ended
}

// compiled is the program that cc makes of a C source on libzmq and msgpack-c.
func compiled(t *testing.T, source string) string {
	t.Helper()
	needs(t, "gcc libc6-dev libzmq3-dev libmsgpack-dev", "sh", "-c",
		`printf '#include <msgpack.h>\n#include <zmq.h>\nint main(void) { return 0; }\n' | cc -x c -fsyntax-only -`)
	program := filepath.Join(t.TempDir(), "worker")
	build := exec.CommandContext(t.Context(), "cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lzmq", "-lmsgpackc")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// needs skips the test where a language is missing; in CI that is a failure.
func needs(t *testing.T, packages, name string, probe ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, probe...).CombinedOutput()
	if err == nil {
		return
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) && !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	why := fmt.Sprintf("%v: %s\nInstall Debian's packages: apt-get install %s", err, bytes.TrimSpace(out), packages)
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}
