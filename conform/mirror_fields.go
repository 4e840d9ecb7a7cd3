package conform

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// wrongFields are fields that HTTP does not know.
func wrongFields() (cases []routerCase) {
	for _, f := range []struct{ what, name, value string }{
		{"crlf-in-a-value", "x", "a\r\ninjected: b"},
		{"lf-in-a-value", "x", "a\ninjected: b"},
		{"cr-in-a-value", "x", "a\rinjected: b"},
		{"head-in-a-value", "x", "a\r\n\r\ninjected"},
		{"nul-in-a-value", "x", "injected\x00b"},
		{"control-in-a-value", "x", "injected\x01b"},
		{"del-in-a-value", "x", "injected\x7f"},
		{"crlf-in-connection", "connection", "close\r\ninjected: b"},
		{"crlf-in-a-name", "x\r\ninjected: b\r\ny", "z"},
		{"space-in-a-name", "x a", "injected"},
		{"space-after-a-name", "x ", "injected"},
		{"colon-in-a-name", "x:a", "injected"},
		{"no-name", "", "injected"},
		{"not-ascii-name", "caf\xe9", "injected"},
		{"status-again", ":status", "404"},
		{"a-path", ":path", "/injected"},
	} {
		cases = append(cases, routerCase{name: "wrong/field/" + f.what, checks: whatHead, run: func(s *scene) {
			s.worker(4)
			s.goesWrong(http2.ErrCodeProtocol, func(_ *client, t *task) { t.answer("200", "hidden", f.name, f.value) }, gets502)
			s.goesWrong(http2.ErrCodeProtocol, func(_ *client, t *task) { t.head("200", "x-good", "1", f.name, f.value, "x-more", "1") }, gets502)
			s.goesWrong(anyCode, func(_ *client, t *task) { // may be passed without the field
				t.head("103", f.name, f.value)
				t.answer("200", "hidden")
			}, getsAtMost("hidden"))
			s.goesWrong(anyCode, func(c *client, t *task) { // trailers may be left out
				begins(c, t)
				t.ends(f.name, f.value)
			}, getsAtMost("x"))
		}})
	}
	for _, status := range []string{"0", "99", "099", "600", "999", "1000", "-1", "-10", "+20", "+200", "0200", "0xc8", "2e2", "20", "", "abc", " 200", "200 ", "200 OK", "200\r\ninjected: b", "101"} {
		cases = append(cases, wrong(fmt.Sprintf("status/%q", status), "one HEADERS with a final status", http2.ErrCodeProtocol,
			func(_ *client, t *task) { t.answer(status, "hidden") }, gets502),
			wrong(fmt.Sprintf("status/%q-without-end", status), "one HEADERS with a final status", http2.ErrCodeProtocol,
				func(_ *client, t *task) { t.head(status) }, gets502))
	}
	return cases
}

