package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// read is what a router command with these arguments would work with.
func read(t *testing.T, args ...string) settings {
	t.Helper()
	var s settings
	cmd := &cli.Command{Name: "router", Flags: s.flags("info"), Action: func(_ context.Context, cmd *cli.Command) error { return s.finish(cmd) }}
	if err := cmd.Run(t.Context(), append([]string{"router"}, args...)); err != nil {
		t.Fatal(err)
	}
	s.tokens = nil // what it read stands in router.Grants
	return s
}

// Each flag does what it says, and so does its twin in the environment.
func TestFlagsAndTwins(t *testing.T) {
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, "DIALMUX_") {
			t.Setenv(name, value) // which puts it back
			_ = os.Unsetenv(name)
		}
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" sesame service=shop \n# the rest"), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("\nsixteen bytes, 1. \n\nsixteen bytes, 2."), 0o600); err != nil {
		t.Fatal(err)
	}
	defaults := read(t)
	tested := map[string]bool{"tls-cert": true, "tls-key": true, "client-ca": true, "redirect-http": true} // go together: TestTLS and others
	for _, tc := range []struct {
		flag, value string
		change      func(*settings)
	}{
		{"listen", "127.0.0.1:80", func(s *settings) { s.listen = "127.0.0.1:80" }},
		{"port", "8080", func(s *settings) { s.listen, s.number = ":8080", 8080 }},
		{"port", "0", func(s *settings) { s.listen = ":0" }},
		{"workers", "tcp://*:1, ipc:///tmp/x", func(s *settings) { s.router.Workers = []string{"tcp://*:1", "ipc:///tmp/x"} }},
		{"admin", ":9902", func(s *settings) { s.admin = ":9902" }},
		{"admin", "", func(s *settings) { s.admin = "" }},
		{"insecure-admin", "true", func(s *settings) { s.insecure = true }},
		{"token", "sesame", func(s *settings) { s.router.Token = "sesame" }},
		{"token-file", file, func(s *settings) {
			s.tokenFile, s.router.Grants = file, []router.Grant{{Token: "sesame", Services: []string{"shop"}}}
		}},
		{"insecure-workers", "true", func(s *settings) { s.router.InsecureWorkers = true }},
		{"head-timeout", "7s", func(s *settings) { s.port.HeadTimeout = 7 * time.Second }},
		{"head-timeout", "0", func(s *settings) { s.port.HeadTimeout = -1 }},
		{"idle-timeout", "7s", func(s *settings) { s.port.IdleTimeout = 7 * time.Second }},
		{"idle-timeout", "0", func(s *settings) { s.port.IdleTimeout = -1 }},
		{"body-timeout", "7s", func(s *settings) { s.port.BodyTimeout = 7 * time.Second }},
		{"body-timeout", "0", func(s *settings) { s.port.BodyTimeout = -1 }},
		{"write-timeout", "7s", func(s *settings) { s.port.WriteTimeout = 7 * time.Second }},
		{"write-timeout", "0", func(s *settings) { s.port.WriteTimeout = -1 }},
		{"proxy-protocol", "10.1.2.3/8", func(s *settings) { s.port.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }},
		{"max-connections", "7", func(s *settings) { s.port.MaxConnections = 7 }},
		{"max-connections", "0", func(s *settings) { s.port.MaxConnections = -1 }},
		{"max-connections-per-address", "7", func(s *settings) { s.port.MaxConnectionsPerAddress = 7 }},
		{"max-workers", "7", func(s *settings) { s.router.MaxWorkers = 7 }},
		{"max-workers", "0", func(s *settings) { s.router.MaxWorkers = -1 }},
		{"max-workers-per-address", "7", func(s *settings) { s.router.MaxWorkersPerAddress = 7 }},
		{"max-requests", "7", func(s *settings) { s.router.MaxRequests = 7 }},
		{"max-requests", "0", func(s *settings) { s.router.MaxRequests = -1 }},
		{"max-header", "700", func(s *settings) { s.port.MaxHeader = 700 }},
		{"max-target", "2KiB", func(s *settings) { s.port.MaxTarget = 2048 }},
		{"max-body", "7GiB", func(s *settings) { s.port.MaxBody = 7 << 30 }},
		{"response-timeout", "7s", func(s *settings) { s.router.ResponseTimeout = 7 * time.Second }},
		{"request-timeout", "7s", func(s *settings) { s.router.RequestTimeout = 7 * time.Second }},
		{"max-memory", "64MiB", func(s *settings) { s.router.MaxMemory = 64 << 20 }},
		{"response-timeout", "0", func(s *settings) { s.router.ResponseTimeout = -1 }},
		{"upgrade", "chat,websocket", func(s *settings) { s.router.Upgrades = []string{"chat", "websocket"} }},
		{"queue-limit", "7", func(s *settings) { s.router.QueueLimit = 7 }},
		{"queue-limit", "0", func(s *settings) { s.router.QueueLimit = -1 }},
		{"queue-wait", "1m30s", func(s *settings) { s.router.QueueWait = 90 * time.Second }},
		{"sticky", "header:X-User", func(s *settings) {
			s.router.Sticky, s.sticky.by = "header:x-user", frame.Sticky{By: "header", Name: "x-user"}
		}},
		{"sticky-secret", secrets, func(s *settings) {
			s.secrets, s.router.StickySecrets = secrets, []string{"sixteen bytes, 1.", "sixteen bytes, 2."}
		}},
		{"compat-ringpop-headers", "true", func(s *settings) { s.router.RingpopHeaders = true }},
		{"balance", "least", func(s *settings) { s.router.Balance = router.Least }},
		{"slow-start", "10s", func(s *settings) { s.router.SlowStart = 10 * time.Second }},
		{"max-failures", "7", func(s *settings) { s.router.MaxFailures = 7 }},
		{"max-failures", "0", func(s *settings) { s.router.MaxFailures = -1 }},
		{"forget", "1h", func(s *settings) { s.router.Forget = time.Hour }},
		{"drain", "250ms", func(s *settings) { s.router.Drain = 250 * time.Millisecond }},
		{"drain", "0s", func(s *settings) { s.router.Drain = -1 }},
		{"hide-worker", "true", func(s *settings) { s.router.HideWorker = true }},
		{"trusted-proxies", "10.1.2.3/8,::1", func(s *settings) {
			s.router.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		}},
		{"log-level", "debug", func(s *settings) { s.log.level = "debug" }},
		{"log-format", "json", func(s *settings) { s.log.format = "json" }},
	} {
		tested[tc.flag] = true
		want := defaults
		tc.change(&want)
		if got := read(t, "--"+tc.flag+"="+tc.value); !reflect.DeepEqual(got, want) {
			t.Errorf("--%s=%s: %+v\nwant %+v", tc.flag, tc.value, got, want)
		}
		t.Run("DIALMUX_"+tc.flag, func(t *testing.T) {
			t.Setenv("DIALMUX_"+strings.ToUpper(strings.ReplaceAll(tc.flag, "-", "_")), tc.value)
			if got := read(t); !reflect.DeepEqual(got, want) {
				t.Errorf("twin of --%s=%s: %+v\nwant %+v", tc.flag, tc.value, got, want)
			}
		})
	}
	for _, name := range stickyOptions {
		tested[name] = true
	}
	for _, f := range new(settings).flags("info") {
		if !tested[f.Names()[0]] {
			t.Errorf("no test of --%s", f.Names()[0])
		}
	}
}

func TestNoUpgrades(t *testing.T) {
	if got := read(t, "--upgrade", "").router.Upgrades; got == nil || len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestFlagsOutrankTwinsAndRepeat(t *testing.T) {
	t.Setenv("DIALMUX_WORKERS", "tcp://127.0.0.1:1")
	t.Setenv("DIALMUX_QUEUE_WAIT", "1s")
	s := read(t, "-p", "1234", "--hide-worker", "--workers", "tcp://127.0.0.1:2", "--workers=tcp://127.0.0.1:3", "--queue-wait", "2s")
	if s.listen != ":1234" || !s.router.HideWorker || s.router.QueueWait != 2*time.Second ||
		!reflect.DeepEqual(s.router.Workers, []string{"tcp://127.0.0.1:2", "tcp://127.0.0.1:3"}) {
		t.Errorf("%+v", s)
	}
}
