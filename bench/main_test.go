package main

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChoose(t *testing.T) {
	chosen, err := choose(contenders, "^nginx")
	_, haveNginx := chosen[nginx]
	_, haveGo := chosen[nginxGo]
	if err != nil || len(chosen) != 2 || !haveNginx || !haveGo {
		t.Errorf("^nginx chose %d contenders (%v), want the two of nginx", len(chosen), err)
	}
	for _, bad := range []string{"lighttpd", "("} {
		if _, err := choose(contenders, bad); err == nil {
			t.Errorf("-only %s chose something, and no contender has such a name", bad)
		}
	}
}

func TestChooseSections(t *testing.T) {
	chosen, err := choose(contenders, "HAProxy|Dialmux")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := chooseSections(sections, "requests|idle", chosen)
	if err != nil || len(kept) != 2 || kept[0].name != "requests" || kept[1].name != "idle" {
		t.Fatalf("got %v sections (%v), want requests and idle", names(kept), err)
	}
	if got := strings.Join(kept[0].contenders(), ", "); got != haproxy+", "+dialmux {
		t.Errorf("requests are measured with %s, want the two chosen", got)
	}
	if len(sections[0].entries) == len(kept[0].entries) {
		t.Error("nothing was taken out")
	}
	for _, bad := range []string{"cakes", "(", "bodies"} {
		only, err := choose(contenders, "HAProxy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chooseSections(sections, bad, only); err == nil {
			t.Errorf("-sections %s with HAProxy alone leaves something to measure", bad)
		}
	}
}

// Figures go by name: a target that names what is not measured would never be judged.
func TestTargetsNameWhatIsMeasured(t *testing.T) {
	for _, target := range targets {
		found := false
		for _, s := range sections {
			found = found || s.name == target.section && s.has(target.of) && (target.absolute() || s.has(target.to))
		}
		if !found {
			t.Errorf("%s: section %q does not measure it", target.what, target.section)
		}
	}
	all, err := choose(contenders, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(contenders) {
		t.Error("two contenders have one name")
	}
	for _, s := range sections {
		for _, name := range s.contenders() {
			if _, ok := all[name]; !ok {
				t.Errorf("section %q measures %q, which is no contender", s.name, name)
			}
		}
	}
}

// Only a missing Dialmux makes the run worthless.
func TestFailureOfOurs(t *testing.T) {
	r := results{failures: map[place]error{{"requests", caddy, ""}: errors.New("no caddy")}}
	if err := r.ours(); err != nil {
		t.Errorf("a contender that is missing ends the run: %v", err)
	}
	r.failures[place{"slow", manySlots, ""}] = errors.New("timeout")
	if err := r.ours(); err == nil || !strings.Contains(err.Error(), manySlots) || !strings.Contains(err.Error(), "slow") {
		t.Errorf("got %v, want an error that names what of Dialmux failed, and where", err)
	}
}

func TestArgumentsOfParts(t *testing.T) {
	for _, args := range [][]string{{"backend"}, {"worker", "tcp://127.0.0.1:1", "1"}, {"worker", "tcp://127.0.0.1:1", "x", "1"}, {"standby", "tcp://127.0.0.1:1"}} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), "bench "+args[0]) {
			t.Errorf("bench %s: got %v, want an error that names it", strings.Join(args, " "), err)
		}
	}
}
