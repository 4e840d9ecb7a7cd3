package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMeaning sends each row of testdata/requests.txt, and a marker behind it,
// over each front to each kind of worker. What the worker saw is one request of
// the row's meaning, or nothing.
func TestMeaning(t *testing.T) {
	rows := readRows(t)
	if len(rows) < 120 {
		t.Errorf("%d rows, want 120 at least", len(rows))
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			fronts, ask := stage(t, kind.run)
			for _, f := range fronts {
				t.Run(f.name, func(t *testing.T) {
					told := 0
					for i := range rows {
						t.Run(rows[i].name, func(t *testing.T) {
							if rows[i].try(t, f, kind.name, ask) {
								told++
							}
						})
					}
					t.Logf("%d of %d rows can be told so", told, len(rows))
					if told < 120 {
						t.Error("want 120 at least")
					}
				})
			}
			if late := ask(t); len(late) > 0 {
				t.Errorf("in the end came requests that no client had sent: %+v", late)
			}
		})
	}
}

// try is false if the row cannot be told over f, as the table says.
func (r *row) try(t *testing.T, f front, kind string, ask func(*testing.T) []record) bool {
	second := f.name == "2"
	want, ok := r.verdict(f.name, kind)
	switch sendable := second && r.told != nil || !second && r.raw != nil; {
	case ok && want.na != "", !second && r.raw == nil: // it is HTTP/2's own
		return false
	case !ok || !sendable:
		t.Fatalf("the table does not say what comes of it here: [%s] n/a WHY, perhaps", f.name)
	}
	h := f.tell(t, r, &want)
	seen := ask(t)
	want.open = want.open || want.perhaps && len(h.answers) > len(want.requests)+1
	want.closes = want.closes || h.goAway && want.mayBreak()
	marked := !want.swallows && !want.closes && (second || want.status == 0 || want.open)
	requests := want.requests
	if marked {
		requests = append(slices.Clone(requests), record{Method: "GET", Path: "/marker", Authority: "marker"})
	}
	r.judge(t, f.name, seen, requests)
	h.judge(t, &want, seen, marked, second)
	if t.Failed() {
		t.Logf("RFC %s: sent %.300q, in HTTP/2 %.300q\nthe worker saw %.600q\nthe client got %v", r.rfc, r.raw, fmt.Sprint(r.told), fmt.Sprint(seen), h.statuses())
	}
	return true
}

// mayBreak tells whether HTTP/2 may end the stream or the connection in place of
// an answer: RFC 9113 section 8.1.1 leaves the choice for what is malformed.
func (v *verdict) mayBreak() bool { return v.status == http.StatusBadRequest || v.perhaps }

// judge compares what the worker saw with what it was to see.
func (r *row) judge(t *testing.T, front string, seen, want []record) {
	t.Helper()
	if len(seen) != len(want) {
		t.Errorf("the worker saw %d requests, want %d", len(seen), len(want))
	}
	if front == "2" { // streams have no order
		byHost := func(a, b record) int { return strings.Compare(a.Authority, b.Authority) }
		seen, want = slices.SortedStableFunc(slices.Values(seen), byHost), slices.SortedStableFunc(slices.Values(want), byHost)
	}
	for i := range min(len(seen), len(want)) {
		got, w := &seen[i], &want[i]
		if got.Method != w.Method || got.Path != w.Path || got.Authority != w.Authority || got.Protocol != w.Protocol || got.Body != w.Body {
			t.Errorf("the worker saw %.300q, want %.300q", fmt.Sprint(*got), fmt.Sprint(*w))
		}
		if !slices.Equal(got.Trailers, w.Trailers) {
			t.Errorf("trailers %q, want %q", got.Trailers, w.Trailers)
		}
		version := "1.1"
		switch {
		case front == "2":
			version = "2.0"
		case w.Path != "/marker" && strings.Contains(string(r.raw), "HTTP/1.0\r\n"):
			version = "1.0"
		}
		got.judgeFields(t, version, w.Fields)
	}
}

