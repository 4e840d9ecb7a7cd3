package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/internal/http1"
)

// TestDifferential sends the cases, and thousands of mutants of them, to the engine and to net/http. Every difference must
// stand in testdata/differences.txt, and every rule there must be of use to a case.
func TestDifferential(t *testing.T) {
	d := newDifferential(t)
	cases := readCases(t)
	for _, c := range cases {
		d.check(t, append(bytes.Clone(c.send), marker...))
		if t.Failed() {
			t.Fatalf("in case %s", c.name)
		}
	}
	for file, sent := range captures(t) {
		d.check(t, sent)
		if t.Failed() {
			t.Fatalf("in %s", file)
		}
	}
	for _, r := range d.rules {
		if r.uses == 0 {
			t.Errorf("testdata/differences.txt: no case needs the rule %q, and it alone: add one, or take it out", r.name)
		}
	}
	rng := rand.New(rand.NewPCG(9112, 9110))
	mutants := 10_000
	if testing.Short() {
		mutants = 1000
	}
	for n := range mutants {
		c := cases[rng.IntN(len(cases))]
		if len(c.send) > 4096 {
			continue
		}
		sent := mutate(rng, append(bytes.Clone(c.send), marker...), cases)
		d.check(t, sent)
		if t.Failed() {
			t.Fatalf("mutant %d of case %s", n, c.name)
		}
	}
}

// FuzzDifferential is TestDifferential without an end. seed is for the mutations that know what a line is; 0: none.
func FuzzDifferential(f *testing.F) {
	d := newDifferential(f)
	cases := readCases(f)
	for i, c := range cases {
		if len(c.send) <= 1024 {
			f.Add(append(bytes.Clone(c.send), marker...), uint64(i))
		}
	}
	for _, sent := range captures(f) {
		f.Add(sent, uint64(0))
		f.Add(sent, uint64(len(sent)))
	}
	f.Fuzz(func(t *testing.T, sent []byte, seed uint64) {
		if len(sent) > 4<<10 { // the cases have the large ones; small ones are many a second
			return
		}
		if seed != 0 {
			sent = mutate(rand.New(rand.NewPCG(seed, 9112)), bytes.Clone(sent), cases)
		}
		d.check(t, sent)
	})
}

