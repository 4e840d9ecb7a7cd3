package interop

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// row is one of testdata/requests.txt, which says at its top how it is written.
type row struct {
	name, rfc string
	raw       []byte   // over HTTP/1; nil: it is HTTP/2's only
	told      *message // over HTTP/2; nil: it cannot be told there
	verdicts  []verdict
}

// message is a request told in HTTP/2.
type message struct {
	fields   []hpack.HeaderField // pseudo-fields too
	body     []byte
	trailers []hpack.HeaderField
}

// verdict is what a row is to come to, over the front and with the worker that
// where names.
type verdict struct {
	where    []string
	requests []record // what the worker sees
	status   int      // the answer to what it does not see; 0: there is none
	open     bool     // the connection goes on in spite of status
	perhaps  bool     // it may
	closes   bool     // it does not, in spite of none
	swallows bool     // the marker is a part of the row
	na       string   // why the row cannot be told so
}

// verdict is the one that names most of what there is; not ok: none does, or
// two do.
func (r *row) verdict(front, kind string) (best verdict, ok bool) {
	most := -1
	for _, v := range r.verdicts {
		switch fits := !slices.ContainsFunc(v.where, func(w string) bool { return w != front && w != kind }); {
		case fits && len(v.where) > most:
			best, ok, most = v, true, len(v.where)
		case fits && len(v.where) == most:
			ok = false
		}
	}
	return best, ok
}

func readRows(tb testing.TB) (rows []row) {
	tb.Helper()
	text, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var section, rfc string
	var always, template []string
	seen := map[string]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		at := func(err error) {
			tb.Helper()
			if err != nil {
				tb.Fatalf("testdata/requests.txt:%d: %v", i+1, err)
			}
		}
		columns := columnsOf(line)
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "== "):
			if len(columns) < 2 {
				at(fmt.Errorf("a section wants a name | an RFC's section"))
			}
			section, rfc, always, template = columns[0], columns[1], columns[2:], nil
		case strings.HasPrefix(line, "-- "):
			if len(columns) < 3 {
				at(fmt.Errorf("a row wants name | what stands for {} | what is wanted"))
			}
			r := row{name: section + "/" + columns[0], rfc: rfc}
			if seen[r.name] {
				at(fmt.Errorf("%s stands twice", r.name))
			}
			seen[r.name] = true
			at(r.send(template, columns[1]))
			for _, column := range columns[2:] {
				at(r.expect(column))
			}
			own := len(r.verdicts)
			for _, column := range always {
				where, _ := selector(column)
				if i := r.where(where); i < 0 || i >= own {
					at(r.expect(column))
				}
			}
			rows = append(rows, r)
		default:
			template = append(template, line)
		}
	}
	return rows
}

func columnsOf(line string) []string {
	columns := strings.Split(line[min(3, len(line)):], "|")
	for i := range columns {
		columns[i] = strings.TrimSpace(columns[i])
	}
	return columns
}

// send makes what is sent. A template that begins with a colon is HTTP/2's.
func (r *row) send(template []string, filling string) (err error) {
	if len(template) == 0 {
		return fmt.Errorf("a row wants a request before it")
	}
	if strings.HasPrefix(strings.ReplaceAll(template[0], "{}", filling), ":") {
		lines, err := unescape(filling)
		if err != nil {
			return err
		}
		r.told, err = toldBy(strings.ReplaceAll(strings.Join(template, "\n"), "{}", string(lines)))
		return err
	}
	if r.raw, err = unescape(strings.ReplaceAll(compose(template), "{}", filling)); err == nil {
		r.told = translate(r.raw)
	}
	return err
}

