package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"
)

// Each flag of run and status does what it says, and so does its twin in the environment.
func TestRunAndStatusFlagsAndTwins(t *testing.T) {
	tests := map[string]struct {
		value string
		holds func(*runSettings) bool
	}{
		"instances":       {"7", func(s *runSettings) bool { return s.n == 7 }},
		"kill-after":      {"7s", func(s *runSettings) bool { return s.killAfter == 7*time.Second }},
		"replace-timeout": {"7s", func(s *runSettings) bool { return s.replaceWithin == 7*time.Second }},
		"h2c":             {"true", func(s *runSettings) bool { return s.h2c && s.at("h:1").to == "h2c://h:1" }},
		"strip-prefix":    {"true", func(s *runSettings) bool { return s.strip }},
		"router":          {"tcp://127.0.0.1:1,ipc:///x", func(s *runSettings) bool { return fmt.Sprint(s.worker.Routers) == "[tcp://127.0.0.1:1 ipc:///x]" }},
		"name":            {"web", func(s *runSettings) bool { return s.worker.Name == "web" }},
		"service":         {"shop", func(s *runSettings) bool { return s.worker.Service == "shop" }},
		"host":            {"a.test,*.b.test", func(s *runSettings) bool { return fmt.Sprint(s.worker.Hosts) == "[a.test *.b.test]" }},
		"path":            {"/a/,/b", func(s *runSettings) bool { return fmt.Sprint(s.worker.Paths) == "[/a/ /b]" }},
		"weight":          {"7", func(s *runSettings) bool { return s.worker.Weight == 7 }},
		"sticky":          {"path:2", func(s *runSettings) bool { return s.sticky.by.Segments == 2 }},
		"sticky-fallback": {"round-robin", func(s *runSettings) bool { return s.sticky.fallback == "round-robin" }},
		"sticky-bound":    {"1.25", func(s *runSettings) bool { return s.sticky.bound == 1.25 }},
		"sticky-wait":     {"7s", func(s *runSettings) bool { return s.sticky.wait == 7*time.Second }},
		"sticky-issue":    {"true", func(s *runSettings) bool { return s.sticky.issue }},
		"balance":         {"least", func(s *runSettings) bool { return s.worker.Balance == "least" }},
		"concurrency":     {"7", func(s *runSettings) bool { return s.worker.Concurrency == 7 }},
		"token":           {"sesame", func(s *runSettings) bool { return s.worker.Token == "sesame" }},
		"token-file":      {"x", func(s *runSettings) bool { return s.tokenFile == "x" }},
		"grace":           {"7s", func(s *runSettings) bool { return s.worker.Grace == 7*time.Second }},
		"health":          {"/up", func(s *runSettings) bool { return s.health.Health == "/up" }},
		"health-interval": {"7s", func(s *runSettings) bool { return s.health.Interval == 7*time.Second }},
		"health-timeout":  {"7s", func(s *runSettings) bool { return s.health.Timeout == 7*time.Second }},
		"health-down":     {"7", func(s *runSettings) bool { return s.health.Down == 7 }},
		"health-up":       {"7", func(s *runSettings) bool { return s.health.Up == 7 }},
		"log-level":       {"debug", func(s *runSettings) bool { return s.log.level == "debug" }},
		"log-format":      {"json", func(s *runSettings) bool { return s.log.format == "json" }},
	}
	for flag, tc := range tests {
		var s runSettings
		checkTwin(t, flag, tc.value, s.flags, func() bool { return tc.holds(&s) })
	}
	for _, f := range new(runSettings).flags() {
		if _, tested := tests[f.Names()[0]]; !tested {
			t.Errorf("no test of --%s", f.Names()[0])
		}
	}
	for flag, value := range map[string]string{"admin": "10.0.0.1:9", "watch": "true", "json": "true"} {
		var s statusView
		checkTwin(t, flag, value, s.flags, func() bool { return s == statusView{admin: "10.0.0.1:9"} || s.watch != s.json })
	}
}

// Each flag of owner and ring does too.
func TestOwnerAndRingFlagsAndTwins(t *testing.T) {
	for flag, value := range map[string]string{"admin": "10.0.0.1:9", "service": "v", "host": "v", "path": "v", "json": "true"} {
		var s routeView
		checkTwin(t, flag, value, s.flags, func() bool {
			said := map[string]bool{"admin": s.admin == value, "service": s.service == value, "host": s.host == value, "path": s.path == value, "json": s.json}
			return said[flag]
		})
	}
}

// checkTwin sets a flag in both ways.
func checkTwin(t *testing.T, name, value string, flags func() []cli.Flag, holds func() bool) {
	t.Helper()
	run := func(args ...string) {
		t.Helper()
		cmd := &cli.Command{Name: "x", Flags: flags(), Action: func(context.Context, *cli.Command) error { return nil }}
		if err := cmd.Run(t.Context(), append([]string{"x"}, args...)); err != nil {
			t.Fatal(err)
		}
	}
	if run(); holds() {
		t.Errorf("--%s is %s by default", name, value)
	}
	if run("--" + name + "=" + value); !holds() {
		t.Errorf("--%s=%s does nothing", name, value)
	}
	t.Run(name, func(t *testing.T) {
		t.Setenv("DIALMUX_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), value)
		if run(); !holds() {
			t.Errorf("the twin of --%s=%s does nothing", name, value)
		}
	})
}
