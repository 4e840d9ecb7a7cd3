package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/frame"
)

// readWorker is what a worker command with these arguments would work with.
func readWorker(t *testing.T, args ...string) workerSettings {
	t.Helper()
	var s workerSettings
	cmd := &cli.Command{Name: "worker", Flags: s.flags(), Action: func(_ context.Context, cmd *cli.Command) error { return s.finish(cmd) }}
	if err := cmd.Run(t.Context(), append([]string{"worker"}, args...)); err != nil {
		t.Fatal(err)
	}
	return s
}

// Each flag of dialmux worker does what it says, and so does its twin in the environment.
func TestWorkerFlagsAndTwins(t *testing.T) {
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, "DIALMUX_") {
			t.Setenv(name, value) // which puts it back
			_ = os.Unsetenv(name)
		}
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" from the file \nrest"), 0o600); err != nil {
		t.Fatal(err)
	}
	const to = "--to=http://127.0.0.1:3000"
	defaults := readWorker(t, to)
	tested := map[string]bool{}
	for _, tc := range []struct {
		flag, value string
		change      func(*workerSettings)
	}{
		{"to", "unix:/run/app.sock", func(s *workerSettings) { s.to = "unix:/run/app.sock" }},
		{"router", "tcp://127.0.0.1:1, ipc:///tmp/x", func(s *workerSettings) { s.worker.Routers = []string{"tcp://127.0.0.1:1", "ipc:///tmp/x"} }},
		{"name", "app-1", func(s *workerSettings) { s.worker.Name = "app-1" }},
		{"service", "shop", func(s *workerSettings) { s.worker.Service = "shop" }},
		{"host", "shop.example.com,*.shop.test,*", func(s *workerSettings) { s.worker.Hosts = []string{"shop.example.com", "*.shop.test", "*"} }},
		{"path", "/api/", func(s *workerSettings) { s.worker.Paths = []string{"/api/"} }},
		{"balance", "least", func(s *workerSettings) { s.worker.Balance = "least" }},
		{"sticky", "header:X-User", func(s *workerSettings) {
			s.worker.Sticky, s.sticky.by = "header:x-user", frame.Sticky{By: "header", Name: "x-user"}
		}},
		{"weight", "7", func(s *workerSettings) { s.worker.Weight = 7 }},
		{"concurrency", "7", func(s *workerSettings) { s.worker.Concurrency = 7 }},
		{"token", "sesame", func(s *workerSettings) { s.worker.Token = "sesame" }},
		{"token-file", file, func(s *workerSettings) { s.tokenFile, s.worker.Token = file, "from the file" }},
		{"grace", "7s", func(s *workerSettings) { s.worker.Grace = 7 * time.Second }},
		{"grace", "0", func(s *workerSettings) { s.worker.Grace = -1 }},
		{"health", "/healthz?x", func(s *workerSettings) { s.health.Health = "/healthz?x" }},
		{"health-interval", "7s", func(s *workerSettings) { s.health.Interval = 7 * time.Second }},
		{"health-timeout", "7s", func(s *workerSettings) { s.health.Timeout = 7 * time.Second }},
		{"health-down", "7", func(s *workerSettings) { s.health.Down = 7 }},
		{"health-up", "7", func(s *workerSettings) { s.health.Up = 7 }},
		{"log-level", "debug", func(s *workerSettings) { s.log.level = "debug" }},
		{"log-format", "json", func(s *workerSettings) { s.log.format = "json" }},
	} {
		tested[tc.flag] = true
		want := defaults
		tc.change(&want)
		args := []string{to}
		if tc.flag == "to" {
			args = nil
		}
		if got := readWorker(t, append(args, "--"+tc.flag+"="+tc.value)...); !reflect.DeepEqual(got, want) {
			t.Errorf("--%s=%s: %+v\nwant %+v", tc.flag, tc.value, got, want)
		}
		t.Run(twin(tc.flag), func(t *testing.T) {
			t.Setenv(twin(tc.flag), tc.value)
			if got := readWorker(t, args...); !reflect.DeepEqual(got, want) {
				t.Errorf("twin of --%s=%s: %+v\nwant %+v", tc.flag, tc.value, got, want)
			}
		})
	}
	if s := readWorker(t, to, "--strip-prefix", "--path", "/api"); !s.strip {
		t.Error("--strip-prefix is not heard")
	}
	if s := readWorker(t, "--apps-dir", "apps.d"); s.apps != "apps.d" {
		t.Error("--apps-dir is not heard")
	}
	tested["strip-prefix"], tested["apps-dir"] = true, true
	for _, name := range stickyOptions {
		tested[name] = true
	}
	for _, f := range new(workerSettings).flags() {
		if !tested[f.Names()[0]] {
			t.Errorf("no test of --%s", f.Names()[0])
		}
	}
}

