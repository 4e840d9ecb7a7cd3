package worker

import (
	"cmp"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// A handler that its context sends home has not answered, whatever it has written so far.
func TestDeadlineNeverMakesAShortAnswerWhole(t *testing.T) {
	const (
		reset = "RST_STREAM 1 CANCEL worker: the handler returned after the request's deadline, and its answer was not whole: context deadline exceeded"
		begun = "HEADERS 1 [:status: 200, " + plain + `] "begin"`
	)
	begin := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
	}
	late := func(w http.ResponseWriter) { http.Error(w, "too late", http.StatusGatewayTimeout) }
	for name, tc := range map[string]struct {
		method        string // GET
		before, after func(w http.ResponseWriter)
		want          []string
	}{
		"nothing written":       {want: []string{reset}},
		"HEAD, nothing written": {method: "HEAD", want: []string{reset}},
		"a head alone":          {before: func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }, want: []string{reset}},
		"an informational head": {
			before: func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) },
			want:   []string{"HEADERS 1 [:status: 103]", reset},
		},
		"the beginning, not sent":   {before: func(w http.ResponseWriter) { _, _ = io.WriteString(w, "begin") }, want: []string{reset}},
		"the beginning, sent":       {before: begin, want: []string{begun, reset}},
		"written to afterwards too": {before: begin, after: late, want: []string{begun, reset}},
		"less than declared": {
			before: func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "10")
				begin(w)
			},
			want: []string{"HEADERS 1 [:status: 200, content-length: 10, " + plain + `] "begin"`, reset},
		},
		"trailers announced": {
			before: func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "5")
				w.Header().Set("Trailer", "X-Sum")
				begin(w)
			},
			want: []string{"HEADERS 1 [:status: 200, content-length: 5, trailer: X-Sum, " + plain + `] "begin"`, reset},
		},
		"all that was declared": {
			before: func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "5")
				_, _ = io.WriteString(w, "whole")
			},
			want: []string{"HEADERS 1 [:status: 200, content-length: 5, " + plain + `] END 5 "whole"`},
		},
		"204": {before: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, want: []string{"HEADERS 1 [:status: 204] END 0"}},
		"a page of its own": {
			after: late,
			want:  []string{"HEADERS 1 [:status: 504, " + plain + ", x-content-type-options: nosniff, content-length: 9] END 9 \"too late\\n\""},
		},
		"a panic": {
			after: func(http.ResponseWriter) { panic("boom") },
			want:  []string{"HEADERS 1 [:status: 500, " + plain + ", x-content-type-options: nosniff, content-length: 22] END 22 \"Internal Server Error\\n\""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				run, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if tc.before != nil {
						tc.before(w)
					}
					<-r.Context().Done()
					if tc.after != nil {
						tc.after(w)
					}
				})
				fields := requestFields(cmp.Or(tc.method, "GET"), "/", "request-timeout", "2")
				l.send(frame.AppendHeaders(nil, 1, fields, true, 0), nil)
				l.want(tc.want...)
				l.wantQuiet()
				if n := run.logs.count("level=ERROR"); n > 0 && name != "a panic" {
					t.Errorf("a deadline is no error of the handler's:\n%s", run.logs)
				}
			})
		})
	}
}

// What is whole before the deadline goes out, though the client takes its time.
func TestDeadlinePassesWhileAWholeAnswerLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		r.start(Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "hello")
		})})
		l := r.accept()
		welcome := welcome1
		welcome.Windows.Response = 1
		l.welcome(welcome)
		l.wantJoin(1)
		l.get(1, "/", "request-timeout", "1")
		l.want("HEADERS 1 [:status: 200]")
		time.Sleep(2 * time.Second)
		l.credit(1, 2048)
		l.want(`DATA 1 END 5 "hello"`)
	})
}