// compose ends lines in CRLF, but for those that end in a backslash.
func compose(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		if joined, ok := strings.CutSuffix(line, `\`); ok {
			b.WriteString(joined)
			continue
		}
		b.WriteString(line + "\r\n")
	}
	return b.String()
}

// selector splits "[2 REP] 503" into where it holds, and what does.
func selector(column string) (where []string, rest string) {
	if inner, ok := strings.CutPrefix(column, "["); ok {
		if inner, rest, ok = strings.Cut(inner, "] "); ok {
			return strings.Fields(inner), rest
		}
	}
	return nil, column
}

// where finds the verdict for exactly that.
func (r *row) where(names []string) int {
	return slices.IndexFunc(r.verdicts, func(v verdict) bool { return slices.Equal(v.where, names) })
}

// expect takes one column that says what is wanted.
func (r *row) expect(column string) error {
	where, want := selector(column)
	i := r.where(where)
	if i < 0 {
		i = len(r.verdicts)
		r.verdicts = append(r.verdicts, verdict{where: where})
	}
	v := &r.verdicts[i]
	word, rest, _ := strings.Cut(want, " ")
	status, err := strconv.Atoi(word)
	switch {
	case err == nil && rest == "":
		v.status = status
	case want == "open":
		v.open = true
	case want == "perhaps open":
		v.perhaps = true
	case want == "close":
		v.closes = true
	case want == "swallow":
		v.swallows = true
	case word == "n/a" && rest != "":
		v.na = rest
	default:
		return v.sees(word, rest)
	}
	return nil
}

// sees takes what the worker is to see: a request, or more of the last one.
func (v *verdict) sees(word, rest string) error {
	plain, err := unescape(rest)
	if err != nil {
		return err
	}
	var last record
	if n := len(v.requests); n > 0 {
		last = v.requests[n-1]
	}
	switch text := characters(string(plain)); {
	case word == "field" && last.Method != "":
		last.Fields = append(last.Fields, text)
	case word == "fields" && last.Method != "":
		digits, line, _ := strings.Cut(text, " ")
		n, err := strconv.Atoi(digits)
		if err != nil {
			return err
		}
		last.Fields = append(last.Fields, slices.Repeat([]string{line}, n)...)
	case word == "trailer" && last.Method != "":
		last.Trailers = append(last.Trailers, text)
	case word == "protocol" && last.Method != "":
		last.Protocol = text
	default:
		q, err := seen(word, rest)
		v.requests = append(v.requests, q)
		return err
	}
	v.requests[len(v.requests)-1] = last
	return nil
}

// seen reads `GET /path host "body"`.
func seen(method, rest string) (q record, err error) {
	rest, body, quoted := strings.Cut(rest, ` "`)
	words := strings.Fields(rest)
	if len(words) != 2 || quoted && !strings.HasSuffix(body, `"`) {
		return q, fmt.Errorf("not understood: %s %s", method, rest)
	}
	parts := make([][]byte, 4)
	for i, part := range []string{method, words[0], words[1], strings.TrimSuffix(body, `"`)} {
		if parts[i], err = unescape(part); err != nil {
			return q, err
		}
	}
	q = record{Method: characters(string(parts[0])), Path: characters(string(parts[1])), Authority: characters(string(parts[2])), Body: digest(parts[3])}
	if q.Authority == "-" {
		q.Authority = ""
	}
	return q, nil
}

var repeated = regexp.MustCompile(`\\\*(\d+)\{((?:[^}\\]|\\[^*])*)\}`)

// unescape knows \r \n \t \0 \_ (space) \\ \xHH and \*N{text}, which is N times text.
func unescape(s string) ([]byte, error) {
	for repeated.MatchString(s) { // the inner ones first
		s = repeated.ReplaceAllStringFunc(s, func(m string) string {
			parts := repeated.FindStringSubmatch(m)
			n, _ := strconv.Atoi(parts[1])
			return strings.Repeat(parts[2], n)
		})
	}
	simple := map[byte]byte{'r': '\r', 'n': '\n', 't': '\t', '0': 0, '_': ' ', '\\': '\\'}
	var b bytes.Buffer
	for {
		before, after, ok := strings.Cut(s, `\`)
		b.WriteString(before)
		switch {
		case !ok:
			return b.Bytes(), nil
		case len(after) >= 3 && after[0] == 'x':
			c, err := strconv.ParseUint(after[1:3], 16, 8)
			if err != nil {
				return nil, err
			}
			b.WriteByte(byte(c))
			s = after[3:]
		case len(after) > 0 && strings.IndexByte(`rnt0_\`, after[0]) >= 0:
			b.WriteByte(simple[after[0]])
			s = after[1:]
		default:
			return nil, fmt.Errorf("unknown escape at %.20q", after)
		}
	}
}

// toldBy reads a message of HTTP/2: "name: value" lines, an empty one, the body,
// and after another empty one, trailers.
func toldBy(text string) (*message, error) {
	m := &message{}
	head, rest, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\n\n")
	body, tail, _ := strings.Cut(rest, "\n\n")
	for _, part := range []struct {
		lines string
		to    *[]hpack.HeaderField
	}{{head, &m.fields}, {tail, &m.trailers}} {
		for line := range strings.Lines(part.lines) {
			if line = strings.TrimSuffix(line, "\n"); line == "" {
				continue
			}
			colon := strings.Index(line, ": ")
			if colon < 0 {
				return nil, fmt.Errorf("no name and value: %q", line)
			}
			name, err := unescape(line[:colon])
			if err != nil {
				return nil, err
			}
			value, err := unescape(line[colon+2:])
			if err != nil {
				return nil, err
			}
			*part.to = append(*part.to, hpack.HeaderField{Name: string(name), Value: string(value)})
		}
	}
	var err error
	m.body, err = unescape(body)
	return m, err
}

// translate tells a request of HTTP/1 in HTTP/2, the wrong ones with the same
// mistakes as far as they can be made there. nil: it has no words for it.
func translate(raw []byte) *message {
	head, body, ok := strings.Cut(string(raw), "\r\n\r\n")
	if !ok {
		return nil
	}
	lines := strings.Split(strings.TrimPrefix(head, "\r\n"), "\r\n")
	first := strings.Split(lines[0], " ")
	if len(first) != 3 {
		return nil
	}
	m := &message{body: []byte(body)}
	target, authority, absolute := first[1], "", false
	for _, scheme := range []string{"http://", "https://"} {
		var rest string
		if rest, absolute = strings.CutPrefix(target, scheme); absolute {
			i := strings.IndexAny(rest+"/", "/?")
			if authority, target = rest[:i], rest[i:]; !strings.HasPrefix(target, "/") {
				target = "/" + target
			}
			break
		}
	}
	var fields []hpack.HeaderField
	chunked := false
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil
		}
		f := hpack.HeaderField{Name: strings.ToLower(name), Value: strings.Trim(value, " \t")}
		switch {
		case f.Name == "host" && !absolute && authority == "":
			authority = f.Value
		case f.Name == "host" && absolute:
		case f.Name == "transfer-encoding" && f.Value == "chunked" && !chunked:
			chunked = true
		default:
			fields = append(fields, f)
		}
	}
	if chunked && !m.unchunk() {
		return nil
	}
	m.fields = append([]hpack.HeaderField{
		{Name: ":method", Value: first[0]}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: authority}, {Name: ":path", Value: target},
	}, fields...)
	return m
}

// unchunk takes a well-formed body's chunks and trailers apart.
func (m *message) unchunk() bool {
	rest := string(m.body)
	m.body = nil
	for {
		line, after, ok := strings.Cut(rest, "\r\n")
		digits, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 31)
		if !ok || err != nil || uint64(len(after)) < n+2 {
			return false
		}
		m.body = append(m.body, after[:n]...)
		if n == 0 {
			for line := range strings.SplitSeq(after, "\r\n") {
				if name, value, ok := strings.Cut(line, ":"); ok {
					m.trailers = append(m.trailers, hpack.HeaderField{Name: strings.ToLower(name), Value: strings.TrimSpace(value)})
				}
			}
			return true
		}
		rest = after[n+2:]
	}
}
