package main_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// run starts `dialmux run` for r. Flags are followed by -- and the command.
func (r *runningRouter) run(flagsAndCommand ...string) *program {
	r.t.Helper()
	return start(r.t, "dialmux", append([]string{"run", "--router", r.workers}, flagsAndCommand...)...)
}

// pids are those of the instances that answer at r, n of them.
func (r *runningRouter) pids(n int) []int {
	r.t.Helper()
	r.awaitReady(n)
	var all []int
	eventually(r.t, "answers of each", func() bool {
		pid, err := strconv.Atoi(get(r.t, "http://"+r.web+"/pid"))
		if err != nil {
			r.t.Fatal(err)
		}
		if !slices.Contains(all, pid) {
			all = append(all, pid)
		}
		return len(all) == n
	})
	slices.Sort(all)
	return all
}

func (p *program) awaitLine(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	var found []string
	eventually(p.t, pattern, func() bool { found = re.FindStringSubmatch(p.log.String()); return found != nil })
	return found
}

func alive(pid int) bool {
	state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(state), ") Z ") // its parent may not have waited yet
}

func checkGone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d was left behind", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestRunPython(t *testing.T) {
	r := startRouter(t)
	p := r.run("--service", "files", "--host", "files.test", "--path", "/testdata", "--", "/usr/bin/python3", "-m", "http.server", "$PORT", "--bind", "127.0.0.1")
	r.awaitReady(1)
	ask := func(host, path string) (int, string) {
		req, _ := http.NewRequest(http.MethodGet, "http://"+r.web+path, http.NoBody)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if status, body := ask("files.test", "/testdata/"); status != http.StatusOK || !strings.Contains(body, "script/") {
		t.Errorf("its directory: %d %q", status, body)
	}
	p.awaitLine(`^[\w.-]+-` + strconv.Itoa(p.cmd.Process.Pid) + ` \| .*"GET /testdata/ HTTP/1.1" 200 -$`)
	if all := get(t, "http://"+r.admin+"/services"); !strings.Contains(all, `"files.test"`) {
		t.Errorf("announced is %s", all)
	}
	p.stop()
	if log := p.log.String(); strings.Contains(log, "Traceback") || !strings.Contains(log, `"msg":"asked to end"`) {
		t.Error("it did not end in order")
	}
	if status, _ := ask("elsewhere.test", "/"); status == http.StatusOK {
		t.Error("another host is served")
	}
	r.stop()
}

func TestRunForwardsOutputAndSignals(t *testing.T) {
	t.Setenv("DIALMUX_TOKEN", "sesame")
	r := startRouter(t)
	p := r.run("--name", "web", "--health", "/healthz", "--", "testapp", "${PORT}", "$PORTER")
	r.awaitReady(1)
	port := p.awaitLine(`^web \| listening on (\d+)$`)[1]
	p.awaitLine(`^web \| logging to stderr$`)
	if env := get(t, "http://"+r.web+"/env?of=PORT"); env != port {
		t.Errorf("PORT is %q, the argument is %q", env, port)
	}
	if env := get(t, "http://"+r.web+"/env?of=DIALMUX_TOKEN"); env != "" {
		t.Errorf("the app has the worker's token: %q", env)
	}
	p.signal(syscall.SIGUSR2)
	p.awaitLine(`^web \| got user defined signal 2$`)
	p.signal(syscall.SIGWINCH)
	p.awaitLine(`^web \| got window changed$`)
	p.stop()
	p.awaitLine(`^web \| bye$`)
	if log := p.log.String(); strings.Contains(log, "sesame") {
		t.Error("the token is in the log")
	}
}

