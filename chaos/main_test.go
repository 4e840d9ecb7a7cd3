package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// The harness starts itself as workers and backends: here that is the test's binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "worker" || os.Args[1] == "backend") {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// buildDialmux builds the program under test.
func buildDialmux(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dialmux")
	build := exec.Command("go", "build", "-o", path, "../cmd/dialmux")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building cmd/dialmux: %v\n%s", err, out)
	}
	return path
}

// lines is a test's log as a writer.
type lines struct{ t *testing.T }

func (l lines) Write(p []byte) (int, error) {
	l.t.Helper()
	l.t.Logf("%s", p)
	return len(p), nil
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"worker"}, {"backend", "a", "b"}, {"-duration", "1ms"}, {"-rate", "0"}, {"-faults", "("}, {"-faults", "gremlins", "-dialmux", "true", "-python", "testdata"}, {"-python", "nowhere", "-dialmux", "true"}} {
		if err := run(context.Background(), args, lines{t}, lines{t}); err == nil {
			t.Errorf("chaos %s did something", fmt.Sprint(args))
		}
	}
}