// captures are what real clients sent, by file.
func captures(tb testing.TB) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/captures/*")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no captures: %v", err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		if all[file], err = os.ReadFile(file); err != nil {
			tb.Fatal(err)
		}
	}
	return all
}

type differential struct {
	server *http1.Server
	rules  []*rule
	reader *bufio.Reader // net/http's
}

func newDifferential(tb testing.TB) *differential {
	return &differential{server: &http1.Server{}, rules: readRules(tb), reader: bufio.NewReaderSize(nil, 256<<10)}
}

// grammar is RFC 9112's, of what is before the body. It is the third opinion: the engine accepts nothing that it does not match.
var grammar = regexp.MustCompile("^(\r\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\x00- #\x7f]+ HTTP/1[.][01]\r\n" +
	"([!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n")

// check has both read what was sent, and reports what they do not agree on and no rule excuses.
func (d *differential) check(t *testing.T, sent []byte) {
	t.Helper()
	ours := d.ours(t, sent)
	theirs := d.theirs(sent)
	at := 0
	for i := range max(len(ours), len(theirs)) {
		rest := sent[at:]
		var difference, side string
		switch {
		case i >= len(theirs):
			side, difference = "the engine", fmt.Sprintf("only the engine accepts %+v", ours[i])
		case i >= len(ours):
			side, difference = "net/http", fmt.Sprintf("only net/http accepts %+v", theirs[i].request)
		default:
			at = theirs[i].end
			side, difference = differs(&ours[i], &theirs[i].request)
		}
		if i < len(ours) {
			if !grammar.Match(rest) {
				t.Errorf("the engine accepts what is no request by RFC 9112: %.600q", rest)
			}
			d.checkCanonical(t, &ours[i])
		}
		if difference == "" {
			continue
		}
		switch found := excuse(d.rules, side, dissect(rest)); len(found) {
		case 0:
			t.Errorf("no rule for this difference: %s: %.600q", difference, rest)
		case 1:
			found[0].uses++
		}
		return
	}
}

// ours is what the engine accepts, however the bytes are cut.
func (d *differential) ours(t *testing.T, sent []byte) []request {
	t.Helper()
	r, _ := converse(t, d.server, sent, len(sent)+1)
	slow, _ := converse(t, d.server, sent, 1)
	if !slices.EqualFunc(r.requests, slow.requests, func(a, b request) bool { return a.same(&b) && slices.Equal(a.fields, b.fields) }) {
		t.Errorf("at once the engine understands %+v, byte by byte %+v: %.600q", r.requests, slow.requests, sent)
	}
	if (r.refused == nil) != (slow.refused == nil) || r.refused != nil && r.refused.Status != slow.refused.Status {
		t.Errorf("at once the engine refuses with %v, byte by byte with %v: %.600q", r.refused, slow.refused, sent)
	}
	for i, q := range r.requests {
		if q.failed != 0 {
			if i != len(r.requests)-1 || r.refused != nil {
				t.Errorf("the engine goes on behind a body that it refused: %.600q", sent)
			}
			return r.requests[:i]
		}
	}
	return r.requests
}

// theirRequest is one that net/http has accepted, with its whole body.
type theirRequest struct {
	request
	end int // offset
}

// theirs is what net/http accepts.
func (d *differential) theirs(sent []byte) (all []theirRequest) {
	src := bytes.NewReader(sent)
	d.reader.Reset(src)
	for {
		r, err := http.ReadRequest(d.reader)
		if err != nil {
			return all
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return all
		}
		q := request{
			method: r.Method, path: r.RequestURI, authority: r.Host, minor: r.ProtoMinor, body: string(body),
			chunked: r.TransferEncoding != nil, fields: flat(r.Header), trailers: flat(r.Trailer),
		}
		switch {
		case r.Method == http.MethodConnect && r.URL.Path == "":
			q.path = ""
		case r.URL.Scheme != "" && r.URL.Opaque == "":
			_, q.path, _ = strings.Cut(r.RequestURI, "://")
			if i := strings.IndexAny(q.path, "/?"); i >= 0 {
				q.path = q.path[i:]
			} else {
				q.path = ""
			}
			switch {
			case q.path == "" && r.Method == http.MethodOptions:
				q.path = "*"
			case q.path == "" || q.path[0] == '?':
				q.path = "/" + q.path
			}
		}
		all = append(all, theirRequest{q, len(sent) - src.Len() - d.reader.Buffered()})
		if r.Close {
			return all
		}
	}
}

// flat lists fields by name, each name's in order.
func flat(h http.Header) (all []string) {
	for name, values := range h {
		for _, value := range values {
			all = append(all, name+": "+value)
		}
	}
	slices.SortStableFunc(all, byName)
	return all
}

func byName(a, b string) int {
	nameA, _, _ := strings.Cut(a, ":")
	nameB, _, _ := strings.Cut(b, ":")
	return strings.Compare(nameA, nameB)
}

// differs says what two requests differ in, once net/http's ways are taken account of. side is what a rule must say.
func differs(ours, theirs *request) (side, difference string) {
	fields := map[string][]string{}
	for _, f := range ours.fields {
		name, value, _ := strings.Cut(f, ": ")
		fields[name] = append(fields[name], value)
	}
	delete(fields, "host")              // it is in Request.Host
	delete(fields, "transfer-encoding") // in Request.TransferEncoding
	if ours.chunked {
		delete(fields, "trailer") // in Request.Trailer
	}
	if v := fields["pragma"]; len(v) > 0 && v[0] == "no-cache" && fields["cache-control"] == nil {
		fields["cache-control"] = []string{"no-cache"}
	}
	theirFields := slices.DeleteFunc(slices.Clone(theirs.fields), func(f string) bool { return strings.HasPrefix(f, "Host: ") })
	for _, pair := range [...]struct {
		what string
		a, b any
	}{
		{"methods", ours.method, theirs.method},
		{"paths", ours.path, theirs.path},
		{"authorities", ours.authority, theirs.authority},
		{"versions", ours.minor, theirs.minor},
		{"framings", ours.chunked, theirs.chunked},
		{"bodies", ours.body, theirs.body},
		{"fields", canonical(fields), theirFields},
		{"trailers", canonical(grouped(ours.trailers)), theirs.trailers},
	} {
		if a, b := fmt.Sprintf("%q", pair.a), fmt.Sprintf("%q", pair.b); a != b {
			return "both, with other " + pair.what, fmt.Sprintf("the %s differ: %.300s, and %.300s to net/http", pair.what, a, b)
		}
	}
	return "", ""
}

func grouped(all []string) map[string][]string {
	fields := map[string][]string{}
	for _, f := range all {
		name, value, _ := strings.Cut(f, ": ")
		fields[name] = append(fields[name], value)
	}
	return fields
}

func canonical(fields map[string][]string) []string {
	h := http.Header{}
	for name, values := range fields {
		h[http.CanonicalHeaderKey(name)] = values
	}
	return flat(h)
}

// checkCanonical writes out what the engine has understood, as a proxy would, and has the engine read that: it must understand
// the same, and the marker behind it. So must net/http, or a rule says why.
func (d *differential) checkCanonical(t *testing.T, q *request) {
	t.Helper()
	if len(q.fields) > 250 {
		return // Host and Content-Length might be too many
	}
	var b strings.Builder
	target := q.path
	if q.method == "CONNECT" {
		target = q.authority
	}
	b.WriteString(q.method + " " + target + " HTTP/1.1\r\nHost: " + q.authority + "\r\n")
	for _, f := range q.fields {
		switch name, _, _ := strings.Cut(f, ":"); name {
		case "host", "content-length", "transfer-encoding", "expect", "connection":
		default:
			b.WriteString(f + "\r\n")
		}
	}
	if q.chunked {
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if q.body != "" {
			b.WriteString(strconv.FormatInt(int64(len(q.body)), 16) + "\r\n" + q.body + "\r\n")
		}
		b.WriteString("0\r\n")
		for _, f := range q.trailers {
			b.WriteString(f + "\r\n")
		}
	} else if q.body != "" {
		b.WriteString("Content-Length: " + strconv.Itoa(len(q.body)) + "\r\n")
	}
	b.WriteString("\r\n")
	if !q.chunked {
		b.WriteString(q.body)
	}
	alone := b.String()
	r, _ := converse(t, d.server, []byte(alone+marker), len(alone)+len(marker))
	if len(r.requests) != 2 || !r.requests[0].same(q) || r.requests[1].path != "/marker" {
		t.Errorf("written out as %.600q, %+v is understood as %+v, %v", alone, *q, r.requests, r.refused)
		return
	}
	theirs := d.theirs([]byte(alone + marker))
	side, difference := "the engine", "net/http does not accept it"
	if len(theirs) > 0 {
		side, difference = differs(&r.requests[0], &theirs[0].request)
		if difference == "" && theirs[0].end != len(alone) {
			difference = "net/http sees another end"
		}
	}
	if difference != "" && excuse(d.rules, side, dissect([]byte(alone))) == nil {
		t.Errorf("written out as %.600q: %s", alone, difference)
	}
}
