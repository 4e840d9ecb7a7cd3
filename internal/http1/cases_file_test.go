package http1_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// marker follows every case on its connection. It must never be taken for a part of the case, nor be served after a refusal.
const marker = "GET /marker HTTP/1.1\r\nHost: marker\r\n\r\n"

// requestCase is one row of testdata/requests.txt.
type requestCase struct {
	name, rfc string
	send      []byte
	want      []request
	refused   int  // after want
	closes    bool // after want
	swallows  bool // the marker is used up, and rightly
}

// readCases reads testdata/requests.txt, which says at its top how it is written.
func readCases(tb testing.TB) (cases []requestCase) {
	tb.Helper()
	text, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var section, rfc string
	var template []string
	seen := map[string]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		at := func(format string, args ...any) {
			tb.Helper()
			tb.Fatalf("testdata/requests.txt:%d: %s", i+1, fmt.Sprintf(format, args...))
		}
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "== "):
			var ok bool
			if section, rfc, ok = strings.Cut(line[3:], " | "); !ok {
				at("a section wants a name | an RFC's section")
			}
			template = nil
		case strings.HasPrefix(line, "-- "):
			columns := strings.Split(line[3:], "|")
			for i := range columns {
				columns[i] = strings.TrimSpace(columns[i])
			}
			if len(columns) < 3 {
				at("a row wants name | what stands for {} | what is wanted")
			}
			c := requestCase{name: section + "/" + columns[0], rfc: rfc}
			if seen[c.name] {
				at("%s stands twice", c.name)
			}
			seen[c.name] = true
			if c.send, err = unescape(strings.ReplaceAll(compose(template), "{}", columns[1])); err != nil {
				at("%v", err)
			}
			for _, want := range columns[2:] {
				if err := c.expect(want); err != nil {
					at("%v", err)
				}
			}
			cases = append(cases, c)
		default:
			if strings.HasSuffix(line, " ") {
				at("a space at a line's end cannot be seen: \\_ is right")
			}
			template = append(template, line)
		}
	}
	return cases
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

// expect takes one column that says what is wanted.
func (c *requestCase) expect(want string) error {
	words := strings.SplitN(want, " ", 4)
	last := len(c.want) - 1
	switch status, err := strconv.Atoi(want); {
	case err == nil:
		c.refused = status
	case want == "close":
		c.closes = true
	case want == "swallow":
		c.swallows = true
	case words[0] == "field" && last >= 0:
		c.want[last].wanted = append(c.want[last].wanted, plain(want[len("field "):]))
	case words[0] == "trailer" && last >= 0:
		c.want[last].trailers = append(c.want[last].trailers, plain(want[len("trailer "):]))
	case len(words) >= 3:
		r := request{method: plain(words[0]), path: plain(words[1]), authority: plain(words[2])}
		if len(words) == 4 {
			if status, ok := strings.CutPrefix(words[3], "!"); ok {
				if r.failed, err = strconv.Atoi(status); err != nil {
					return err
				}
			} else {
				body, ok := strings.CutPrefix(words[3], `"`)
				body, end := strings.CutSuffix(body, `"`)
				if !ok || !end {
					return fmt.Errorf("a body wants quotes: %s", want)
				}
				r.body = plain(body)
			}
		}
		c.want = append(c.want, r)
	default:
		return fmt.Errorf("not understood: %s", want)
	}
	return nil
}

// plain undoes escapes where an error would be the file's; "-" is nothing.
func plain(s string) string {
	if s == "-" {
		return ""
	}
	b, err := unescape(s)
	if err != nil {
		return "malformed: " + err.Error()
	}
	return string(b)
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
	var b bytes.Buffer
	simple := strings.NewReplacer("r", "\r", "n", "\n", "t", "\t", "0", "\x00", "_", " ")
	for len(s) > 0 {
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
			b.WriteString(simple.Replace(after[:1]))
			s = after[1:]
		default:
			return nil, fmt.Errorf("unknown escape at %.20q", after)
		}
	}
	return b.Bytes(), nil
}