// Instances whose token has been narrowed are not replaced by others that the router refuses.
func TestRunReplacesNobodyByWhoIsRefused(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	allow := func(text string) {
		t.Helper()
		if err := os.WriteFile(tokens+".tmp", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tokens+".tmp", tokens); err != nil {
			t.Fatal(err)
		}
	}
	allow("sesame\n")
	r, other := startRouter(t, "--token-file", tokens), startRouter(t, "--token", "sesame")
	p := r.run("--router", other.workers, "--token", "sesame", "--host", "127.0.0.1", "--replace-timeout", "4s", "--", "testapp", "$PORT")
	pids := r.pids(1)
	other.awaitReady(1)
	allow("other\n")
	p.awaitLine(`"msg":"the router refuses this worker"|"msg":"the router gives this link up"`)
	allow("sesame host=other.test\n")
	p.signal(syscall.SIGHUP)
	p.awaitLine(`"msg":"instances are not replaced any further, those that run go on"`)
	if n := strings.Count(p.log.String(), `"msg":"announced"`); n != 1 {
		t.Errorf("%d instances count as announced", n)
	}
	if got := other.pids(1); !slices.Equal(got, pids) {
		t.Errorf("%d serves, want %d", got, pids)
	}
	allow("sesame\n")
	r.awaitReady(1)
	p.signal(syscall.SIGHUP)
	p.awaitLine(`"msg":"all instances are replaced"`)
	if got := r.pids(1); slices.Equal(got, pids) {
		t.Errorf("%d serves still", got)
	}
	p.stop()
}

// A request that runs is finished before the app hears that it is to end.
func TestRunDrains(t *testing.T) {
	r := startRouter(t)
	p := r.run("--name", "web", "--", "testapp", "$PORT")
	pids := r.pids(1)
	resp := r.hold()
	p.signal(syscall.SIGTERM)
	p.awaitLine(`"msg":"draining"`)
	eventually(t, "the worker drains", func() bool {
		var all []struct{ State string }
		r.ask("/workers", &all)
		return len(all) == 1 && all[0].State == "draining"
	})
	if strings.Contains(p.log.String(), "bye") {
		t.Error("the app was asked to end while it answered")
	}
	p.signal(syscall.SIGUSR1) // is handed on
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "begun\nended\n" {
		t.Errorf("the answer that ran: %q %v", body, err)
	}
	if st := p.status(); st.ExitStatus() != 0 {
		t.Errorf("it ended with %d", st.ExitStatus())
	}
	p.awaitLine(`^web \| bye$`)
	checkGone(t, pids...)
}

// The end takes the app's children along, and one that does not hear.
func TestRunLeavesNothingBehind(t *testing.T) {
	for name, tc := range map[string]struct {
		odd string
		end func(*runningRouter, *program)
		log string
	}{
		"SIGTERM":          {"parent", func(_ *runningRouter, p *program) { p.stop() }, "bye"},
		"SIGTERM, unheard": {"stubborn", func(_ *runningRouter, p *program) { p.stop() }, `"msg":"killed: it had not ended when its time was over"`},
		"second SIGINT": {"stubborn", func(r *runningRouter, p *program) {
			c := mustDial(r.t, r.web)
			if err := c.send("GET /hang", ""); err != nil {
				r.t.Fatal(err)
			}
			if _, err := c.head(); err != nil {
				r.t.Fatal(err)
			}
			p.signal(syscall.SIGINT)
			p.awaitLine(`"msg":"still draining; a second signal ends it at once"`)
			p.signal(syscall.SIGINT)
			if st := p.status(); st.ExitStatus() != 1 {
				r.t.Errorf("it ended with %v", st)
			}
		}, "dialmux: a second signal came before all was done: what still ran was killed"},
		"SIGKILL": {"stubborn", func(_ *runningRouter, p *program) {
			p.signal(syscall.SIGKILL)
			p.status()
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRouter(t)
			after := "1h"
			if name == "SIGTERM, unheard" {
				after = "100ms"
			}
			p := r.run("-n", "2", "--kill-after", after, "--", "testapp", "$PORT", tc.odd)
			pids := r.pids(2)
			if tc.odd == "parent" {
				for _, found := range regexp.MustCompile(`child (\d+)`).FindAllStringSubmatch(p.log.String(), -1) {
					pid, _ := strconv.Atoi(found[1])
					pids = append(pids, pid)
				}
				if len(pids) != 4 {
					t.Fatalf("processes %v", pids)
				}
			}
			tc.end(r, p)
			if name == "SIGKILL" { // the kernel is at it
				eventually(t, "all gone", func() bool { return !slices.ContainsFunc(pids, alive) })
			}
			checkGone(t, pids...)
			if !strings.Contains(p.log.String(), tc.log) {
				t.Errorf("the log does not say %q", tc.log)
			}
		})
	}
}

// gets is clients that ask GET /work, which is safe to repeat, until told to stop.
type gets struct {
	t       *testing.T
	served  atomic.Int64
	stop    atomic.Bool
	clients sync.WaitGroup
}

