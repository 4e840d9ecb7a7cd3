package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/dialmux/dialmux/internal/http1"
)

// TestCases sends each row of testdata/requests.txt and the marker behind it: at once, byte by byte, and the marker in a
// read of its own. How the bytes are cut must change nothing.
func TestCases(t *testing.T) {
	cases := readCases(t)
	if len(cases) < 300 {
		t.Errorf("%d cases, want 300 at least", len(cases))
	}
	s := &http1.Server{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			sent := append(bytes.Clone(c.send), marker...)
			for _, how := range []string{"at once", "byte by byte", "the marker alone"} {
				most, cuts := len(sent), []int(nil)
				switch how {
				case "byte by byte":
					most = 1
				case "the marker alone":
					cuts = []int{len(c.send)}
				}
				r, answers := converse(t, s, sent, most, cuts...)
				c.judge(t, how, r)
				judgeAnswers(t, how, r, answers)
				if t.Failed() {
					t.Logf("%s, RFC %s: sent %.300q, got %+v, refused: %v", how, c.rfc, sent, r.requests, r.refused)
					return
				}
			}
		})
	}
}

// judge compares what reached the handler.
func (c *requestCase) judge(t *testing.T, how string, r *recorder) {
	t.Helper()
	got, failed := r.requests, false
	for i := range c.want {
		if i == len(got) {
			t.Errorf("%s: %d requests, want %d", how, len(got), len(c.want))
			return
		}
		w, g := &c.want[i], &got[i]
		if failed = w.failed != 0; failed {
			g.body = "" // what came before the mistake is nobody's business
		}
		if !w.same(g) {
			t.Errorf("%s: got %+v, want %+v", how, *g, *w)
		}
		for _, f := range w.wanted {
			if !slices.Contains(g.fields, f) {
				t.Errorf("%s: no %q in %q", how, f, g.fields)
			}
		}
	}
	rest := got[len(c.want):]
	switch {
	case c.refused != 0 && (r.refused == nil || r.refused.Status != c.refused):
		t.Errorf("%s: not refused with %d", how, c.refused)
	case c.refused == 0 && r.refused != nil:
		t.Errorf("%s: refused with %d: %v", how, r.refused.Status, r.refused)
	case c.refused != 0 || failed || c.closes || c.swallows:
		if len(rest) > 0 {
			t.Errorf("%s: %d requests too many, the marker perhaps", how, len(rest))
		}
	case len(rest) != 1 || !rest[0].same(&request{method: "GET", path: "/marker", authority: "marker"}):
		t.Errorf("%s: after the case came %+v, want the marker alone", how, rest)
	}
}

// judgeAnswers asks a client of its own kind whether there is one whole answer for each request, and no byte more.
func judgeAnswers(t *testing.T, how string, r *recorder, answers []byte) {
	t.Helper()
	methods, statuses := []string{}, []int{}
	for _, q := range r.requests {
		methods, statuses = append(methods, q.method), append(statuses, max(200, q.failed))
	}
	if r.refused != nil {
		methods, statuses = append(methods, "POST"), append(statuses, r.refused.Status)
	}
	br := bufio.NewReader(bytes.NewReader(answers))
	for i, method := range methods {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		for err == nil && resp.StatusCode == http.StatusContinue {
			resp, err = http.ReadResponse(br, &http.Request{Method: method})
		}
		if err != nil {
			t.Errorf("%s: answer %d: %v in %q", how, i, err, answers)
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("%s: answer %d: %v in %q", how, i, err, answers)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != statuses[i] {
			t.Errorf("%s: answer %d has status %d, want %d", how, i, resp.StatusCode, statuses[i])
		}
		if statuses[i] >= 400 && !resp.Close {
			t.Errorf("%s: a refusal does not say Connection: close: %q", how, answers)
		}
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("%s: bytes follow the last answer: %q", how, answers)
	}
}
