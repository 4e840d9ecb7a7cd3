package supervise

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adopt makes us the parent of strays, who else were process 1's. A stray has left its instance's process group, as daemons do, and its
// parent has ended.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } // any Linux of today has it

// signalStrays sends sig to the strays of p, but to those that were told, and returns whether there are any.
func (g *Group) signalStrays(p *process, sig syscall.Signal, told map[int]bool) (found bool) {
	g.mu.Lock() // nobody else gets their numbers before we bury them
	defer g.mu.Unlock()
	for _, s := range g.strays() {
		if !g.owns(p, s) {
			continue
		}
		found = true
		if !told[s.pid] {
			_ = syscall.Kill(s.pid, sig)
			told[s.pid] = true
		}
	}
	return found
}

// owns tells whether p alone can have started s. If another one that runs can have, too, it is the port in the environment of s that tells; and if
// there is none, s is left to that other one's end.
func (g *Group) owns(p *process, s stray) bool {
	if s.began < p.began {
		return false
	}
	for q := range g.processes {
		if q != p && !q.hasExited() && q.began <= s.began {
			return hasPort(s.pid, p.port)
		}
	}
	return true
}

type stray struct {
	pid   int
	began uint64
}

// strays are all that are alive. The dead are buried. g.mu must be held.
func (g *Group) strays() (all []stray) {
	leaders := map[int]bool{}
	for p := range g.processes {
		if !p.hasExited() {
			leaders[p.cmd.Process.Pid] = true
		}
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || leaders[pid] {
			continue
		}
		st, ok := statOf(pid)
		if !ok || st.parent != os.Getpid() {
			continue
		}
		if st.dead {
			if n, _ := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); n == pid {
				continue
			}
		}
		if !leaders[st.group] {
			all = append(all, stray{pid: pid, began: st.began})
		}
	}
	return all
}

// bury buries strays as they end, until done is closed.
func (g *Group) bury(done <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	pause := time.NewTicker(time.Second) // for what starts many
	defer pause.Stop()
	for {
		select {
		case <-done:
			return
		case <-ended:
		}
		g.mu.Lock()
		g.strays()
		g.mu.Unlock()
		select {
		case <-done:
			return
		case <-pause.C:
		}
	}
}

type stat struct {
	parent, group int
	dead          bool
	began         uint64 // in ticks since the system did
}

// statOf reads /proc/PID/stat, proc(5).
func statOf(pid int) (st stat, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return st, false
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // a name may hold anything
	if len(f) < 20 {
		return st, false
	}
	st.dead = f[0] == "Z"
	st.parent, _ = strconv.Atoi(f[1])
	st.group, _ = strconv.Atoi(f[2])
	st.began, _ = strconv.ParseUint(f[19], 10, 64)
	return st, true
}

func beganAt(pid int) uint64 {
	st, _ := statOf(pid)
	return st.began
}

func hasPort(pid, port int) bool {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return bytes.Contains(append([]byte{0}, text...), []byte("\x00PORT="+strconv.Itoa(port)+"\x00"))
}
