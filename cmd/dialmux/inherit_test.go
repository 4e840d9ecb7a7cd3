//go:build unix

package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// manager opens sockets, and passes them to one router after the other, as
// systemd does.
type manager struct {
	t      *testing.T
	names  []string
	files  []*os.File
	notify string

	mu   sync.Mutex
	told []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{t: t, notify: filepath.Join(t.TempDir(), "notify")}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var listening sync.WaitGroup
	listening.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.told = append(m.told, string(b[:n]))
			m.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		listening.Wait()
		for _, f := range m.files {
			_ = f.Close()
		}
	})
	return m
}

// opens opens a socket, and returns its address.
func (m *manager) opens(name, network, address string) string {
	m.t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		m.t.Fatal(err)
	}
	defer l.Close()
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	m.passes(name, l.(interface{ File() (*os.File, error) }))
	return l.Addr().String()
}

func (m *manager) passes(name string, of interface{ File() (*os.File, error) }) {
	m.t.Helper()
	f, err := of.File()
	if err != nil {
		m.t.Fatal(err)
	}
	m.names, m.files = append(m.names, name), append(m.files, f)
}

func (m *manager) starts(flags ...string) *program {
	m.t.Helper()
	return m.says(strconv.Itoa(len(m.files)), flags...)
}

// says is starts with another count of sockets.
func (m *manager) says(count string, flags ...string) *program {
	m.t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec dialmux router --log-format json "$@"`, "router"}, flags...)...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS="+count, "LISTEN_FDNAMES="+strings.Join(m.names, ":"), "NOTIFY_SOCKET="+m.notify)
	cmd.ExtraFiles = m.files
	return startCommand(m.t, cmd)
}

// heard waits until somebody has told it so, as often.
func (m *manager) heard(what string, times int) {
	m.t.Helper()
	eventually(m.t, what, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := 0
		for _, s := range m.told {
			if strings.HasPrefix(s, what+"\nSTATUS=") {
				n++
			}
		}
		return n == times
	})
}

// The ports stay open while one router takes over from another: whether it
// comes before the other goes, or after.
func TestF3RouterTakesOverItsSockets(t *testing.T) {
	m := newManager(t)
	web, workers := m.opens("http", "tcp", "127.0.0.1:0"), "tcp://"+m.opens("workers", "tcp", "127.0.0.1:0")
	flags := []string{"--listen", "127.0.0.1:1", "--workers", "tcp://127.0.0.1:1", "--admin", "127.0.0.1:0"} // sockets go first
	r := awaitPorts(t, m.starts(flags...))
	if r.web != web || r.workers != workers {
		t.Fatalf("it serves at %s and %s, want %s and %s", r.web, r.workers, web, workers)
	}
	startWorker(t, "worker-1", workers)
	startWorker(t, "worker-2", workers)
	r.awaitReady(2)
	m.heard("READY=1", 1)
	l := startLoad(t, web, 20)
	l.awaitServed(1000)
	for i := range 2 {
		next := awaitPorts(t, m.starts(flags...))
		m.heard("READY=1", i+2)
		r.stop()
		m.heard("STOPPING=1", i+1)
		r = next
		l.awaitServed(1000)
		r.awaitReady(2)
	}
	for range 2 {
		r.stop()
		r = awaitPorts(t, m.starts(flags...))
		l.awaitServed(1000)
		r.awaitReady(2)
	}
	l.end()
	r.awaitStreams(0, 0)
	t.Logf("%d served, %d failed", l.served.Load(), l.failed.Load())
	r.stop()
}

// A request that takes its time holds up the old router, and not the new one's
// workers.
func TestF3WorkersMoveWhileARequestRuns(t *testing.T) {
	m := newManager(t)
	web, workers := m.opens("http", "tcp", "127.0.0.1:0"), "tcp://"+m.opens("workers", "tcp", "127.0.0.1:0")
	old := awaitPorts(t, m.starts("--admin", "127.0.0.1:0"))
	busy := startWorker(t, "worker-1", workers)
	old.awaitReady(1)
	runs := begin(t, http.DefaultClient, "http://"+web+"/hold")
	startWorker(t, "worker-2", workers)
	old.awaitReady(2)
	old.signal(syscall.SIGTERM)
	m.heard("STOPPING=1", 1)
	r := awaitPorts(t, m.starts("--admin", "127.0.0.1:0"))
	r.awaitReady(1)
	if got := get(t, "http://"+web+"/"); got != "Hello from worker-2\n" {
		t.Errorf("got %q", got)
	}
	busy.signal(syscall.SIGUSR1)
	if body, err := io.ReadAll(runs.Body); err != nil || string(body) != "ended\n" {
		t.Errorf("the answer that ran: %q %v", body, err)
	}
	if st := old.status(); st.ExitStatus() != 0 {
		t.Errorf("the old router ended with %d", st.ExitStatus())
	}
	r.awaitReady(2)
	r.stop()
}

func TestInheritedSocketsOfEachKind(t *testing.T) {
	m := newManager(t)
	web, detour, admin := m.opens("http", "tcp", "127.0.0.1:0"), m.opens("redirect-http", "tcp", "127.0.0.1:0"), m.opens("admin", "tcp", "127.0.0.1:0")
	far, near := "tcp://"+m.opens("workers", "tcp", "127.0.0.1:0"), "ipc://"+m.opens("workers", "unix", filepath.Join(t.TempDir(), "workers"))
	certificate, trust := makeCertificate(t)
	r := awaitPorts(t, m.starts(certificate...))
	if r.admin != admin {
		t.Errorf("the admin port is %s, want %s", r.admin, admin)
	}
	startWorker(t, "worker-1", far)
	startWorker(t, "worker-2", near)
	r.awaitReady(2)
	c := newHTTPClient(t, 1, trust)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, tc := range []struct {
		url    string
		status int
	}{{"https://" + web + "/", 200}, {"http://" + detour + "/", 308}} {
		resp, err := c.Get(tc.url)
		if err != nil || resp.StatusCode != tc.status {
			t.Fatalf("%s: %v %v", tc.url, resp, err)
		}
		_ = resp.Body.Close()
	}
	r.stop()
	for range 2 { // nothing is closed for others
		r = awaitPorts(t, m.starts(certificate...))
		r.awaitReady(2)
		r.stop()
	}
}

// What was passed wrongly is one line that says what would be right.
func TestInheritedSocketsThatAreWrong(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for name, tc := range map[string]struct {
		pass func(m *manager)
		want string
	}{
		"an unknown name": {func(m *manager) { m.opens("dialmux.socket", "tcp", "127.0.0.1:0") }, "FileDescriptorName=http, workers, admin or redirect-http"},
		"UDP":             {func(m *manager) { m.passes("http", udp) }, `inherited socket "http": it does not listen for TCP; say ListenStream=`},
		"UDP for workers": {func(m *manager) { m.passes("workers", udp) }, `inherited socket "workers": it does not listen for TCP`},
		"a Unix socket":   {func(m *manager) { m.opens("http", "unix", filepath.Join(t.TempDir(), "s")) }, `inherited socket "http": it does not listen for TCP`},
		"http twice": {func(m *manager) {
			m.opens("http", "tcp", "127.0.0.1:0")
			m.opens("http", "tcp", "127.0.0.1:0")
		}, `inherited socket "http": there are two of that name`},
		"a redirection to nowhere":  {func(m *manager) { m.opens("redirect-http", "tcp", "127.0.0.1:0") }, "--redirect-http (DIALMUX_REDIRECT_HTTP) is there, but no --tls-cert"},
		"W13 workers from anywhere": {func(m *manager) { m.opens("workers", "tcp", ":0") }, "can be reached from other machines, and whoever dials in gets requests: set a token"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			tc.pass(m)
			p := m.starts("--listen", "127.0.0.1:0", "--admin", "")
			st := p.status()
			if log := p.log.String(); st.ExitStatus() != 1 || !strings.Contains(log, tc.want) || strings.Count(log, "\n") != 1 {
				t.Errorf("it ended with %d and said %q", st.ExitStatus(), log)
			}
		})
	}
}

// A count that is none must neither be passed over nor counted to.
func TestInheritedSocketsThatCannotBeCounted(t *testing.T) {
	for _, count := range []string{"x", "-1", "1001", "2000000000", "99999999999999999999", "", "1 "} {
		p := newManager(t).says(count, "--listen", "127.0.0.1:0", "--admin", "")
		st := p.status()
		if log := p.log.String(); st.ExitStatus() != 1 || !strings.Contains(log, fmt.Sprintf("LISTEN_FDS=%q: want how many sockets were passed, 0 to 1000", count)) || strings.Count(log, "\n") != 1 {
			t.Errorf("%q: it ended with %d and said %q", count, st.ExitStatus(), log)
		}
	}
}
