package conform

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mutants are defects of testdata/broken, and the cases that must find each.
var mutants = map[string][]string{
	"":                         nil,
	"takes-one":                nil,
	"takes-two":                nil,
	"join-echoes-the-first":    {"welcome/other-connection", "drain/new-welcome"},
	"same-welcome-voids":       {"welcome/same-connection"},
	"old-streams-go-on":        {"welcome/other-connection", "drain/new-welcome"},
	"dies-of-unknown-type":     {"unknown/types-and-keys"},
	"total-wrong":              {"body/5000000"},
	"total-not-checked":        {"body/wrong-total", "upgrade/wrong-total"},
	"one-of-each-field":        {"fields/duplicates"},
	"fields-made-utf8":         {"fields/not-utf8"},
	"body-for-head":            {"head"},
	"request-trailers-ignored": {"trailers/request"},
	"refuses-nothing":          {"refused"},
	"early-waits":              {"early-answer", "expect/refused"},
	"cancel-ignored":           {"cancel/before", "cancel/during", "refused"},
	"double-end":               {"cancel/after", "dead-streams"},
	"answers-dead-streams":     {"dead-streams", "early-answer", "upgrade/worker-ends", "window/request-exceeded"},
	"no-credit":                {"body/5000000", "window/request-cost", "expect/continue"},
	"credit-in-bytes":          {"window/request-cost"},
	"window-ignored":           {"window/response"},
	"window-in-bytes":          {"window/response-cost"},
	"expect-forgotten":         {"expect/continue"},
	"goaway-too-high":          {"drain"},
	"drain-forgotten":          {"drain/new-welcome"},
	"drain-cuts-upgrades":      {"drain/upgrade"},
	"upgrade-none":             nil,
	"upgrade-unasked":          {"upgrade/unasked"},
	"upgrade-any":              {"upgrade/refused"},
	"upgrade-refused-waits":    {"upgrade/refused"},
	"upgrade-holds-back":       {"upgrade", "upgrade/reset"},
	"upgrade-no-credit":        {"upgrade/windows", "upgrade/half-close"},
	"upgrade-window-ignored":   {"upgrade/half-close"},
	"upgrade-cuts":             {"upgrade/half-close"},
	"upgrade-never-ends":       {"upgrade/worker-ends"},
	"upgrade-end-uncounted":    {"upgrade", "upgrade/windows", "drain/upgrade"},
	"upgrade-cancel-ignored":   {"upgrade/reset"},
}

// repMutants are the same of testdata/broken_rep.py.
var repMutants = map[string][]string{
	"":                   nil,
	"no-token":           {"rep/token"},
	"anothers-body":      {"rep/order"},
	"cuts-at-a-megabyte": {"rep/body/5000000", "rep/reply/5000000"},
	"always-200":         {"rep/status"},
	"one-of-each-field":  {"rep/fields"},
	"fields-made-utf8":   {"rep/not-utf8"},
}

func TestMutants(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "broken")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/broken").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kill(t, mutants, false, program)
}

func TestREPMutants(t *testing.T) {
	t.Parallel()
	needs(t, "python3-zmq python3-msgpack", "/usr/bin/python3", "-c", "import zmq, msgpack")
	kill(t, repMutants, true, "/usr/bin/python3", "-B", "testdata/broken_rep.py")
}

// kill tries every mutant, and wants just the cases to fail that should.
func kill(t *testing.T, mutants map[string][]string, rep bool, command ...string) {
	// A case waits more than it works, so all run at once: t.Parallel would run as many as there are processors.
	var group sync.WaitGroup
	var mu sync.Mutex
	for defect, want := range mutants {
		group.Go(func() {
			failed, report, err := try(t, rep, append(slices.Clone(command), defect))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", defect, err)
			}
			slices.Sort(failed)
			if want := slices.Sorted(slices.Values(want)); !slices.Equal(failed, want) {
				t.Errorf("%s: failed %q, want %q", defect, failed, want)
				for _, r := range report {
					t.Logf("%s: %s %s: %s\n\t%s", defect, r.Verdict, r.Case, r.Why, strings.Join(r.Frames, "\n\t"))
				}
			}
		})
	}
	group.Wait()
}

func try(t *testing.T, rep bool, command []string) (failed []string, report []Result, err error) {
	k := WorkerKit{
		Listen: "tcp://127.0.0.1:0", Token: "t", REP: rep, Command: command, Output: io.Discard,
		patience: 3 * patience,                                                                                        // they all work at once, perhaps beside other tests
		Only:     func(name string) bool { return !strings.HasSuffix(name, "ping") || command[len(command)-1] == "" }, // ten seconds
	}
	if testing.Verbose() {
		k.Output = os.Stderr
	}
	err = k.Run(t.Context(), func(r Result) {
		if r.Verdict == Fail {
			failed = append(failed, r.Case)
		}
		if r.Verdict != Pass {
			report = append(report, r)
		}
	})
	return failed, report, err
}
