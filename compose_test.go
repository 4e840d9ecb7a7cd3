package house_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestCompose is what README tells a reader to do with docker, from make up to make down, and in between more workers, one that is killed, one whose network is cut and comes back, while clients ask for
// what workers and the app behind the sidecar answer. No request fails.
func TestCompose(t *testing.T) {
	needsDocker(t, "what README does with docker, and docker-compose.yml,")
	c := composeUp(t)
	l := c.load(4)
	l.await("three workers and the app answer", func() bool { return l.seen() == 3 && l.app.Load() > 50 })

	c.compose("up", "--detach", "--no-recreate", "--scale", "worker=7")
	l.await("seven workers answer", func() bool { return l.seen() == 7 })
	workers := strings.Fields(c.compose("ps", "-q", "worker"))
	if len(workers) != 7 {
		t.Fatalf("there are %d workers: %q", len(workers), workers)
	}

	docker(t, "kill", workers[0])
	l.awaitWithout(workers[0])

	network := docker(t, "inspect", "--format", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", workers[1])
	docker(t, "network", "disconnect", network, workers[1])
	l.awaitWithout(workers[1])
	docker(t, "network", "connect", network, workers[1])
	l.awaitWith(workers[1])
	l.end()
	t.Logf("%d requests to workers and %d to the app, none failed", l.workers.Load(), l.app.Load())
}

// composed is what docker-compose.yml says, in containers.
type composed struct {
	t       *testing.T
	program []string // docker compose, or docker-compose
	env     []string
	address string // where clients come in: a free port, on loopback
}

// composeUp is README's block that begins with make up, as a project of the test's own. The last of it, make down, comes when the test ends, even
// by a panic.
func composeUp(t *testing.T) *composed {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []consoleCommand
	for _, block := range codeBlocks(string(readme), "console") {
		if strings.HasPrefix(block, "$ make up\n") {
			commands = parseConsole(block)
		}
	}
	last := len(commands) - 1
	if last < 3 || commands[last].run != "make down" {
		t.Fatalf("README's block for docker is %q", commands)
	}
	c := &composed{t: t, program: []string{"docker", "compose"}}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() != nil {
		c.program = []string{"docker-compose"}
	}
	if _, err := exec.LookPath(c.program[0]); err != nil {
		t.Skipf("there is neither docker compose nor docker-compose, so what README does with them, and docker-compose.yml, is not tried: %v", err)
	}
	c.env = append(os.Environ(), "COMPOSE_PROJECT_NAME="+c.project(), "DIALMUX_PORT=0", "DIALMUX_TOKEN="+rand.Text())

	// A process that outlives this one, and waits for its end.
	log, err := os.Create(filepath.Join(t.TempDir(), "down"))
	if err != nil {
		t.Fatal(err)
	}
	down := exec.Command("bash", "-c", "cat >/dev/null; exec "+commands[last].run)
	down.Env, down.Stdout, down.Stderr, down.SysProcAttr = c.env, log, log, &syscall.SysProcAttr{Setsid: true}
	alive, err := down.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := down.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := c.command("logs", "--no-color", "--tail", "100").CombinedOutput()
			t.Logf("%s", logs)
		}
		_ = alive.Close()
		if err := down.Wait(); err != nil {
			text, _ := os.ReadFile(log.Name())
			if c.dockerErrs(string(text)) {
				t.Logf("docker keeps a network in which it lists nobody, and says that somebody is: %s", text)
			} else {
				t.Errorf("make down: %v\n%s", err, text)
			}
		}
		_ = log.Close()
	})

	up := exec.CommandContext(t.Context(), "bash", "-c", commands[0].run)
	up.Env = c.env
	if printed, err := up.CombinedOutput(); err != nil {
		t.Fatalf("make up: %v\n%s", err, printed)
	} else if c.address = strings.TrimSpace(c.compose("port", "router", "9000")); !strings.Contains(string(printed), "curl http://"+c.address+"/\n") {
		t.Errorf("make up does not end with what to try:\n%s", printed)
	}
	for _, command := range commands[1:last] {
		ask := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(command.run, "127.0.0.1:9000", c.address))
		printed, err := ask.Output()
		if want := strings.Join(command.prints, "\n"); err != nil || !strings.HasPrefix(string(printed), "Hello from ") || want != "" && want+"\n" != string(printed) {
			t.Errorf("%s: %v, printed %q, and README says %q", command.run, err, printed, want)
		}
	}
	return c
}

