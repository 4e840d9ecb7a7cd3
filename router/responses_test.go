package router_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// These are the rows of a worker's malformed responses, checked on the bytes
// that the client gets.

// said is one response as it stood on the wire.
type said struct {
	infos    []int // informational statuses before it
	status   int
	fields   []string // lines
	body     string
	trailers []string
	cut      bool // it ended before its end
}

// value is a field's; "": there is none.
func (a *said) value(name string) string {
	for _, line := range a.fields {
		if n, v, _ := strings.Cut(line, ": "); strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

var (
	statusLine = regexp.MustCompile(`^HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*$`)
	fieldLine  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[^\x00-\x08\x0a-\x1f\x7f]*$")
	chunkLine  = regexp.MustCompile(`^[0-9a-f]{1,8}$`)
)

// responses reads one response to each of these methods, as a client does that
// forgives nothing (RFC 9112). What follows them all is left over.
func responses(t *testing.T, got string, methods ...string) (all []said, over string) {
	t.Helper()
	line := func() (string, bool) {
		l, rest, ok := strings.Cut(got, "\r\n")
		got = rest
		return l, ok
	}
	lines := func() (all []string, ok bool) {
		for {
			l, ok := line()
			if !ok || l == "" {
				return all, ok
			}
			if !fieldLine.MatchString(l) {
				t.Errorf("%q is no field", l)
			}
			all = append(all, l)
		}
	}
	for _, method := range methods {
		var a said
		for a.status < 200 && got != "" {
			l, ok := line()
			m := statusLine.FindStringSubmatch(l)
			if !ok || m == nil {
				t.Fatalf("%q is no status line", l)
			}
			if a.status != 0 {
				a.infos = append(a.infos, a.status)
			}
			a.status, _ = strconv.Atoi(m[1])
			if a.fields, ok = lines(); !ok {
				t.Fatalf("the head ends after %q", a.fields)
			}
		}
		if a.status == 0 {
			return all, got
		}
		length, coding := a.value("Content-Length"), a.value("Transfer-Encoding")
		n := 0
		for _, line := range a.fields {
			if name, _, _ := strings.Cut(line, ":"); strings.EqualFold(name, "content-length") {
				n++
			}
		}
		if n > 1 || n > 0 && coding != "" {
			t.Errorf("%q say twice where the body ends", a.fields)
		}
		switch {
		case method == "HEAD", a.status == 204, a.status == 304:
		case coding == "chunked":
			for a.cut = true; a.cut; {
				l, ok := line()
				if !ok {
					break
				}
				if !chunkLine.MatchString(l) {
					t.Fatalf("%q is no chunk's size", l)
				}
				n, _ := strconv.ParseUint(l, 16, 32)
				if n == 0 {
					a.trailers, ok = lines()
					a.cut = !ok
					break
				}
				if len(got) < int(n)+2 {
					a.body, got = a.body+got, ""
					break
				}
				if got[n:n+2] != "\r\n" {
					t.Fatalf("a chunk of %d bytes ends in %q", n, got[n:n+2])
				}
				a.body, got = a.body+got[:n], got[n+2:]
			}
		case coding != "" || length == "":
			t.Fatalf("%q do not say where the body ends", a.fields)
		default:
			n, err := strconv.ParseUint(length, 10, 31)
			if err != nil {
				t.Fatalf("Content-Length: %q", length)
			}
			a.cut = len(got) < int(n)
			k := min(len(got), int(n))
			a.body, got = got[:k], got[k:]
		}
		all = append(all, a)
	}
	return all, got
}

// row is one of the table's: what a worker says, and what its client gets.
type row struct {
	name   string
	method string // "": GET
	native func(c *call)
	rep    func(j *task) // nil: a REP cannot say it
	status int
	body   string // of 200
	cut    bool   // it breaks off visibly
	check  func(t *testing.T, a *said)
}

// play tells a row from a native worker and from a REP. The client has sent a
// marker behind its request, whose answer must be its own.
func (row row) play(t *testing.T) {
	if row.method == "" {
		row.method = "GET"
	}
	t.Run(row.name+", native", func(t *testing.T) {
		row.behindBoth(t, func(w *world) (bad, marker func()) {
			k := w.join("w1", 1)
			var c *call
			bad = func() {
				c = k.request()
				row.native(c)
			}
			marker = func() {
				if len(w.r.Workers()) == 0 { // a message so large costs the connection
					k = w.join("w2", 1)
				} else if w.states()["cancelled"] == 1 {
					c.next()
					c.reset(http2.ErrCodeCancel)
				}
				next := k.next()
				for next.Type == frame.RSTStream && next.Stream == c.Stream { // it had ended the stream before it heard of this
					next = k.next()
				}
				n := &call{worker: k, Frame: next}
				if n.get(":path") != "/marker" {
					w.t.Fatalf("the worker got %v of %q, want the marker", next.Type, n.get(":path"))
				}
				n.answer(200, "marked")
			}
			return bad, marker
		})
	})
	if row.rep == nil {
		return
	}
	t.Run(row.name+", REP", func(t *testing.T) {
		row.behindBoth(t, func(w *world) (bad, marker func()) {
			k := w.rep(zmtp.Options{})
			return func() { row.rep(k.task()) }, func() {
				if len(w.r.Workers()) == 0 {
					k = w.rep(zmtp.Options{})
				}
				j := k.task()
				if path := pathOf(w.t, j); path != "/marker" {
					w.t.Fatalf("the REP got %s, want the marker", path)
				}
				j.reply("", "marked")
			}
		})
	})
}

const marker = "GET /marker HTTP/1.1\r\nHost: h\r\n\r\n"

func (row row) behindBoth(t *testing.T, worker func(w *world) (bad, marker func())) {
	t.Helper()
	story(t, router.Config{}, func(w *world) {
		t := w.t
		bad, good := worker(w)
		client := w.raw(row.method + " / HTTP/1.1\r\nHost: h\r\n\r\n" + marker)
		bad()
		got, closed := client.seen()
		if closed {
			again := w.raw(marker)
			good()
			more, _ := again.seen()
			if a, over := responses(t, more, "GET"); len(a) != 1 || a[0].body != "marked" || over != "" {
				t.Errorf("the next client got %q", more)
			}
		} else {
			good()
			more, _ := client.seen()
			got += more
		}
		all, over := responses(t, got, row.method, "GET")
		if len(all) == 0 || over != "" {
			t.Fatalf("the client got %q; over: %q", got, over)
		}
		a := &all[0]
		if a.status != row.status || a.cut != row.cut || a.status == 200 && a.body != row.body {
			t.Errorf("the client got %.300q; want %d %q, breaking off: %v", got, row.status, row.body, row.cut)
		}
		if a.cut && (!closed || len(all) > 1) {
			t.Errorf("the client got %q, closed: %v; want an end that shows", got, closed)
		}
		if !closed && (len(all) != 2 || all[1].status != 200 || all[1].body != "marked" || all[1].cut) {
			t.Errorf("the client got %q; want the marker's answer at the end", got)
		}
		if strings.Contains(strings.ToLower(got), "inject") {
			t.Errorf("what was injected came through: %q", got)
		}
		if row.check != nil {
			row.check(t, a)
		}
	})
}

// fieldsRow is a row about these fields of a response with a body of 6 bytes.
func fieldsRow(name string, status int, pairs ...string) row {
	return row{
		name: name, status: status, body: "hidden",
		native: func(c *call) { c.answer(200, "hidden", pairs...) },
		rep:    func(j *task) { j.reply(repHead(200, pairs...), "hidden") },
	}
}

func TestW1FieldsThatAreNone(t *testing.T) {
	for name, pair := range map[string][]string{
		"CR LF in a value": {"x", "a\r\ninjected: b"}, "LF": {"x", "a\ninjected: b"}, "CR": {"x", "a\rinjected: b"}, "NUL": {"x", "a\x00b"},
		"control": {"x", "a\x01b"}, "DEL": {"x", "a\x7fb"}, "space in a name": {"x a", "injected"}, "colon": {"x:", "injected"}, "CR LF in a name": {"x\r\ninjected: b\r\ny", "z"},
		"space behind a name": {"content-length ", "6"}, "tab in a name": {"x\ta", "injected"}, "NUL in a name": {"x\x00", "injected"},
		"no name": {"", "injected"}, "a name that is not ASCII": {"caf\xe9", "injected"}, "pseudo": {":status", "404"}, "late pseudo": {":path", "/"},
		"length -1": {"content-length", "-1"}, "length +2": {"content-length", "+2"}, "length of words": {"content-length", "two"}, "huge length": {"content-length", "99999999999999999999"},
		"length 0x6": {"content-length", "0x6"}, "length with a space": {"content-length", "6 "}, "empty length": {"content-length", ""},
		"two lengths": {"content-length", "6", "content-length", "7"}, "a list of lengths": {"content-length", "6, 6"},
		"Content-Length": {"Content-Length", "6", "content-length", "7"}, "CR LF in connection": {"connection", "close\r\ninjected: b"},
	} {
		fieldsRow(name, 502, pair...).play(t)
		row{name: name + ", in 103", status: 502, native: func(c *call) {
			c.head(103, pair...)
			c.answer(200, "hidden")
		}}.play(t)
	}
	fieldsRow("the same length twice", 200, "content-length", "6", "content-length", "6").play(t)
}

// Where the body ends is the router's to say: never twice.
func TestW1LengthAndCoding(t *testing.T) {
	for _, coding := range []string{"chunked", "Chunked", "gzip, chunked", "identity", "xchunked"} {
		fieldsRow("both, "+coding, 200, "content-length", "6", "transfer-encoding", coding).play(t)
		fieldsRow("other letters, "+coding, 200, "Transfer-Encoding", coding, "Content-Length", "6").play(t)
		fieldsRow("coding alone, "+coding, 200, "transfer-encoding", coding).play(t)
	}
	row{name: "both, in pieces", status: 200, body: "hidden", native: func(c *call) {
		c.head(200, "content-length", "6", "transfer-encoding", "chunked")
		c.w.settle()
		c.data("hid")
		c.w.settle()
		c.data("den")
		c.end()
	}}.play(t)
	row{name: "chunked that it is not", status: 200, body: "5\r\nhidde\r\n0\r\n\r\n", native: func(c *call) {
		c.head(200, "transfer-encoding", "chunked")
		c.w.settle()
		c.data("5\r\nhidde\r\n0\r\n\r\n") // bytes like any other
		c.end()
	}}.play(t)
}

func TestW1HopByHopFieldsStay(t *testing.T) {
	hop := slices.Concat(hopFields, []string{"proxy-authenticate", "Basic realm=x", "Proxy-Authenticate", "Digest"})
	r := fieldsRow("all of them", 200, hop...)
	r.check = func(t *testing.T, a *said) {
		for _, name := range hop {
			if v := a.value(name); v != "" && name != "x-stays" {
				t.Errorf("%s: %s came through", name, v)
			}
		}
		if a.value("x-stays") != "yes" {
			t.Error("x-stays did not come")
		}
	}
	r.play(t)
}

// many are n fields.
func many(n int) (pairs []string) {
	for i := range n {
		pairs = append(pairs, "x"+strconv.FormatInt(int64(i), 36), "")
	}
	return pairs
}

func TestW1HeadsThatAreTooLarge(t *testing.T) {
	fieldsRow("1,000 fields", 200, many(1000)...).play(t)
	fieldsRow("1,001 fields", 502, many(1001)...).play(t)
	fieldsRow("10,000 fields", 502, many(10_000)...).play(t)
	fieldsRow("10,000 of one name", 502, slices.Repeat([]string{"x", ""}, 10_000)...).play(t)
	fieldsRow("60 KiB in a value", 200, "x", strings.Repeat("x", 60<<10)).play(t)
	fieldsRow("64 KiB in a value", 502, "x", strings.Repeat("x", 64<<10)).play(t)
	large := fieldsRow("2 MiB in a value", 502, "x", strings.Repeat("x", 2<<20))
	large.method = "POST" // such a message costs the connection, and a GET would be sent again
	large.play(t)
	row{name: "10,000 fields in 103", status: 502, native: func(c *call) {
		c.head(103, many(10_000)...)
		c.answer(200, "hidden")
	}}.play(t)
}

func TestW1TrailersThatAreNone(t *testing.T) {
	for name, pairs := range map[string][]string{
		"a length": {"content-length", "9"}, "two lengths": {"content-length", "1", "Content-Length", "2"}, "a coding": {"transfer-encoding", "chunked"},
		"CR LF": {"x", "a\r\ninjected: b"}, "NUL": {"x", "a\x00b"}, "a space in a name": {"x a", "injected"}, "10,000": many(10_000),
		"hop by hop": {"connection", "close", "trailer", "x"}, "a cookie": {"set-cookie", "a=injected"},
	} {
		none := func(t *testing.T, a *said) {
			if len(a.trailers) > 0 {
				t.Errorf("trailers came: %.200q", a.trailers)
			}
		}
		row{name: name, status: 200, body: "hidden", check: none, native: func(c *call) {
			c.head(200)
			c.data("hidden")
			c.w.settle()
			c.trailers(pairs...)
		}}.play(t)
		row{name: name + ", with a length before", status: 200, body: "hidden", check: none, native: func(c *call) {
			c.head(200, "content-length", "6")
			c.data("hidden")
			c.trailers(pairs...)
		}}.play(t)
	}
}

func TestW2Statuses(t *testing.T) {
	for _, status := range []string{"0", "99", "099", "600", "999", "1000", "-10", "-1", "+20", "2e2", "", "abc", "20", " 200", "200 ", "200.0", "101"} {
		r := row{name: strconv.Quote(status), status: 502, native: func(c *call) {
			c.send(frame.AppendHeaders(nil, c.Stream, fields(":status", status), true, 0))
		}}
		if n, err := strconv.Atoi(status); err == nil && strconv.Itoa(n) == status {
			r.rep = func(j *task) { j.reply(repHead(n), "injected") }
		}
		r.play(t)
	}
	for _, status := range []int{201, 299, 418, 599} {
		row{
			name: strconv.Itoa(status), status: status,
			native: func(c *call) { c.answer(status, "") },
			rep:    func(j *task) { j.reply(repHead(status), "") },
		}.play(t)
	}
	row{name: "101 unasked, with bytes behind", status: 502, native: func(c *call) {
		c.head(101, "upgrade", "websocket", "connection", "upgrade")
		c.data("injected")
	}}.play(t)
}

func TestW3InformationalHeads(t *testing.T) {
	infos := func(want ...int) func(t *testing.T, a *said) {
		return func(t *testing.T, a *said) {
			if !slices.Equal(a.infos, want) {
				t.Errorf("informational heads %v, want %v", a.infos, want)
			}
		}
	}
	row{name: "103 passes", status: 200, check: infos(103, 103), native: func(c *call) {
		c.head(103, "link", "</a>")
		c.head(103, "link", "</b>")
		c.answer(200, "")
	}}.play(t)
	row{name: "100 unasked is passed over", status: 200, check: infos(), native: func(c *call) {
		c.head(100)
		c.answer(200, "")
	}}.play(t)
	row{name: "after the head", status: 200, cut: true, native: func(c *call) {
		c.head(200)
		c.w.settle()
		c.head(103)
	}}.play(t)
	row{name: "at the end", status: 502, native: func(c *call) {
		c.send(frame.AppendHeaders(nil, c.Stream, fields(":status", "103"), true, 0))
	}}.play(t)
	row{name: "with a payload", status: 502, native: func(c *call) {
		c.send(frame.AppendHeaders(nil, c.Stream, fields(":status", "103"), false, 0), []byte("injected"))
	}}.play(t)
	for _, status := range []int{102, 103} {
		row{name: fmt.Sprint("200 x ", status), status: 502, native: func(c *call) {
			for range 200 {
				c.head(status)
			}
		}, check: func(t *testing.T, a *said) {
			if len(a.infos) > 16 {
				t.Errorf("%d informational heads came", len(a.infos))
			}
		}}.play(t)
	}
	t.Run("not to HTTP/1.0", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 1)
			client := w.raw("GET / HTTP/1.0\r\n\r\n")
			c := k.request()
			c.head(103, "link", "</a>")
			c.answer(200, "x")
			got := client.all()
			want := map[string]string{netHTTP: "HTTP/1.0 200 OK\r\n", engine: "HTTP/1.1 200 OK\r\n"} // the highest that it knows (RFC 9110 section 6.2)
			if !strings.HasPrefix(got, want[w.front]) || strings.Contains(got, "103") {
				t.Errorf("the client got %q", got)
			}
		})
	})
}

