package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// says runs dialmux, and returns what it prints on stdout.
func says(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("dialmux", args...)
	var log buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dialmux %s: %v %s", strings.Join(args, " "), err, log.String())
	}
	return string(out)
}

// Each client is served by the worker that dialmux owner names first.
func TestOwnerAndRing(t *testing.T) {
	r := startRouter(t, "--sticky", "header:X-User", "--compat-ringpop-headers")
	for _, name := range []string{"worker-1", "worker-2", "worker-3"} {
		r.worker(name)
	}
	r.awaitReady(3)
	for i := range 10 {
		key := fmt.Sprintf("user %d", i)
		names := strings.Fields(says(t, "owner", "--admin", r.admin, key))
		req, err := http.NewRequest(http.MethodGet, "http://"+r.web+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-User", key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Dialmux-Worker"); len(names) != 3 || got != names[0] || got != resp.Header.Get("X-Ringpop-Handled-By") {
			t.Errorf("%s went to %s, and dialmux owner says %q", key, got, names)
		}
	}
	if got := says(t, "owner", "alice", "--admin", r.admin, "--path", "/", "--json"); !strings.Contains(got, `"hash": "508b2abb65a03907"`) {
		t.Error(got)
	}
	drawing := regexp.MustCompile(`^service - at \*/, sticky header:x-user: 3 in the ring

WORKER     WEIGHT   STATE   BUSY   ENDED   SHARE
worker-1   1        ready   0      \d+ +33.3% █{32}
worker-2   1        ready   0      \d+ +33.3% █{32}
worker-3   1        ready   0      \d+ +33.3% █{32}
$`)
	if got := says(t, "ring", "--admin", r.admin); !drawing.MatchString(got) {
		t.Error(got)
	}
}

// What an app's file says of its clients reaches the router.
func TestAppFilesKeepClients(t *testing.T) {
	r := startRouter(t, "--sticky", "ip")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"shop": fmt.Sprintf(`{"to": "http://%s", "service": "shop", "host": "shop.test", "sticky": "cookie:s", "sticky-wait": "2s"}`, r.admin),
		"blog": fmt.Sprintf(`{"to": "http://%s", "service": "blog", "host": "blog.test"}`, r.admin),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, "dialmux", "worker", "--apps-dir", dir, "--router", r.workers)
	r.awaitReady(2)
	for service, policy := range map[string]string{"shop": "cookie:s; wait=2s", "blog": "ip"} {
		if got := says(t, "ring", "--admin", r.admin, "--service", service); !strings.Contains(got, ", sticky "+policy+": 1 in the ring") {
			t.Errorf("want %s of\n%s", policy, got)
		}
	}
	w.stop()
}