// What a file of --apps-dir may say. scrimplb's own load unchanged, those of listen-port 80 too: the router's port is the one that counts.
func TestS3R10AppFiles(t *testing.T) {
	for _, tc := range []struct{ text, to, service, hosts, paths string }{
		{`{"name": "app1", "listen-port": "443", "application-port": "7240", "protocol": "http", "domains": ["app1.example.com", "app1.test"]}`, "http://127.0.0.1:7240", "app1", "app1.example.com app1.test", ""},
		{"{\n\t\"name\": \"app1\",\n\t\"listen-port\": \"443\",\n\t\"application-port\": \"7240\",\n\t\"domain\": \"app1.example.com\",\n\t\"protocol\": \"http\"\n}\n", "http://127.0.0.1:7240", "app1", "app1.example.com", ""},
		{`{"name": "web", "listen-port": "80", "application-port": 8080, "domains": ["a.test"]}`, "http://127.0.0.1:8080", "web", "a.test", ""},
		{`{"to": "unix:/run/app.sock", "service": "shop", "host": "a.test", "path": "/api/"}`, "unix:/run/app.sock", "shop", "a.test", "/api/"},
		{"\ufeff" + `{"to": "http://app", "service": "windows"}`, "http://app", "windows", "", ""},
		{`{"to": "h2c://127.0.0.1:50051", "hosts": ["a.test", "*.b.test"], "paths": ["/a", "/b"]}`, "h2c://127.0.0.1:50051", "", "a.test *.b.test", "/a /b"},
	} {
		a, err := parseApp([]byte(tc.text), forwarding{})
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if a.to != tc.to || a.worker.Service != tc.service || strings.Join(a.worker.Hosts, " ") != tc.hosts || strings.Join(a.worker.Paths, " ") != tc.paths {
			t.Errorf("%s: %+v", tc.text, a)
		}
	}
	a, err := parseApp([]byte(`{"to": "http://app", "path": "/x", "strip-prefix": true, "weight": 3, "balance": "least", "concurrency": 4, "health": "/h", "health-interval": "5s", "health-timeout": "4s", "health-down": 3, "health-up": 2}`), forwarding{})
	if err != nil || !a.strip || a.worker.Weight != 3 || a.worker.Balance != "least" || a.worker.Concurrency != 4 || a.health.Health != "/h" || a.health.Interval != 5*time.Second || a.health.Timeout != 4*time.Second || a.health.Down != 3 || a.health.Up != 2 {
		t.Errorf("%+v %v", a, err)
	}
}

