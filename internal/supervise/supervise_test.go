package supervise

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for said := time.Now(); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			t.Logf("still waiting: %s", what)
		}
	}
}

// group is one of shell scripts that answer at once, unless Answers says otherwise.
type group struct {
	*Group
	out, log *buffer
	stop     context.CancelFunc
	ended    chan error
}

func newGroup(t *testing.T, script string, change func(*Config)) *group {
	t.Helper()
	g := &group{out: &buffer{}, log: &buffer{}, ended: make(chan error, 1)}
	c := Config{
		Name: "web", N: 1, Args: []string{"/bin/sh", "-c", script}, Env: os.Environ(), KillAfter: time.Hour, ReplaceWithin: time.Hour, Stdout: g.out, Stderr: g.out,
		Logger:  slog.New(slog.NewTextHandler(g.log, nil)),
		Answers: func(context.Context, string) error { return nil },
		Serve: func(ctx context.Context, _, _ string, announced func()) error {
			announced()
			<-ctx.Done()
			return nil
		},
	}
	if change != nil {
		change(&c)
	}
	var err error
	if g.Group, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output:\n%s\nlog:\n%s", g.out, g.log)
		}
	})
	return g
}

func (g *group) start(t *testing.T) *group {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	g.stop = stop
	var running sync.WaitGroup
	running.Go(func() { g.ended <- g.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return g
}

func (g *group) says(t *testing.T, log string) {
	t.Helper()
	eventually(t, log, func() bool { return strings.Contains(g.log.String(), log) })
}

func (g *group) prints(t *testing.T, line string) {
	t.Helper()
	eventually(t, line, func() bool { return strings.Contains("\n"+g.out.String(), "\n"+line+"\n") })
}

func TestWhatDoesNotAnswerIsSaidSo(t *testing.T) {
	answers := make(chan struct{})
	g := newGroup(t, "sleep 1000", func(c *Config) {
		c.Answers = func(context.Context, string) error {
			select {
			case <-answers:
				return nil
			default:
				return errors.New("nobody listens")
			}
		}
	})
	g.patience = 10 * time.Millisecond
	g.start(t)
	g.says(t, `level=WARN msg="does not answer yet: does the command listen at the port in $PORT?" worker=web address=127.0.0.1:2`)
	g.says(t, `reason="nobody listens"`)
	if strings.Contains(g.log.String(), "announced") {
		t.Error("it is announced, and does not answer")
	}
	close(answers)
	g.says(t, "msg=announced")
	g.stop()
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
}

func TestCommandsThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/text", []byte("no program\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/odd", []byte("no program\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"no-such-command-here": `cannot start "no-such-command-here": executable file not found in $PATH; name`,
		dir + "/absent":        `/absent": no such file or directory; name`,
		dir + "/text":          `/text": permission denied; name`,
		dir:                    `": is a directory; name`,
	} {
		if _, err := New(Config{Args: []string{command}, N: 1, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", command, err, want)
		}
	}
	g := newGroup(t, "", func(c *Config) { c.Args, c.N = []string{dir + "/odd"}, 3 }).start(t)
	if err := <-g.ended; err == nil || !strings.Contains(err.Error(), `/odd": exec format error; name a program`) {
		t.Errorf("%v", err)
	}
}

// Once it has run, it is worth trying again: a new version of it may be on its way.
func TestACommandThatVanishesIsTriedAgain(t *testing.T) {
	file := t.TempDir() + "/app"
	place := func() {
		if err := os.WriteFile(file+".new", []byte("#!/bin/sh\necho runs; read never < $0.fifo || exit 3\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	place()
	g := newGroup(t, "", func(c *Config) { c.Args = []string{file} }).start(t)
	g.says(t, `how="exit status`)
	_ = os.Remove(file)
	g.says(t, "/app\\\": no such file or directory")
	before := strings.Count(g.out.String(), "web | runs\n")
	place()
	eventually(t, "it runs again", func() bool { return strings.Count(g.out.String(), "web | runs\n") > before })
	g.stop()
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
}

func TestWhenServeGivesUp(t *testing.T) {
	g := newGroup(t, "trap 'echo bye; exit' TERM; while :; do sleep 0.01; done", func(c *Config) {
		c.N = 2
		c.Serve = func(context.Context, string, string, func()) error { return errors.New("wrong field") }
	}).start(t)
	if err := <-g.ended; err == nil || err.Error() != "wrong field" {
		t.Errorf("%v", err)
	}
}

// A group ends when the last of it does, not the first.
func TestTheWholeGroupHasTimeToEnd(t *testing.T) {
	g := newGroup(t, `(trap 'sleep 0.2; echo child has ended; exit' TERM; echo ready; while :; do sleep 0.01; done) & exec sleep 1000`, nil).start(t)
	g.prints(t, "web | ready")
	g.says(t, "msg=announced")
	g.stop()
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
	if out := g.out.String(); !strings.Contains(out, "child has ended") {
		t.Error("it was cut short")
	}
}

func TestPorts(t *testing.T) {
	p := ports{held: map[int]struct{}{}}
	seen := map[int]bool{}
	var held []net.Listener
	for range 300 {
		port, address, err := p.take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] || port < firstPort || port > lastPort {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		p.giveBack(port) // somebody listens still
	}
	for _, l := range held {
		_ = l.Close()
	}
}

func TestPortInArguments(t *testing.T) {
	g := newGroup(t, `echo "$0" "$1" "$2" "$PORT"; exec sleep 1000`, func(c *Config) {
		c.Args = append(c.Args, "x$PORT", "--to=${PORT}:$PORT", "$PORTER$PORT_A${PORTS}$port")
	}).start(t)
	g.says(t, "msg=announced")
	eventually(t, "a line", func() bool { return strings.HasSuffix(g.out.String(), "\n") })
	g.stop()
	<-g.ended
	port := strings.TrimPrefix(strings.Fields(g.out.String())[2], "x")
	if want := "web | x" + port + " --to=" + port + ":" + port + " $PORTER$PORT_A${PORTS}$port " + port + "\n"; g.out.String() != want {
		t.Errorf("%q, want %q", g.out.String(), want)
	}
}