func startGets(t *testing.T, address string, n int) *gets {
	g := &gets{t: t}
	for range n {
		g.clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for !g.stop.Load() {
				req, _ := http.NewRequest(http.MethodGet, "http://"+address+"/work", http.NoBody)
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || string(body) != "0 bytes\n" {
					t.Errorf("%s %q %v %q", resp.Status, body, err, resp.Header)
					return
				}
				g.served.Add(1)
			}
		})
	}
	t.Cleanup(g.end)
	return g
}

func (g *gets) awaitServed(n int64) {
	g.t.Helper()
	until := g.served.Load() + n
	eventually(g.t, "answers under load", func() bool { return g.served.Load() >= until || g.t.Failed() })
}

func (g *gets) end() {
	g.stop.Store(true)
	g.clients.Wait()
}

// An app that dies is there again, and who asked meanwhile has waited.
func TestRunStartsAgain(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			r := startRouter(t)
			p := r.run("-n", strconv.Itoa(n), "--", "testapp", "$PORT")
			pids := r.pids(n)
			l := startGets(t, r.web, 8)
			for round := range 3 {
				l.awaitServed(200)
				if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				p.awaitLine(`(?s:("msg":"ended by itself, and is started again".*){` + strconv.Itoa(round+1) + `})`)
				l.awaitServed(200)
				next := r.pids(n)
				if slices.Contains(next, pids[0]) {
					t.Errorf("%v answer, of which one was killed", next)
				}
				pids = next
			}
			l.end()
			p.awaitLine(`"how":"signal: killed","announced":true,"in":"`)
			p.stop()
			checkGone(t, pids...)
		})
	}
}

// SIGHUP replaces all, and no request fails, whatever its method.
func TestRunReplacesOnSIGHUP(t *testing.T) {
	r := startRouter(t)
	p := r.run("-n", "4", "--name", "web", "--", "testapp", "$PORT")
	pids := r.pids(4)
	l := startLoad(t, r.web, 8)
	for round := range 2 {
		l.awaitServed(300)
		p.signal(syscall.SIGHUP)
		p.awaitLine(`(?s:("msg":"all instances are replaced".*){` + strconv.Itoa(round+1) + `})`)
		l.awaitServed(300)
	}
	l.end()
	if l.failed.Load() > 0 {
		t.Errorf("%d failed of %d", l.failed.Load(), l.served.Load())
	}
	checkGone(t, pids...)
	next := r.pids(4)
	for _, name := range []string{"web-1", "web-2", "web-3", "web-4"} {
		p.awaitLine(`^` + name + ` \| listening on`)
	}
	log := p.log.String()
	if strings.Contains(log, "ended by itself") {
		t.Error("an instance died")
	}
	// At no time are there fewer than four.
	there := 0
	for _, event := range regexp.MustCompile(`"msg":"(announced|asked to end)"`).FindAllStringSubmatch(log, -1) {
		switch {
		case event[1] == "announced":
			there++
		case there < 5:
			t.Errorf("one of %d is asked to end", there)
		default:
			there--
		}
	}
	p.stop()
	checkGone(t, next...)
	t.Logf("%d served", l.served.Load())
}

// What hangs on SIGHUP takes nothing away: the old ones go on, and are watched as ever.
func TestRunGivesUpWhatHangsOnSIGHUP(t *testing.T) {
	r := startRouter(t)
	hangs := t.TempDir() + "/hangs"
	p := r.run("-n", "2", "--name", "web", "--replace-timeout", "200ms", "--", "/bin/sh", "-c", `[ -e "$0" ] && exec sleep 1000; exec testapp $PORT`, hangs)
	pids := r.pids(2)
	if err := os.WriteFile(hangs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		p.signal(syscall.SIGHUP)
		p.awaitLine(`(?s:("msg":"instances are not replaced any further, those that run go on","reason":"a new instance was not announced within 200ms","worker":"web-1","replaced":0,"instances":2.*){` + strconv.Itoa(round+1) + `})`)
		if now := r.pids(2); !slices.Equal(now, pids) {
			t.Errorf("%v run, before it was %v", now, pids)
		}
	}
	if err := os.Remove(hangs); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.awaitLine(`"msg":"ended by itself, and is started again"`)
	if now := r.pids(2); slices.Contains(now, pids[0]) || !slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(now, pid) }) {
		t.Errorf("%v run, before it was %v, of which the first was killed", now, pids)
	}
	p.stop()
}

