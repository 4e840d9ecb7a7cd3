package supervise

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// hanger is a group of which one instance hangs once next is set: it is not announced before release is closed.
type hanger struct {
	*group
	next    atomic.Bool
	release chan struct{}
}

// startHanger returns when all are announced. The function hung is called when one hangs.
func startHanger(t *testing.T, n int, within time.Duration, hung func(h *hanger)) *hanger {
	t.Helper()
	h := &hanger{release: make(chan struct{})}
	h.group = newGroup(t, "exec sleep 1000", func(c *Config) {
		c.N, c.ReplaceWithin = n, within
		c.Serve = func(ctx context.Context, _, _ string, announced func()) error {
			if h.next.CompareAndSwap(true, false) {
				hung(h)
				select {
				case <-h.release:
				case <-ctx.Done():
					return nil
				}
			}
			announced()
			<-ctx.Done()
			return nil
		}
	}).start(t)
	for i := range n {
		h.announced(t, h.slots[i].name, 1)
	}
	return h
}

// announced waits until n instances of this name were, and returns their process numbers.
func (g *group) announced(t *testing.T, name string, n int) (pids []int) {
	t.Helper()
	line := regexp.MustCompile(`msg=announced worker=` + name + ` address=\S+ pid=(\d+)`)
	eventually(t, fmt.Sprint(n, " announced of ", name), func() bool {
		pids = nil
		for _, found := range line.FindAllStringSubmatch(g.log.String(), -1) {
			pid, _ := strconv.Atoi(found[1])
			pids = append(pids, pid)
		}
		return len(pids) >= n
	})
	return pids
}

// kill kills the one that was announced last.
func (g *group) kill(t *testing.T, name string) {
	t.Helper()
	pids := g.announced(t, name, 1)
	if err := syscall.Kill(pids[len(pids)-1], syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// runs waits until as many processes do.
func (g *group) runs(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " processes"), func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.processes) == n
	})
}

// rollAndHang returns when one hangs. It asks once more if that was given up before it came so far.
func (h *hanger) rollAndHang(t *testing.T) {
	t.Helper()
	h.next.Store(true)
	for ended := 0; h.next.Load(); ended++ {
		h.Roll()
		eventually(t, "one hangs", func() bool {
			return !h.next.Load() || strings.Count(h.log.String(), "instances are not replaced any further") > ended
		})
	}
}

func TestWhatIsNotAnnouncedInTimeIsGivenUp(t *testing.T) {
	h := startHanger(t, 3, 100*time.Millisecond, func(*hanger) {})
	h.next.Store(true)
	h.Roll()
	h.says(t, `level=WARN msg="the new instance is given up, it was not announced in time: `)
	h.says(t, `--replace-timeout gives it longer" worker=web-1 after=100ms`)
	h.says(t, `level=ERROR msg="instances are not replaced any further, those that run go on" reason="a new instance was not announced within 100ms" worker=web-1 replaced=0 instances=3`)
	h.runs(t, 3)
	for _, s := range h.slots {
		if pids := h.announced(t, s.name, 1); len(pids) != 1 || syscall.Kill(pids[0], 0) != nil {
			t.Errorf("%s was %v, and does not run any more", s.name, pids)
		}
	}
	if log := h.log.String(); strings.Contains(log, "ended by itself") {
		t.Error("one died")
	}
}

// While one hangs that is to replace another, whoever dies is followed by another as ever.
func TestDeathsDuringARoll(t *testing.T) {
	h := startHanger(t, 2, time.Hour, func(*hanger) {})
	h.rollAndHang(t)
	h.kill(t, "web-2")
	h.announced(t, "web-2", 2)
	h.kill(t, "web-1")
	h.says(t, `level=WARN msg="ended by itself, and the one that was to replace it takes its place" worker=web-1 how="signal: killed"`)
	close(h.release)
	h.announced(t, "web-1", 2)
	h.says(t, `msg="all instances are replaced"`)
	h.runs(t, 2)
}

// What hangs in the place of a dead one does not keep it.
func TestTheDeadAreFollowedThoughTheNextHangs(t *testing.T) {
	h := startHanger(t, 1, 100*time.Millisecond, func(h *hanger) { h.kill(t, "web") })
	h.rollAndHang(t)
	h.announced(t, "web", 2)
	h.says(t, `reason="a new instance was not announced within 100ms"`)
	h.runs(t, 1)
	if n := strings.Count(h.log.String(), "ended by itself"); n != 1 {
		t.Errorf("%d ended by themselves, want the killed one", n)
	}
}

// In the end all were started after the last time that it was asked for.
func TestARollDuringARollBeginsAnew(t *testing.T) {
	for name, hung := range map[string]func(*hanger){
		"beside the old one":             func(*hanger) {},
		"in the place of a dead old one": func(h *hanger) { h.kill(t, "web-1") },
	} {
		t.Run(name, func(t *testing.T) {
			h := startHanger(t, 2, time.Hour, func(h *hanger) {
				hung(h)
				h.Roll()
			})
			h.rollAndHang(t)
			h.says(t, `msg="all instances are replaced"`)
			h.runs(t, 2)
			if n := strings.Count(h.log.String(), "replacing instances"); n != 2 {
				t.Errorf("it began %d times", n)
			}
		})
	}
}

func TestARollThatEndsMidway(t *testing.T) {
	var seconds atomic.Int32
	g := newGroup(t, "exec sleep 1000", func(c *Config) {
		c.N = 3
		c.Serve = func(ctx context.Context, name, _ string, announced func()) error {
			if name == "web-2" && seconds.Add(1) == 2 {
				return errors.New("refused")
			}
			announced()
			<-ctx.Done()
			return nil
		}
	}).start(t)
	for _, s := range g.slots {
		g.announced(t, s.name, 1)
	}
	g.Roll()
	g.says(t, `those that run go on" reason=refused worker=web-2 replaced=1 instances=3`)
	g.runs(t, 3)
	for _, s := range g.slots[1:] {
		if pids := g.announced(t, s.name, 1); len(pids) != 1 || syscall.Kill(pids[0], 0) != nil {
			t.Errorf("%s was %v, and does not run any more", s.name, pids)
		}
	}
}
