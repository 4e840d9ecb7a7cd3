package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever is fast sees that it drains, whoever waits is told when a second signal is one.
func TestASecondSignalIsHeededAfterTheEcho(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration // the signal, all was done
		want  string
	}{
		"at once":          {0, "msg=draining\n"},
		"in the echo":      {99 * time.Millisecond, "msg=draining\n"},
		"after it":         {101 * time.Millisecond, "msg=draining\nheeded\nmsg=\"still draining; a second signal ends it at once\"\n"},
		"without a signal": {-time.Hour, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				messages := slog.NewTextHandler(&said, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.MessageKey {
						return a
					}
					return slog.Attr{}
				}})
				ctx, signal := context.WithCancelCause(t.Context())
				defer signal(nil)
				end := sayDrain(ctx, slog.New(messages), time.Second, func() { said.WriteString("heeded\n") })
				if tc.after >= 0 {
					signal(errors.New("terminated signal received"))
				}
				time.Sleep(tc.after)
				end()
				if got := said.String(); got != tc.want {
					t.Errorf("%q, want %q", got, tc.want)
				}
			})
		})
	}
}
