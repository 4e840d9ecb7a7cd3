package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It is no promise of
// the product: a machine may be busy.
const patience = 30 * time.Second

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting after %v: %s", patience, what)
		}
	}
}

// process is one program under test.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    *book
	waiter sync.WaitGroup
	ended  chan struct{}
	killed sync.Once
}

// start runs a program until the test ends. What it prints is shown if the
// test fails.
func start(t testing.TB, name string, env []string, program string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	return startCommand(t, name, cmd)
}

// startCommand is start. A command that has a process group of its own is killed with all of it.
func startCommand(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, log: &book{}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	p.waiter.Go(func() {
		_ = p.cmd.Wait() // it is killed in the end
		close(p.ended)
	})
	t.Cleanup(func() {
		p.kill()
		text := p.log.String()
		for _, fatal := range []string{"DATA RACE", "panic: ", "fatal error: ", "Traceback"} {
			if strings.Contains(text, fatal) {
				t.Errorf("%s printed %q", name, fatal)
			}
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, text[max(0, len(text)-8<<10):])
		}
	})
	return p
}

// kill is kill -9, and waits.
func (p *process) kill() {
	p.killed.Do(func() {
		if attr := p.cmd.SysProcAttr; attr != nil && attr.Setpgid {
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // its children may have outlived it
		}
		p.signal(syscall.SIGKILL)
	})
	p.waiter.Wait()
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// freeze returns when the process has stopped.
func (p *process) freeze(t testing.TB) {
	t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(t, p.name+" stops", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		return err == nil && strings.HasPrefix(state, "T")
	})
}

func (p *process) thaw() { p.signal(syscall.SIGCONT) }

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// memory reads a line such as VmRSS or VmHWM of /proc/PID/status, in bytes.
func (p *process) memory(t testing.TB, line string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(row, line+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in /proc/%d/status", line, p.cmd.Process.Pid)
	return 0
}

// book is what a process printed.
type book struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
