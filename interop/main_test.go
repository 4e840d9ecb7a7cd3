package interop

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// roleVariable makes the test binary a worker instead of tests.
const roleVariable = "INTEROP_ROLE"

// scratch is where dialmux is built; removed when the tests have ended.
var scratch string

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "worker":
		os.Exit(workerMain(os.Args[1:]))
	case "stopper":
		os.Exit(stopperMain(os.Args[1:]))
	}
	// Those that run side by side mostly wait for heartbeats.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "dialmux-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

// dialmux builds cmd/dialmux, under the race detector if the tests are.
var dialmux = sync.OnceValues(func() (string, error) {
	if err := lookAround(); err != nil {
		return "", err
	}
	path := filepath.Join(scratch, "dialmux")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../cmd/dialmux")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building cmd/dialmux: %w\n%s", err, out)
	}
	return path, nil
})

// lookAround opens each directory of the repository. The go command takes a
// test's result from its cache until something changes that the test has
// opened, and does not see what other processes open.
func lookAround() error {
	return fs.WalkDir(os.DirFS(".."), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (path == "bin" || path != "." && strings.HasPrefix(entry.Name(), ".")) {
			return fs.SkipDir
		}
		return err
	})
}
