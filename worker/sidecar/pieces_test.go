package sidecar

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowBody yields a byte after each pause, and ends after the last.
type slowBody []time.Duration

func (b *slowBody) Read(p []byte) (int, error) {
	pause := (*b)[0]
	*b = (*b)[1:]
	if time.Sleep(pause); len(*b) == 0 {
		return 0, io.EOF
	}
	p[0] = 'x'
	return 1, nil
}

func (b *slowBody) Close() error { return nil }

// flushes notes when, and after how many bytes.
type flushes struct {
	*httptest.ResponseRecorder
	begin time.Time
	seen  []string
}

func (f *flushes) Flush() {
	f.seen = append(f.seen, fmt.Sprintf("%v: %d", time.Since(f.begin), f.Body.Len()))
}

// The head waits for the first of a body for a moment, and that for what follows at once, so that one packet does for them: no longer, and as long.
func TestTheFirstPieceWaitsForALittleMore(t *testing.T) {
	for name, tc := range map[string]struct {
		body slowBody
		want string
	}{
		"comes at once":           {slowBody{0, 0, 0}, ""},
		"comes soon":              {slowBody{aMoment - 1, anInstant - 1, anInstant - 1}, ""},
		"does not come":           {slowBody{time.Hour}, "5ms: 0"},
		"comes, and then nothing": {slowBody{aMoment - 1, time.Hour}, "5.499999ms: 1"},
		"comes late":              {slowBody{aMoment + 1, time.Hour}, "5ms: 0, 5.000001ms: 1"},
		"goes on after a while":   {slowBody{0, anInstant + 1, 0, time.Hour}, "500µs: 1, 500.001µs: 2, 500.001µs: 3"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := New("h2c://app", Options{})
				if err != nil {
					t.Fatal(err)
				}
				w := &flushes{httptest.NewRecorder(), time.Now(), nil}
				if err := a.copyAnswer(w, &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: &tc.body}, nil); err != nil {
					t.Error(err)
				}
				if got := strings.Join(w.seen, ", "); got != tc.want {
					t.Errorf("flushed at %s; want %s", got, tc.want)
				}
			})
		})
	}
}