func TestW4AnswersWithoutABody(t *testing.T) {
	for _, tc := range []struct {
		method string
		status int
		length string // as the client should see it
	}{{"HEAD", 200, "6"}, {"GET", 204, ""}, {"GET", 304, ""}, {"HEAD", 404, "6"}, {"HEAD", 304, ""}} {
		for how, send := range map[string]func(c *call){
			"one frame": func(c *call) { c.answer(tc.status, "inject", "content-length", "6") },
			"frames": func(c *call) {
				c.head(tc.status, "content-length", "6")
				c.data("inject")
				c.end()
			},
			"none": func(c *call) { c.answer(tc.status, "", "content-length", "6") },
			"chunked and trailers": func(c *call) {
				c.head(tc.status, "content-length", "6", "transfer-encoding", "chunked")
				c.data("inject")
				c.trailers("x-sum", "injected")
			},
		} {
			r := row{name: fmt.Sprintf("%s %d, %s", tc.method, tc.status, how), method: tc.method, status: tc.status, native: send, check: func(t *testing.T, a *said) {
				if a.value("Content-Length") != tc.length || a.value("Transfer-Encoding") != "" {
					t.Errorf("the client got %q", a.fields)
				}
			}}
			if how == "one frame" {
				r.rep = func(j *task) { j.reply(repHead(tc.status, "content-length", "6"), "inject") }
			}
			r.play(t)
		}
	}
	row{name: "205", status: 205, native: func(c *call) { c.answer(205, "inject", "content-length", "6") }}.play(t)
}