// What is wrong is named with its line, and what would be right.
func TestWrongAppFiles(t *testing.T) {
	for text, want := range map[string]string{
		``:                               `line 1: the file ends before the JSON object does`,
		"{\n\"name\": \"a\",\n":          `line 2: the file ends before the JSON object does`,
		"{\n\"name\": \"a\"\n\"to\": 1}": `line 3: invalid character '"' after object key:value pair`,
		"{\n\n\"namme\": \"a\"}":         `line 3: there is no key "namme"; did you mean "name"?`,
		"{\"to\": \"http://a\",\n\"domainss\": []}":       `line 2: there is no key "domainss"; did you mean "domains"?`,
		"{\"to\": \"http://a\",\n\n\"to\": \"http://b\"}": `line 3: "to" stands there twice`,
		"{\"to\":\n\"app\"}":                              `line 2: "to": invalid value "app": the app's URL "app": http://host:port, h2c://host:port or unix:/path/to/socket is right`,
		`[]`:                                              `line 1: want one JSON object`,
		`{"to": "http://a"} {}`:                           `line 1: something stands behind the JSON object`,
		`{"name": "a"}`:                                   `where does the app listen?`,
		`{"name": {}, "to": "http://a"}`:                  `"name": want a text, a number, true, false, or a list of texts`,
		`{"name": ["a", "b"]}`:                            `"name": want one value, no list`,
		`{"hosts": [["a"]]}`:                              `want a list of texts`,
		`{"domains": []}`:                                 `"domains": want one value or more`,
		`{"application-port": "7240"}`:                    `want one of "domains" or more`,
		`{"application-port": "http"}`:                    `"application-port": invalid value "http": want a number from 1 to 65535`,
		`{"application-port": "1", "protocol": "https", "domain": "a"}`: `"protocol": invalid value "https": want http, or h2c`,
		`{"application-port": "1", "to": "http://a", "domain": "a"}`:    `say the same thing`,
		`{"to": "http://a", "domains": ["x; } server {"]}`:              `"domains": invalid value "x; } server {": want a name, *.name or *`,
		`{"to": "http://a", "path": "api"}`:                             `want a prefix that begins with /`,
		`{"to": "http://a", "strip-prefix": true}`:                      `give the prefix there`,
		`{"to": "http://a", "name": "a b"}`:                             `want 1 to 128 letters`,
		`{"to": "http://a", "sticky": "header"}`:                        `"sticky": invalid value "header": want a name behind the colon`,
		`{"to": "http://a", "sticky-bound": 2}`:                         `"sticky-bound" is there, but no policy in "sticky"; say there what the key is, such as ip or cookie:NAME`,
		`{"to": "http://a", "sticky": "ip", "sticky-issue": true}`:      `"sticky-issue" is there, but no cookie in "sticky"; say cookie:NAME there`,
		`{"to": "http://a", "sticky": "ip", "sticky-wait": "2h"}`:       `"sticky-wait": invalid value "2h": want at most 1h0m0s`,
		`{"lb": false}`:                     `there is no key "lb"; there are application-port, balance, `,
		`{"jitter": 1}`:                     `there is no key "jitter"; there are application-port, balance, `,
		`{"": 1}`:                           `there is no key ""; there are application-port, balance, `,
		`{"application_prt": 1}`:            `there is no key "application_prt"; did you mean "application-port"?`,
		`{"to": "http://a", "weight": 101}`: `"weight": invalid value "101": want 1 to 100`,
		`{"to": "http://a", "weight": 0}`:   `"weight": invalid value "0": want 1 to 100`,
		"\ufeff{\n\"namme\": \"a\"}":        `line 2: there is no key "namme"; did you mean "name"?`,
	} {
		_, err := parseApp([]byte(text), forwarding{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzAppFile(f *testing.F) {
	f.Add(`{"name": "app1", "listen-port": "443", "application-port": "7240", "protocol": "http", "domains": ["app1.example.com"]}`)
	f.Add("{\n\"to\": \"http://a\",\n\"path\": [\"/a\"]\n}")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseApp([]byte(text), forwarding{})
		switch {
		case err != nil && (a != nil || !strings.HasPrefix(err.Error(), "line ")):
			t.Errorf("%+v %v", a, err)
		case err == nil && a.to == "":
			t.Errorf("%+v", a)
		}
	})
}
