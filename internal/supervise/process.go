package supervise

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a command that was started, and leads a process group.
type process struct {
	group  *Group
	port   int
	cmd    *exec.Cmd
	since  time.Time
	began  uint64         // the same by the kernel's clock, where it can have strays
	lasted time.Duration  // written before exited is closed
	exited chan struct{}  // closed when it has, and cmd.ProcessState is there
	output sync.WaitGroup // what copies it, and waits for the process
}

var portVariable = regexp.MustCompile(`\$(PORT\b|\{PORT\})`)

// start starts the command on port.
func (g *Group) start(name string, port int) (*process, error) {
	number := strconv.Itoa(port)
	args := make([]string, len(g.Args))
	for i, a := range g.Args {
		args[i] = portVariable.ReplaceAllLiteralString(a, number)
	}
	p := &process{group: g, port: port, cmd: exec.Command(args[0], args[1:]...), exited: make(chan struct{})} //nolint:gosec // running what the operator names is the purpose
	p.cmd.Env = append(slices.Clip(g.Env), "PORT="+number)
	p.cmd.SysProcAttr = ownGroup()
	var copies []func()
	var ours, theirs []*os.File
	for _, to := range []struct {
		file **os.File
		out  *output
	}{{new(*os.File), g.stdout}, {new(*os.File), g.stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			shut(ours)
			shut(theirs)
			return nil, err
		}
		ours, theirs = append(ours, r), append(theirs, w)
		copies = append(copies, func() { to.out.copy(name, r) })
	}
	p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1]

	begun := make(chan error, 1)
	p.output.Go(func() {
		// The kernel kills it when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := g.begin(p)
		shut(theirs)
		begun <- err
		if err != nil {
			return
		}
		_ = p.cmd.Wait() // ProcessState tells
		p.lasted = time.Since(p.since)
		close(p.exited)
	})
	if err := <-begun; err != nil {
		p.output.Wait()
		shut(ours)
		return nil, unstartable(args[0], err)
	}
	for i, c := range copies {
		p.output.Go(func() {
			c()
			_ = ours[i].Close()
		})
	}
	p.output.Go(func() {
		<-p.exited
		for _, r := range ours { // one that has left the group may hold the other end
			_ = r.SetReadDeadline(time.Now().Add(lastWords))
		}
	})
	return p, nil
}

// lastWords is how long what a process has printed may take to arrive after its end.
const lastWords = time.Second

// lookAgain is how often what should end is looked for.
const lookAgain = 10 * time.Millisecond

// begin starts p, unless all were killed.
func (g *Group) begin(p *process) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.killed {
		return os.ErrProcessDone
	}
	err := p.cmd.Start()
	if err == nil {
		p.since, p.began = time.Now(), beganAt(p.cmd.Process.Pid)
		g.processes[p] = struct{}{}
	}
	return err
}

// forget is for when nothing is left of p.
func (g *Group) forget(p *process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.processes, p)
}

func shut(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// how says how it ended.
func (p *process) how() error {
	how := strings.TrimSpace(p.cmd.ProcessState.String())
	if p.cmd.ProcessState.Success() && p.lasted < steady {
		how += ": it put itself into the background? run it in the foreground, as nginx -g 'daemon off;'"
	}
	return errors.New(how)
}

// end asks the process group and its strays to end, and returns whether they did within limit. Else they are killed.
func (p *process) end(limit time.Duration) bool {
	told := map[int]bool{}
	p.terminate()
	p.group.signalStrays(p, syscall.SIGTERM, told)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	exited := p.exited
	for {
		select {
		case <-exited:
			exited = nil
		case <-look.C:
		case <-timer.C:
			p.kill()
			<-p.exited
			p.clear()
			return false
		}
		if exited != nil || p.leavesBehind() {
			continue
		}
		if !p.group.signalStrays(p, syscall.SIGTERM, told) {
			return true
		}
		look.Reset(100 * time.Millisecond) // it reads all of /proc
	}
}

// clear kills what a process that has ended has left behind.
func (p *process) clear() {
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for range lastWords / lookAgain { // so many looks, however long a busy machine makes each take
		group := p.leavesBehind()
		if group {
			p.kill()
		}
		if strays := p.group.signalStrays(p, syscall.SIGKILL, map[int]bool{}); !group && !strays {
			return
		}
		<-look.C
	}
}