var (
	requestID = regexp.MustCompile(`^[\x21-\x7e]{1,200}$`)
	forwarded = regexp.MustCompile(`^for=127\.0\.0\.1(?:;host="?([^";]*)"?)?;proto=http$`)
)

// judgeFields wants the fields that a row names, those that the router adds, and
// no others.
func (got *record) judgeFields(t *testing.T, version string, named []string) {
	t.Helper()
	named = slices.Clone(named)
	added := map[string]int{}
	for _, line := range got.Fields {
		name, value, _ := strings.Cut(line, ": ")
		var right bool
		switch i := slices.Index(named, line); {
		case i >= 0:
			named = slices.Delete(named, i, i+1)
			added[name]++
			continue
		case name == "x-forwarded-for":
			right = value == "127.0.0.1"
		case name == "x-forwarded-proto":
			right = value == "http"
		case name == "x-forwarded-host":
			right = value == got.Authority
		case name == "forwarded":
			said := forwarded.FindStringSubmatch(value)
			right = said != nil && said[1] == got.Authority
		case name == "via":
			right = value == version+" dialmux"
		case name == "x-request-id":
			right = requestID.MatchString(value)
		case name == "content-length":
			length, _, _ := strings.Cut(got.Body, " bytes, SHA-256 ")
			right = value == length || value == fmt.Sprint(len([]rune(got.Body)))
		case name == "expect": // which the SDK does not show
			right = value == "100-continue" && got.Body != ""
		}
		if added[name]++; !right {
			t.Errorf("the worker saw a field of neither the row nor the router: %.200q", line)
		}
	}
	for _, line := range named {
		t.Errorf("the worker did not see %.200q", line)
	}
	for _, name := range []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via", "x-request-id"} {
		if added[name] != 1 {
			t.Errorf("the worker saw %d fields %s, want one", added[name], name)
		}
	}
	if n := added["content-length"]; n > 1 {
		t.Errorf("the worker saw content-length %d times", n)
	}
}

// judge compares what the client heard with what it was to hear: one answer for
// each request, to that request, and no more.
func (h *heard) judge(t *testing.T, want *verdict, seen []record, marked, second bool) {
	t.Helper()
	if h.err != nil {
		t.Errorf("the conversation broke off: %v", h.err)
	}
	requests := slices.Clone(want.requests)
	answers := slices.Clone(h.answers)
	switch {
	case second && marked && h.marker == nil:
		t.Error("the marker has no answer")
		return
	case second && marked:
		answers = append(answers, *h.marker)
	}
	statuses := make([]int, len(requests))
	broken := want.mayBreak() && (h.reset || h.goAway)
	if want.status != 0 && !broken {
		statuses = append(statuses, want.status)
	}
	if marked {
		requests = append(requests, record{Method: "GET", Path: "/marker"})
		statuses = append(statuses, 0)
	}
	if len(answers) != len(statuses) {
		t.Errorf("the client got %d answers, want %d", h.statuses(), len(statuses))
		return
	}
	for i, status := range statuses {
		a := answers[i]
		if status != 0 {
			if a.status != status {
				t.Errorf("answer %d has status %d, want %d", i, a.status, status)
			}
			continue
		}
		q := requests[0]
		requests = requests[1:]
		if a.status != http.StatusOK {
			t.Errorf("answer %d has status %d, want 200", i, a.status)
			continue
		}
		var got record
		if err := json.Unmarshal(a.body, &got); q.Method == http.MethodHead {
			if len(a.body) > 0 {
				t.Errorf("the answer to HEAD has a body")
			}
		} else if err != nil || got.Path != q.Path || !slices.ContainsFunc(seen, func(s record) bool { return s.Number == got.Number }) {
			t.Errorf("answer %d is %.200q, %v: not the one to %s %s", i, a.body, err, q.Method, q.Path)
		}
	}
}

func (h *heard) statuses() (all []int) {
	for _, a := range h.answers {
		all = append(all, a.status)
	}
	if h.marker != nil {
		all = append(all, h.marker.status)
	}
	return all
}