// What cannot start takes nothing away: what runs goes on.
func TestRunKeepsWhatRunsIfTheNextDoesNot(t *testing.T) {
	r := startRouter(t)
	file := t.TempDir() + "/app"
	write := func(script string) {
		if err := os.WriteFile(file+".new", []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(`exec testapp "$PORT"`)
	p := r.run("-n", "2", "--", file)
	pids := r.pids(2)
	write("exit 7")
	p.signal(syscall.SIGHUP)
	p.awaitLine(`"msg":"instances are not replaced any further, those that run go on","reason":"exit status 7"`)
	if now := r.pids(2); !slices.Equal(now, pids) {
		t.Errorf("%v run, before it was %v", now, pids)
	}
	// One that hangs is given up for the next.
	write("exec sleep 1000")
	p.signal(syscall.SIGHUP)
	p.awaitLine(`(?s:"msg":"replacing.*"msg":"replacing.*"msg":"started")`)
	write(`exec testapp "$PORT"`)
	p.signal(syscall.SIGHUP)
	p.awaitLine(`"msg":"all instances are replaced"`)
	for _, pid := range r.pids(2) {
		if slices.Contains(pids, pid) {
			t.Errorf("process %d was not replaced", pid)
		}
	}
	checkGone(t, pids...)
	p.stop()
}

// A command that does not come up is tried again, ever later, and is not announced.
func TestRunOfWhatDoesNotAnswer(t *testing.T) {
	r := startRouter(t)
	_, busy, _ := strings.Cut(r.web, ":")
	clash := r.run("--name", "clash", "--", "testapp", busy)
	clash.awaitLine(`(?s:("msg":"ended by itself, and is started again","worker":"clash","how":"exit status 1","announced":false,"in":"\d+ms".*){3})`)
	clash.awaitLine(`^clash \| listen tcp 127.0.0.1:` + busy + `: bind: address already in use$`)
	sick := r.run("--name", "sick", "--health", "/healthz", "--", "testapp", "$PORT", "sick")
	sick.awaitLine(`^sick \| listening`)
	var all []any
	if r.ask("/workers", &all); len(all) > 0 {
		t.Errorf("workers: %v", all)
	}
	clash.stop()
	sick.stop()
	sick.awaitLine(`^sick \| bye$`)
}

// Nobody reads what the app prints: it goes on, is replaced, and ends. Who reads on learns what is missing.
func TestRunWithADeafStdout(t *testing.T) {
	r := startRouter(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	p := &program{t: t, cmd: exec.Command("dialmux", "run", "--router", r.workers, "--name", "web", "--", "/bin/sh", "-c",
		`yes $(seq 1000) | head -c 6000000; exec testapp $PORT`), done: make(chan struct{})}
	p.cmd.Stdout = write
	p.begin()
	before := r.pids(1)
	p.signal(syscall.SIGHUP)
	p.awaitLine(`"msg":"all instances are replaced"`)
	if after := r.pids(1); slices.Equal(after, before) {
		t.Errorf("%v was not replaced", before)
	}
	checkGone(t, before...)
	if strings.Contains(p.log.String(), "were dropped") {
		t.Error("that lines are missing is told before anybody reads")
	}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, read) })
	p.awaitLine(`"level":"WARN","msg":"lines that the app printed were dropped: nobody read them in time","lines":[1-9]\d*,"to":"/dev/stdout"`)
	_ = write.Close()
	p.stop()
	reading.Wait()
	_ = read.Close()
}

// SIGTERM ends it while the pipe is full.
func TestRunEndsThoughNobodyReads(t *testing.T) {
	for _, file := range []string{"stdout", "stderr"} {
		t.Run(file, func(t *testing.T) {
			r := startRouter(t)
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			defer write.Close()
			p := &program{t: t, cmd: exec.Command("dialmux", "run", "--router", r.workers, "--", "/bin/sh", "-c",
				`(yes $(seq 1000) | head -c 6000000)`+map[string]string{"stderr": " >&2"}[file]+`; exec testapp $PORT`), done: make(chan struct{})}
			if p.cmd.Stdout = write; file == "stderr" {
				p.cmd.Stdout, p.cmd.Stderr = nil, write
			}
			p.begin()
			pids := r.pids(1)
			p.stop()
			checkGone(t, pids...)
		})
	}
}