func TestW5LengthsThatLie(t *testing.T) {
	row{
		name: "more than declared, one frame", status: 200, body: "hidden ",
		native: func(c *call) { c.answer(200, "hidden injected", "content-length", "7") },
		rep:    func(j *task) { j.reply(repHead(200, "content-length", "7"), "hidden injected") },
	}.play(t)
	row{name: "more than declared, frames", status: 200, body: "hidden ", native: func(c *call) {
		c.head(200, "content-length", "7")
		c.data("hidden injected")
		c.w.settle()
		c.data("injected")
		c.end()
	}}.play(t)
	row{
		name: "a whole response behind it", status: 200, body: "hidden",
		native: func(c *call) {
			c.answer(200, "hiddenHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ninjected", "content-length", "6")
		},
		rep: func(j *task) {
			j.reply(repHead(200, "content-length", "6"), "hiddenHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ninjected")
		},
	}.play(t)
	short := func(t *testing.T, a *said) {
		if a.body != "short" {
			t.Errorf("of the body came %q", a.body)
		}
	}
	row{
		name: "less than declared, one frame", status: 200, body: "short", cut: true, check: short,
		native: func(c *call) { c.answer(200, "short", "content-length", "7") },
		rep:    func(j *task) { j.reply(repHead(200, "content-length", "7"), "short") },
	}.play(t)
	row{name: "less than declared, frames", status: 200, body: "short", cut: true, check: short, native: func(c *call) {
		c.head(200, "content-length", "7")
		c.data("short")
		c.w.settle()
		c.end()
	}}.play(t)
	row{
		name: "declared, and nothing comes", status: 200, cut: true,
		native: func(c *call) { c.answer(200, "", "content-length", "7") },
		rep:    func(j *task) { j.reply(repHead(200, "content-length", "7"), "") },
	}.play(t)
	row{name: "a stream that is reset", status: 200, body: "half", cut: true, native: func(c *call) { // what a chunk that is cut is elsewhere
		c.head(200)
		c.data("half")
		c.w.settle()
		c.reset(http2.ErrCodeInternal)
	}}.play(t)
	t.Run("over HTTP/2", func(t *testing.T) {
		story(t, router.Config{}, func(w *world) {
			k := w.join("w1", 1)
			p := w.get("/", over("HTTP/2"))
			k.request().answer(200, "short", "content-length", "7")
			if got := p.breaks(); got != "short" {
				t.Errorf("of the body came %q", got)
			}
		})
	})
}

// What a worker says wrongly is said once in the log.
func TestW5LengthsThatLieAreLogged(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		long := w.get("/")
		c := k.request()
		c.head(200, "content-length", "7")
		c.data("hidden injected")
		c.data("injected")
		c.end()
		long.wants(200, "hidden ")
		short := w.get("/")
		k.request().answer(200, "short", "content-length", "7")
		short.breaks()
		for _, line := range []string{"longer than its content-length", "shorter than its content-length"} {
			if n := strings.Count(w.log.String(), line); n != 1 {
				t.Errorf("%d lines say %q, want 1", n, line)
			}
		}
	})
}
