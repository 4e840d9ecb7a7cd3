package supervise

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemon starts one that prints what it is by its number, and goes on as rest says. Its parent ends at once.
func daemon(rest string) string { return `(setsid sh -c 'echo daemon $$; ` + rest + `' &); ` }

const sleeps = "exec sleep 1000"

// daemons waits until n were started, and returns their numbers by the names of their instances.
func (g *group) daemons(t *testing.T, n int) map[string][]int {
	t.Helper()
	line := regexp.MustCompile(`(?m)^(\S+) \| daemon (\d+)$`)
	var found [][]string
	eventually(t, "daemons", func() bool { found = line.FindAllStringSubmatch(g.out.String(), -1); return len(found) >= n })
	all := map[string][]int{}
	for _, f := range found {
		pid, _ := strconv.Atoi(f[2])
		all[f[1]] = append(all[f[1]], pid)
		t.Cleanup(func() {
			if t.Failed() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
	return all
}

func runs(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestDaemonsEndWithTheirInstance(t *testing.T) {
	stops := func(t *testing.T, g *group) {
		g.stop()
		if err := <-g.ended; err != nil {
			t.Error(err)
		}
	}
	for name, tc := range map[string]struct {
		daemon    string
		killAfter time.Duration
		end       func(*testing.T, *group)
		says      string
	}{
		"asked to":                        {`trap "echo bye; exit" TERM; echo ready; while :; do sleep 0.01; done`, time.Hour, stops, "bye"},
		"asked to, with one of their own": {"setsid sleep 1000 & echo ready; " + sleeps, time.Hour, stops, "ready"},
		"unheard":                         {`trap "" TERM; echo ready; while :; do sleep 0.01; done`, 100 * time.Millisecond, stops, "ready"},
		"with one that dies": {"echo ready; " + sleeps, time.Hour, func(t *testing.T, g *group) {
			daemons := g.daemons(t, 1)["web"]
			g.kill(t, "web")
			eventually(t, "it has ended", func() bool { return !runs(daemons[0]) })
			g.announced(t, "web", 2)
			g.daemons(t, 2)
			stops(t, g)
		}, "ready"},
		"killed, when only it is left": {`trap "" TERM; echo ready; while :; do sleep 0.01; done`, time.Hour, func(t *testing.T, g *group) {
			leader := g.announced(t, "web", 1)[0]
			g.stop()
			eventually(t, "the command has ended", func() bool { return !runs(leader) })
			g.Kill()
		}, "ready"},
		"killed": {`trap "" TERM; echo ready; while :; do sleep 0.01; done`, time.Hour, func(_ *testing.T, g *group) {
			g.stop()
			g.Kill()
		}, "ready"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, daemon(tc.daemon)+sleeps, func(c *Config) { c.KillAfter = tc.killAfter }).start(t)
			g.announced(t, "web", 1)
			g.prints(t, "web | ready")
			tc.end(t, g)
			g.prints(t, "web | "+tc.says)
			for _, pid := range g.daemons(t, 1)["web"] {
				if runs(pid) {
					t.Errorf("%d was left behind", pid)
				}
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			if left := g.strays(); len(left) > 0 {
				t.Errorf("%v were left behind", left)
			}
		})
	}
}

// The log says what to do about it, and there is one of it at a time.
func TestACommandThatPutsItselfIntoTheBackground(t *testing.T) {
	fifo := t.TempDir() + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGroup(t, "export FIFO=$0; "+daemon("echo > $FIFO; "+sleeps)+"read started < $FIFO; exit 0", func(c *Config) { c.Args = append(c.Args, fifo) }).start(t)
	all := g.daemons(t, 4)["web"]
	g.says(t, `how="exit status 0: it put itself into the background? run it in the foreground, as nginx -g 'daemon off;'"`)
	for _, pid := range all[:3] {
		eventually(t, "it has ended", func() bool { return !runs(pid) })
	}
	g.stop()
	<-g.ended
	for _, pid := range g.daemons(t, 4)["web"] {
		if runs(pid) {
			t.Errorf("%d was left behind", pid)
		}
	}
}

// Nobody ends those of another instance, and in the end none is left.
func TestDaemonsOfOthersStay(t *testing.T) {
	for name, env := range map[string]string{"as they are": "", "without an environment": "exec env -i PATH=$PATH "} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, daemon(env+"sleep 1000")+sleeps, func(c *Config) { c.N = 3 }).start(t)
			for _, s := range g.slots {
				g.announced(t, s.name, 1)
			}
			first := g.daemons(t, 3)
			g.kill(t, "web-2")
			g.announced(t, "web-2", 2)
			if env == "" {
				eventually(t, "it has ended", func() bool { return !runs(first["web-2"][0]) })
			}
			all := g.daemons(t, 4)
			if !runs(all["web-1"][0]) || !runs(all["web-3"][0]) || !runs(all["web-2"][1]) {
				t.Errorf("of %v one has ended whose instance runs", all)
			}
			g.stop()
			<-g.ended
			for _, pid := range slices.Concat(all["web-1"], all["web-2"], all["web-3"]) {
				if runs(pid) {
					t.Errorf("%d was left behind", pid)
				}
			}
		})
	}
}

func TestOrphansThatEndAreBuried(t *testing.T) {
	g := newGroup(t, "(sh -c 'echo daemon $$' &); "+sleeps, nil).start(t)
	pid := g.daemons(t, 1)["web"][0]
	eventually(t, "it is gone", func() bool { return !runs(pid) })
	if log := g.log.String(); strings.Contains(log, "ended by itself") {
		t.Error("the instance has ended")
	}
}

// Children that we had before are none of theirs.
func TestOurOwnChildrenStay(t *testing.T) {
	child, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // the kernel's clock has ticks of 10 ms
	g := newGroup(t, sleeps, nil).start(t)
	g.announced(t, "web", 1)
	g.stop()
	<-g.ended
	if err := child.Kill(); err != nil {
		t.Error("it was ended:", err)
	}
	if _, err := child.Wait(); err != nil {
		t.Error(err)
	}
}
