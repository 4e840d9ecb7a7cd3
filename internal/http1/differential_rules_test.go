package http1_test

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule is one entry of testdata/differences.txt. It looks at what was sent only, never at what the two said.
type rule struct {
	name, side, rfc, why string
	part                 string
	pattern              *regexp.Regexp
	measured             func(*parts) bool // in place of part and pattern
	uses                 int
}

// measures are the conditions that no pattern can express.
func measures() map[string]func(*parts) bool {
	return map[string]func(*parts) bool{
		"head over 64 KiB":     func(p *parts) bool { return len(p.line)+len(p.fields) > 64<<10 },
		"target over 32 KiB":   func(p *parts) bool { return len(p.target()) > 32<<10 },
		"over 256 fields":      func(p *parts) bool { return bytes.Count(p.fields, []byte("\n")) > 256+1 },
		"over 256 trailers":    func(p *parts) bool { return bytes.Count(p.trailers, []byte("\n")) > 256+1 },
		"trailers over 64 KiB": func(p *parts) bool { return len(p.trailers) > 64<<10 },
		"chunk extensions over 4,000 bytes": func(p *parts) bool {
			return len(bytes.Join(extension.FindAll(p.sizes, -1), nil)) > 4000
		},
		"framing over 64 KiB": func(p *parts) bool { return len(p.sizes)+len(p.ends) > 64<<10 },
		"no Host in HTTP/1.1": func(p *parts) bool { return len(p.values("host")) == 0 && bytes.Contains(p.line, []byte("HTTP/1.1")) },
		"a Host that is neither empty nor an authority": func(p *parts) bool {
			return slices.ContainsFunc(p.values("host"), func(host string) bool { return host != "" && !isAuthority(host) })
		},
		"absolute, but not http(s)://authority": func(p *parts) bool {
			m := absolute.FindSubmatch(p.target())
			return m != nil && (!web.Match(m[1]) || !isAuthority(string(m[3])))
		},
		"CONNECT without host:port": func(p *parts) bool {
			target := string(p.target())
			return bytes.HasPrefix(p.line, []byte("CONNECT ")) && (!isAuthority(target) || !ported.MatchString(target))
		},
		"* without OPTIONS": func(p *parts) bool {
			return string(p.target()) == "*" && !bytes.HasPrefix(p.line, []byte("OPTIONS "))
		},
		"expects what is not 100-continue": func(p *parts) bool {
			return slices.ContainsFunc(strings.Split(strings.Join(p.values("expect"), ","), ","), func(e string) bool {
				e = strings.Trim(e, " \t")
				return e != "" && !strings.EqualFold(e, "100-continue")
			})
		},
	}
}

var (
	absolute  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):(//([^/?]*))?`)
	extension = regexp.MustCompile(`;[^\n]*`)
	ported    = regexp.MustCompile(`:[0-9]+$`)
	web       = regexp.MustCompile(`^(?i)https?$`)
	// authority is RFC 3986's, of RFC 9110 section 4.2: without user information. IPv6 is looked at from afar.
	authority = regexp.MustCompile(`^(([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]{2,}\])(:([0-9]{0,5}))?$`)
)

func isAuthority(s string) bool {
	m := authority.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	port, _ := strconv.Atoi("0" + m[4])
	return port <= 65535
}

// readRules reads testdata/differences.txt.
func readRules(tb testing.TB) (rules []*rule) {
	tb.Helper()
	text, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		tb.Fatal(err)
	}
	all := measures()
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "== "); ok {
			rules = append(rules, &rule{name: name})
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || len(rules) == 0 {
			tb.Fatalf("testdata/differences.txt:%d: key: value is right", i+1)
		}
		r := rules[len(rules)-1]
		switch key {
		case "accepts":
			r.side = value
		case "measure":
			r.measured = all[value]
		case "RFC":
			r.rfc = value
		case "why":
			r.why += value
		case "line", "target", "fields", "head", "sizes", "ends", "trailers":
			r.part = key
			if r.pattern, err = regexp.Compile(value); err != nil {
				tb.Fatalf("testdata/differences.txt:%d: %v", i+1, err)
			}
		default:
			tb.Fatalf("testdata/differences.txt:%d: unknown key %q", i+1, key)
		}
	}
	for _, r := range rules {
		if r.side == "" || r.rfc == "" || r.why == "" || r.pattern == nil && r.measured == nil {
			tb.Fatalf("testdata/differences.txt: %s: not whole", r.name)
		}
	}
	return rules
}

// excuse returns the rules that explain why one side accepts a request, or that both do, and differ.
func excuse(rules []*rule, side string, p *parts) (found []*rule) {
	for _, r := range rules {
		if r.side == side && (r.measured != nil && r.measured(p) || r.pattern != nil && r.pattern.Match(p.of(r.part))) {
			found = append(found, r)
		}
	}
	return found
}

// parts is a request taken apart as leniently as can be, so that a rule looks at framing, and never at data.
type parts struct {
	line     []byte // the request line with its end
	fields   []byte // all lines with their ends, the empty one too
	sizes    []byte // the lines of chunk sizes
	ends     []byte // what stands behind each chunk's data, in brackets
	trailers []byte // like fields
}

func (p *parts) of(part string) []byte {
	switch part {
	case "line":
		return p.line
	case "target":
		return p.target()
	case "fields":
		return p.fields
	case "head":
		return append(bytes.Clone(p.line), p.fields...)
	case "sizes":
		return p.sizes
	case "ends":
		return p.ends
	default:
		return p.trailers
	}
}

func (p *parts) target() []byte {
	_, target, _ := bytes.Cut(bytes.TrimRight(p.line, "\r\n"), []byte(" "))
	if i := bytes.LastIndexByte(target, ' '); i >= 0 {
		target = target[:i]
	}
	return target
}

// values are those of a field, without regard to case.
func (p *parts) values(name string) (all []string) {
	for line := range bytes.Lines(p.fields) {
		n, value, ok := bytes.Cut(line, []byte(":"))
		if ok && strings.EqualFold(string(n), name) {
			all = append(all, string(bytes.Trim(value, " \t\r\n")))
		}
	}
	return all
}

// coded tells a chunked body as anybody might see it.
var coded = regexp.MustCompile(`(?i)(^|\n)transfer-encoding[^:\n]*:[^\n]*chunked`)

func dissect(b []byte) *parts {
	p := &parts{}
	p.line, b = cutLine(b)
	p.fields, b = cutLines(b)
	if !coded.Match(p.fields) {
		return p
	}
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		p.sizes = append(p.sizes, line...)
		digits := strings.TrimSpace(string(line))
		if i := strings.IndexAny(digits, "; \t"); i >= 0 {
			digits = digits[:i]
		}
		size, err := strconv.ParseUint(digits, 16, 63)
		if err != nil {
			return p
		}
		if size == 0 {
			p.trailers, _ = cutLines(b)
			return p
		}
		b = b[min(size, uint64(len(b))):]
		end := b[:min(2, len(b))]
		p.ends = append(append(append(p.ends, '['), end...), ']')
		b = b[len(end):]
	}
	return p
}

func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n') + 1
	if i == 0 {
		i = len(b)
	}
	return b[:i:i], b[i:]
}

// cutLines cuts up to and with an empty line.
func cutLines(b []byte) (all, rest []byte) {
	rest = b
	for len(rest) > 0 {
		var line []byte
		line, rest = cutLine(rest)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	n := len(b) - len(rest)
	return b[:n:n], rest
}
