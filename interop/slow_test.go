package interop

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestH11SlowHTTPTest lets slowhttptest (Debian) attack in its four modes at
// once, for ten seconds: heads and bodies that trickle, absurd ranges, and
// answers that are hardly read. A client beside them is served, and what they
// cost is bounded by their number.
func TestH11SlowHTTPTest(t *testing.T) {
	need(t, "slowhttptest", "which", "slowhttptest")
	const (
		each   = 250
		stream = 320 << 10 // what windows let one request take
	)
	r := startRouter(t, "--head-timeout", "5s", "--body-timeout", "5s", "--write-timeout", "5s")
	// Each slow body and each slow reader takes a slot of a worker's.
	startWorker(t, "go", []string{"-concurrency", "1024"}, r.endpoint())
	r.awaitWorkers("go")
	l := startLoad(t, r.addr, crowd{clients: 4, pace: 5 * time.Millisecond}, getNonce)
	l.await("requests are answered", 50)
	before := time.Now()
	measured(t, each*stream+4*each*(32<<10)+(32<<20), func() {
		modes := map[string][]string{
			"-H": {"-i", "1", "-u", "/nonce?n=H"},
			"-B": {"-i", "1", "-s", "8192", "-u", "/sink"},
			"-R": {"-u", "/nonce?n=R"},
			"-X": {"-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-u", "/source?n=1"},
		}
		attacks := map[string]*process{}
		for mode, args := range modes {
			args[len(args)-1] = "http://" + r.addr + args[len(args)-1]
			args = append([]string{mode, "-c", fmt.Sprint(each), "-r", "200", "-l", "10", "-p", "10"}, args...)
			attacks[mode] = start(t, "slowhttptest "+mode, nil, "slowhttptest", args...)
		}
		most := 0
		for mode, attack := range attacks {
			eventually(t, mode+" ends", func() bool {
				most = max(most, r.streams().Open)
				return !attack.running()
			})
			checkAttack(t, mode, attack.log.String(), each)
		}
		if most < 100 { // 500 on a machine that has nothing else to do
			t.Errorf("%d requests ran at once at most: the attacks did not reach the worker", most)
		}
	}, r.process)
	l.await("requests go on", 50)
	l.stop()
	if bad := l.notOK(); len(bad) > 0 {
		t.Errorf("%d requests of %d failed beside slow clients: %s", len(bad), l.total, bad[0])
	}
	t.Logf("%d requests were answered in the %v of the attacks", l.answered(""), time.Since(before).Round(time.Second))
	r.awaitIdle()
}

var (
	colours = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")
	figure  = regexp.MustCompile(`(?m)^(initializing|pending|connected|error|closed|service available): +(\w+)`)
)

// checkAttack reads slowhttptest's own report: its last figures, and whether
// the service was ever out of reach to it.
func checkAttack(t *testing.T, mode, report string, connections int) {
	t.Helper()
	report = colours.ReplaceAllString(report, "")
	last, available := map[string]string{}, 0
	for _, m := range figure.FindAllStringSubmatch(report, -1) {
		last[m[1]] = m[2]
		if m[1] != "service available" {
			continue
		}
		if available++; m[2] != "YES" {
			t.Errorf("slowhttptest %s: service available: %s", mode, m[2])
		}
	}
	_, exit, _ := strings.Cut(report, "Exit status: ")
	t.Logf("slowhttptest %s: %d connections; %s connected, %s closed and %s failed at the end; %s", mode, connections,
		last["connected"], last["closed"], last["error"], strings.TrimSpace(exit))
	if available == 0 {
		t.Errorf("slowhttptest %s made no report:\n%s", mode, report)
	}
}