// dockerErrs tells whether all is down but a network that the engine (seen with 20.10, after a disconnect) takes for one in use,
// though its own list of who is in it is empty: only its restart helps.
func (c *composed) dockerErrs(said string) bool {
	inspect := exec.Command("docker", "network", "inspect", "--format", "{{len .Containers}}", c.project()+"_default")
	inside, err := inspect.Output()
	return strings.Contains(said, "has active endpoints") && err == nil && strings.TrimSpace(string(inside)) == "0"
}

func (c *composed) project() string { return fmt.Sprint("dialmux-test-", os.Getpid()) }

func (c *composed) command(args ...string) *exec.Cmd {
	args = append(c.program[1:], args...)
	cmd := exec.Command(c.program[0], args...)
	cmd.Env = c.env
	return cmd
}

// compose returns what it prints on standard output.
func (c *composed) compose(args ...string) string {
	c.t.Helper()
	cmd := c.command(args...)
	var log strings.Builder
	cmd.Stderr = &log
	printed, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, &log)
	}
	return string(printed)
}

// composeLoad is clients that ask one thing after the other.
type composeLoad struct {
	t            *testing.T
	client       http.Client
	clients      sync.WaitGroup
	ending       atomic.Bool
	app, workers atomic.Int64 // answers

	mu   sync.Mutex
	last map[string]int64 // by worker: what the number of answers was when it gave its last one
}

// load is so many clients of the workers, and as many of the app.
func (c *composed) load(clients int) *composeLoad {
	l := &composeLoad{t: c.t, last: map[string]int64{}}
	// A connection for each: on one that is kept, this client would send again by itself what failed.
	l.client = http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	for range clients {
		l.clients.Go(func() { l.ask(c.address, "any.localhost", l.worker) })
		l.clients.Go(func() { l.ask(c.address, "app.localhost", l.ofApp) })
	}
	c.t.Cleanup(l.end)
	return l
}

func (l *composeLoad) end() {
	l.ending.Store(true)
	l.clients.Wait()
}

// ask stops at a request that fails.
func (l *composeLoad) ask(address, host string, answered func(worker, body string) bool) {
	for !l.ending.Load() {
		req, _ := http.NewRequest(http.MethodGet, "http://"+address+"/path", nil)
		req.Host = host
		resp, err := l.client.Do(req)
		if err != nil {
			l.t.Errorf("GET %s: %v", host, err)
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !answered(resp.Header.Get("Dialmux-Worker"), string(body)) {
			l.t.Errorf("GET %s: %s %q %v, %q", host, resp.Status, body, err, resp.Header)
			return
		}
		time.Sleep(5 * time.Millisecond) // the load is not what is tested
	}
}

func (l *composeLoad) worker(name, body string) bool {
	n := l.workers.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[name] = n
	return body == "Hello from "+name+"\n"
}

func (l *composeLoad) ofApp(_, body string) bool {
	l.app.Add(1)
	return body == "Hello from an app, which was asked for \"/path\" on \"app.localhost\"\n"
}

// seen counts workers.
func (l *composeLoad) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.last)
}

// since counts answers since a worker's last. Its container's id begins with its name.
func (l *composeLoad) since(container string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.workers.Load() - l.last[container[:12]]
}

func (l *composeLoad) await(what string, holds func() bool) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if l.t.Failed() || time.Now().After(end) {
			l.t.Fatal("waited for this: " + what)
		}
	}
}

// awaitWithout waits until a worker is not asked any more, and the others and the app are.
func (l *composeLoad) awaitWithout(container string) {
	l.t.Helper()
	app := l.app.Load() + 100
	l.await("it goes on without a worker", func() bool { return l.since(container) > 100 && l.app.Load() > app })
}

func (l *composeLoad) awaitWith(container string) {
	l.t.Helper()
	l.await("a worker is back", func() bool { return l.since(container) < 50 })
}
