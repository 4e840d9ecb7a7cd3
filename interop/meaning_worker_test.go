package interop

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dialmux/dialmux/worker"
)

// record is a request as a recording worker saw it, from its first byte to its
// last: one that broke off leaves no record. It is the answer, too. Bytes stand
// as the characters of the same numbers.
type record struct {
	Number    int      `json:"number"` // from 1
	Method    string   `json:"method"`
	Path      string   `json:"path"`
	Authority string   `json:"authority"`
	Protocol  string   `json:"protocol"` // to upgrade to
	Fields    []string `json:"fields"`   // "name: value", in order of their names
	Body      string   `json:"body"`     // see digest
	Trailers  []string `json:"trailers"` // as Fields
}

// recorder is the Go worker's handler. testdata/recorder.py does the same.
type recorder struct {
	mu    sync.Mutex
	count int
	seen  []record // since /recorded was asked
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.RequestURI == "/recorded" {
		r.mu.Lock()
		defer r.mu.Unlock()
		_ = json.NewEncoder(w).Encode(r.seen)
		r.seen = nil
		return
	}
	got := record{Method: q.Method, Path: characters(q.RequestURI), Authority: characters(q.Host)}
	var announced []string
	for name := range q.Trailer {
		announced = append(announced, name)
	}
	slices.Sort(announced)
	if strings.EqualFold(q.Header.Get("Connection"), "upgrade") { // the SDK shows an upgrade as HTTP/1.1 does
		got.Protocol = q.Header.Get("Upgrade")
		q.Header.Del("Connection")
		q.Header.Del("Upgrade")
	} else {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		got.Body = digest(body)
	}
	got.Fields, got.Trailers = linesOf(q.Header), linesOf(q.Trailer)
	for _, name := range announced {
		got.Fields = append(got.Fields, "trailer: "+strings.ToLower(name))
	}
	r.mu.Lock()
	r.count++
	got.Number = r.count
	r.seen = append(r.seen, got)
	r.mu.Unlock()
	_ = json.NewEncoder(w).Encode(got)
}

func linesOf(h http.Header) []string {
	lines := []string{}
	for name, values := range h {
		for _, value := range values {
			lines = append(lines, strings.ToLower(name)+": "+characters(value))
		}
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		nameA, _, _ := strings.Cut(a, ":")
		nameB, _, _ := strings.Cut(b, ":")
		return strings.Compare(nameA, nameB)
	})
	return lines
}

// digest is what a record says of a body: a short one itself.
func digest(body []byte) string {
	if len(body) > 1024 {
		return fmt.Sprintf("%d bytes, SHA-256 %x", len(body), sha256.Sum256(body))
	}
	return characters(string(body))
}

// characters makes a character of each byte: JSON has no bytes.
func characters(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// kinds are the workers that TestMeaning asks. Each ends with the test.
var kinds = []struct {
	name string
	run  func(t *testing.T, l net.Listener)
}{
	{"Go", func(t *testing.T, l net.Listener) {
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := worker.Serve(ctx, "tcp://"+l.Addr().String(), &recorder{}); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() {
			stop()
			wg.Wait()
		})
	}},
	{"Python", func(t *testing.T, l net.Listener) { startRecorder(t, dealer, l) }},
	{"REP", func(t *testing.T, l net.Listener) { startRecorder(t, rep, l) }},
}

func startRecorder(t *testing.T, kind socket, l net.Listener) {
	t.Helper()
	needPython(t)
	start(t, "recorder", nil, python, "-u", "-B", "testdata/recorder.py", string(kind), "recorder", "tcp://"+l.Addr().String())
}
