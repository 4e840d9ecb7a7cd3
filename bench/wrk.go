package main

import (
	"bytes"
	"context"
	_ "embed" // for the script
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

//go:embed wrk.lua
var script []byte

// wrkReport is the script's line. Times are microseconds.
type wrkReport struct {
	Requests int
	Duration int64
	P50, P99 int64

	// What went wrong, by kind; Status counts answers of 400 and more.
	Connect, Read, Write, Timeout, Status int
}

// wrk loads target, an address and a path, with so many connections, each kept alive and with one request at a time. It fails if any request did.
func (s *stage) wrk(ctx context.Context, target string, connections int, duration time.Duration) (wrkReport, error) {
	file := filepath.Join(s.dir, "wrk.lua")
	if err := os.WriteFile(file, script, 0o600); err != nil {
		return wrkReport{}, err
	}
	cmd := exec.CommandContext(ctx, s.bin.wrk, "--threads", "1", "--connections", strconv.Itoa(connections),
		"--duration", fmt.Sprintf("%ds", int(duration.Round(time.Second).Seconds())),
		"--script", file, "http://"+target)
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return wrkReport{}, errors.New("interrupted")
	case err != nil:
		return wrkReport{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return parseWrk(out)
}

func parseWrk(out []byte) (wrkReport, error) {
	var r wrkReport
	start := bytes.LastIndexByte(out, '{')
	if start < 0 {
		return r, fmt.Errorf("wrk printed no report:\n%s", out)
	}
	if err := json.Unmarshal(out[start:], &r); err != nil {
		return r, fmt.Errorf("wrk's report: %w\n%s", err, out)
	}
	if failed := r.Connect + r.Read + r.Write + r.Timeout + r.Status; failed > 0 || r.Requests == 0 {
		return r, fmt.Errorf("%d requests served, %d failed: connect %d, read %d, write %d, timeout %d, status %d",
			r.Requests, failed, r.Connect, r.Read, r.Write, r.Timeout, r.Status)
	}
	return r, nil
}
