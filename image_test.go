package house_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// docker runs the client, and returns what it prints.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	printed, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, printed)
	}
	return strings.TrimSpace(string(printed))
}

// needsDocker skips the test where no engine answers.
func needsDocker(t *testing.T, untried string) {
	t.Helper()
	if printed, err := exec.CommandContext(t.Context(), "docker", "info").CombinedOutput(); err != nil || bytes.Contains(printed, []byte("ERROR:")) {
		t.Skipf("no docker engine answers, so %s is not tried: %v", untried, err)
	}
}

func TestImage(t *testing.T) {
	needsDocker(t, "the Dockerfile")
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", "dialmux"), "./cmd/dialmux")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if printed, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, printed)
	}
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const image = "dialmux-test-image"
	docker(t, "build", "-t", image, dir)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", image).Run() })
	if got := docker(t, "run", "--rm", "--network", "none", image, "version"); !strings.HasPrefix(got, "dialmux ") {
		t.Errorf("version printed %q", got)
	}
	if got := docker(t, "inspect", "--format", "{{json .Config.Env}}", image); !strings.Contains(got, `"GODEBUG=http2xconnect=1"`) {
		t.Errorf("the image's environment is %s", got)
	}
	got, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--network", "none", image).CombinedOutput()
	if err == nil || !strings.Contains(string(got), "token") {
		t.Errorf("a router whose workers come from outside started without a token: %v\n%s", err, got)
	}
}
