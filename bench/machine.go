package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// describe is one line a fact: what the figures were taken on and with.
func describe(ctx context.Context, bin programs) []string {
	facts := []string{
		fmt.Sprintf("machine: %s, %d cores, Linux %s", cpuModel(), runtime.NumCPU(), kernel()),
		firstLine(ctx, bin.dialmux, "version"),
	}
	for _, ask := range [][]string{
		{"nginx", "-v"},
		{"haproxy", "-v"},
		{"caddy", "version"},
		{"m2sh", "version"},
		{"pushpin", "--version"},
		{"condure", "--version"},
		{"wrk", "-v"},
	} {
		program, err := bin.find(ask[0])
		if err != nil {
			facts = append(facts, err.Error())
			continue
		}
		line := firstLine(ctx, program, ask[1:]...)
		if !strings.Contains(strings.ToLower(line), ask[0]) && ask[0] != "m2sh" {
			line = ask[0] + " " + line // some say the number alone
		}
		facts = append(facts, line)
	}
	return append(facts, "backends: "+runtime.Version())
}

// firstLine is what a program says of its version. wrk exits 1 after it, so only the words count.
func firstLine(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return fmt.Sprintf("%s: version unknown (%v)", program, err)
	}
	return line
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(info)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(release))
}
