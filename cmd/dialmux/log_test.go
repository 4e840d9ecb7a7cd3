package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

func TestLogForms(t *testing.T) {
	for _, tc := range []struct{ format, level, want string }{
		{"auto", "info", `"level":"INFO","msg":"seen","who":"a\u001bb"`}, // a file is no terminal
		{"json", "info", `"level":"INFO","msg":"seen","who":"a\u001bb"`},
		{"text", "info", ` INF seen who=a␛b` + "\n"},
		{"text", "warn", ""},
	} {
		path := filepath.Join(t.TempDir(), "log")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		logging{level: tc.level, format: tc.format}.logger(f).Info("seen", "who", "a\x1bb")
		_ = f.Close()
		got, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(got), tc.want) || tc.want == "" && len(got) > 0 || bytes.ContainsRune(got, '\x1b') {
			t.Errorf("%s from %s on: %q %v, want %q", tc.format, tc.level, got, err, tc.want)
		}
	}
}

// What a client or a worker chose must not act on the operator's terminal.
func TestO3ColouredLogEscapes(t *testing.T) {
	hostile := "a\x1b[2Jb\r\nc\u009b2J" + `\x1b[2J \\x1b[2J \u001b[2J`
	var plain, out bytes.Buffer
	slog.New(textHandler(&plain, slog.LevelInfo, true)).Warn("m", "s", "x", "err", errors.New("x"))
	slog.New(textHandler(&out, slog.LevelInfo, true)).Warn("m", "s", hostile, "err", errors.New(hostile))
	got := out.String()
	if strings.Count(got, "\x1b") != strings.Count(plain.String(), "\x1b") || strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\r\u009b") {
		t.Errorf("%q", got)
	}
}

func TestO3JSONHasNoControlCharacters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hostile := "a\x1b[2Jb\r\nc\u009b2J\x7f\xff"
	logging{level: "info", format: "json"}.logger(f).Warn("m", "s", hostile, "err", errors.New(hostile), "n", 7)
	got, err := os.ReadFile(path)
	if err != nil || strings.ContainsFunc(strings.TrimSuffix(string(got), "\n"), unicode.IsControl) || !strings.Contains(string(got), `"n":7`) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestServerLog(t *testing.T) {
	var out bytes.Buffer
	l := serverLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), "http")
	for line, want := range map[string]string{
		"http: TLS handshake error from 1.2.3.4:5: EOF":                            "level=DEBUG",
		"http: panic serving 1.2.3.4:5: oops\ngoroutine 1 [running]:\nmain.go":     "level=ERROR",
		"http: Accept error: accept tcp :80: too many open files; retrying in 5ms": "level=ERROR",
	} {
		out.Reset()
		l.Print(line)
		if got := out.String(); !strings.Contains(got, want) || !strings.Contains(got, "server=http") || strings.Count(got, "\n") != 1 {
			t.Errorf("%q became %q, want %s, in one line", line, got, want)
		}
	}
}