// wrongHeads are heads that lie about the body, or are about the worker's hop.
func wrongHeads() []routerCase {
	const protocol = http2.ErrCodeProtocol
	one := func(body string, pairs ...string) func(c *client, t *task) {
		return func(_ *client, t *task) { t.answer("200", body, pairs...) }
	}
	many := func(body string, pairs ...string) func(c *client, t *task) {
		return func(_ *client, t *task) {
			t.head("200", pairs...)
			for i := range len(body) {
				t.write([]byte(body[i : i+1]))
			}
			t.end()
		}
	}
	var cases []routerCase
	for _, value := range []string{"-1", "+6", "six", "", "6, 6", "6 6", "0x6", "6.0", "99999999999999999999"} {
		cases = append(cases, wrong(fmt.Sprintf("content-length/%q", value), whatHead, protocol, one("hidden", "content-length", value), gets502))
	}
	cases = append(cases,
		wrong("content-length/two", whatHead, protocol, one("hidden", "content-length", "6", "content-length", "7"), gets502),
		wrong("content-length/twice", whatHead, protocol, one("hidden", "content-length", "6", "content-length", "6"), getsAtMost("hidden")),
		wrong("content-length/two-cases", whatHead, protocol, one("hidden", "content-length", "6", "Content-Length", "7"), gets502),
		wrong("content-length/too-short", whatLength, protocol, one("seven..injected", "content-length", "7"), getsAtMost("seven..")),
		wrong("content-length/too-short-in-pieces", whatLength, protocol, many("seven..injected", "content-length", "7"), getsAtMost("seven..")),
		wrong("content-length/too-long", whatBreaks, protocol, one("short", "content-length", "7"), getsNoAnswer),
		wrong("content-length/too-long-in-pieces", whatBreaks, protocol, many("short", "content-length", "7"), getsNoAnswer),
		wrong("content-length/without-body", whatBreaks, protocol, one("", "content-length", "7"), getsNoAnswer),
		wrong("transfer-encoding", "do not send them", protocol, one("6\r\nhidden\r\n0\r\n\r\n", "transfer-encoding", "chunked"), getsAtMost("6\r\nhidden\r\n0\r\n\r\n")),
		wrong("transfer-encoding/and-length", "do not send them", protocol, one("hidden", "transfer-encoding", "chunked", "content-length", "6"), getsAtMost("hidden")),
		wrong("connection/names-the-length", "do not send them", protocol, many("hidden", "connection", "content-length", "content-length", "6"), getsAtMost("hidden")),
		wrong("trailers/content-length", whatHead, anyCode, endsWith("content-length", "9"), getsCleanTrailers),
		wrong("trailers/transfer-encoding", whatHead, anyCode, endsWith("transfer-encoding", "chunked"), getsCleanTrailers),
		wrong("trailers/connection", whatHead, anyCode, endsWith("connection", "x-sum", "host", "a", "set-cookie", "a=b"), getsCleanTrailers),
		routerCase{name: "wrong/many-fields", checks: whatGoesOn, run: wrongMany},
		routerCase{name: "wrong/body-where-none-is", checks: "An answer to HEAD, and one of status 204 or 304, has no body", run: wrongBody},
	)
	return cases
}

func endsWith(pairs ...string) func(c *client, t *task) {
	return func(c *client, t *task) {
		begins(c, t)
		t.ends(pairs...)
	}
}

// getsCleanTrailers wants none that change what came before them.
func getsCleanTrailers(c *client) {
	c.s.until("an answer for "+c.target, c.answered)
	a := c.parse()
	if len(a.trailers) > 0 {
		failf("the client got the trailers %s", describeFields(a.trailers))
	}
	getsAtMost("x")(c)
}

// wrongMany has heads as large as they may be: what the router does with them
// is its own, as long as it goes on.
func wrongMany(s *scene) {
	s.worker(4)
	for _, f := range [][]string{
		slicesOf(9000, "x", "y"),
		{"x-large", string(bytes.Repeat([]byte("y"), frame.MaxHead-200))},
	} {
		s.goesWrong(anyCode, func(_ *client, t *task) { t.answer("200", "hidden", f...) }, getsAtMost("hidden"))
	}
}

func slicesOf(n int, name, value string) (pairs []string) {
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("%s%c", name, 'a'+i%26), value)
	}
	return pairs
}

func wrongBody(s *scene) {
	s.worker(4)
	c := s.client()
	for _, status := range []int{200, 204, 304} {
		for _, pieces := range []bool{false, true} {
			method := "GET"
			if status == 200 {
				method = "HEAD"
			}
			c.ask(method, "none", "")
			t := s.arrives(c)
			if pieces {
				t.head(fmt.Sprint(status), "content-length", "8")
				t.write([]byte("inject"))
				t.write([]byte("ed"))
				t.end()
			} else {
				t.answer(fmt.Sprint(status), "injected", "content-length", "8")
			}
			if s.until("an answer for "+c.target, c.answered); c.parse().head.status != 502 {
				c.wants(status)
			}
			s.settle(0)
			if len(c.got) > 0 && c.parse().head.status != 502 {
				failf("expected no body; the client got %q", strings.ToValidUTF8(string(c.got), "?"))
			}
			if c.closed || c.closes {
				c = s.client()
				continue
			}
			s.serves(c)
		}
	}
}
