package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/lmittmann/tint"
)

// logging says how much is logged, and in which form.
type logging struct {
	level  string // debug, info, warn or error
	format string // auto, text or json
}

// logger writes to w: text to a terminal, in colours unless NO_COLOR is set,
// and JSON to anything else, unless the format says which. From now on the
// process does not end because nobody reads what it writes.
func (l logging) logger(w io.Writer) *slog.Logger {
	outliveReaders()
	tty := isTerminal(w)
	if o, is := w.(*outlet); is {
		o.telling(func(dropped int) []byte {
			var line bytes.Buffer
			r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped: nobody read them in time", 0)
			r.Add("lines", dropped)
			_ = l.handler(&line, tty).Handle(context.Background(), r) // whatever the level
			return line.Bytes()
		})
	}
	return slog.New(l.handler(w, tty))
}

func (l logging) handler(w io.Writer, tty bool) slog.Handler {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.level)) // parseLevel has seen it
	if l.format == "json" || l.format == "auto" && !tty {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: escapeJSON})
	}
	return textHandler(w, level, tty && os.Getenv("NO_COLOR") == "")
}

func textHandler(w io.Writer, level slog.Level, colours bool) slog.Handler {
	return tint.NewTextHandler(w, &tint.Options{Level: level, NoColor: !colours, ReplaceAttr: escape})
}

// escape shows ESC where tint would let it act on the terminal: clients and
// workers choose some of what is logged. Everything else tint quotes, and then
// takes the four characters \x1b, which anybody may write, for an ESC of its own.
func escape(_ []string, a slog.Attr) slog.Attr {
	return replaced(a, func(s string) bool { return strings.Contains(s, "\x1b") || strings.Contains(s, `\x1b`) },
		strings.NewReplacer("\x1b", "\u241b", `\x1b`, "\u241b").Replace)
}

// escapeJSON takes out what encoding/json lets through and some terminals
// obey: the control characters from 0x7f on.
func escapeJSON(_ []string, a slog.Attr) slog.Attr {
	return replaced(a, func(s string) bool { return strings.ContainsFunc(s, isHighControl) }, func(s string) string {
		return strings.Map(func(c rune) rune {
			if isHighControl(c) {
				return '\ufffd'
			}
			return c
		}, s)
	})
}

func isHighControl(c rune) bool { return c >= 0x7f && c < 0xa0 }

// replaced is a with other text, if the one that it has calls for it.
func replaced(a slog.Attr, calls func(string) bool, by func(string) string) slog.Attr {
	if k := a.Value.Kind(); k == slog.KindString || k == slog.KindAny {
		if s := a.Value.String(); calls(s) {
			a.Value = slog.StringValue(by(s))
		}
	}
	return a
}

func parseLevel(s string) (string, error) {
	switch s {
	case "debug", "info", "warn", "error":
		return s, nil
	}
	return "", errors.New("want debug, info, warn or error")
}

func parseFormat(s string) (string, error) {
	switch s {
	case "auto", "text", "json":
		return s, nil
	}
	return "", errors.New("want auto, text or json")
}

// serverLog takes what net/http has to say. That is noise which any client can
// cause, except that a handler panicked or that nothing can be accepted.
func serverLog(to *slog.Logger, server string) *log.Logger {
	return log.New(lines{to.With("server", server)}, "", 0)
}

type lines struct{ to *slog.Logger }

// Write is called once for each line.
func (l lines) Write(p []byte) (int, error) {
	line, level := bytes.TrimSpace(p), slog.LevelDebug
	if bytes.HasPrefix(line, []byte("http: panic")) || bytes.HasPrefix(line, []byte("http: Accept error")) && !isRetry(line) {
		level = slog.LevelError
	}
	l.to.Log(context.Background(), level, "net/http reports", "line", string(line))
	return len(p), nil
}

// isRetry tells a line of net/http's about Accept from the first of its kind.
func isRetry(line []byte) bool {
	_, pause, found := bytes.Cut(line, []byte("; retrying in "))
	return found && string(pause) != "5ms"
}
