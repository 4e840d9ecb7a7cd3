// Package conform is the specification as a test kit. WorkerKit plays the
// router to a worker in any language; RouterKit plays workers and clients to a
// router. Each case names the sentence of frame/SPEC.md that it checks.
package conform

import (
	"fmt"
	"time"
)

// Verdict is how a case ended.
type Verdict string

const (
	Pass Verdict = "pass"
	Fail Verdict = "fail"
	Skip Verdict = "skip"
)

// Result is one case's line in the report.
type Result struct {
	Case     string   `json:"case"`
	Checks   string   `json:"checks"` // the sentence of SPEC.md
	Must     bool     `json:"must"`   // false: a worker may do otherwise, and the exit status does not tell
	Verdict  Verdict  `json:"verdict"`
	Why      string   `json:"why,omitempty"`    // what was expected and what came, or why it was skipped
	Frames   []string `json:"frames,omitempty"` // what crossed, of a case that failed; "<-" is what the kit sent
	Duration float64  `json:"seconds"`
}

// Failed reports whether any must-case among the results failed.
func Failed(results []Result) bool {
	for _, r := range results {
		if r.Must && r.Verdict == Fail {
			return true
		}
	}
	return false
}

// failure ends a case. It travels by panic, so that a case reads as a story.
type failure struct {
	verdict Verdict
	why     string
}

func failf(format string, args ...any) {
	panic(failure{Fail, fmt.Sprintf(format, args...)})
}

func skipf(format string, args ...any) {
	panic(failure{Skip, fmt.Sprintf(format, args...)})
}

// patience is how long a case waits for what must come. It bounds a case that
// fails; no case measures time with it.
const patience = 5 * time.Second

// run runs one case and makes its Result.
func run(name, checks string, must bool, transcript *transcript, f func()) (r Result) {
	r = Result{Case: name, Checks: checks, Must: must, Verdict: Pass}
	began := time.Now()
	transcript.reset()
	defer func() {
		r.Duration = time.Since(began).Seconds()
		switch p := recover().(type) {
		case nil:
		case failure:
			r.Verdict, r.Why = p.verdict, p.why
			if p.verdict == Fail {
				r.Frames = transcript.lines()
			}
		default:
			panic(p)
		}
	}()
	f()
	return r
}
