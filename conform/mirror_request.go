package conform

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

func mirrorFields(s *scene) {
	s.worker(4)
	c := s.get("fields", "X-A: 1", "X-B: 2", "x-a: 3", "COOKIE: a=b", "X-Empty:")
	t := s.arrives(c)
	for name, want := range map[string][]string{"x-a": {"1", "3"}, "x-b": {"2"}, "cookie": {"a=b"}, "x-empty": {""}} {
		if got := valuesOf(t.fields, name); !slices.Equal(got, want) {
			failf("expected %s: %q; %q came", name, want, got)
		}
	}
	t.answer("200", "")
	c.wants(200)
}

func mirrorHops(s *scene) {
	s.worker(4)
	c := s.get("hops", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Proxy-Authorization: x", "TE: gzip, trailers", "X-End: 1")
	t := s.arrives(c)
	if v := valuesOf(t.fields, "x-hop"); v != nil {
		failf("the field x-hop: %q, which Connection names, concerns one hop", v)
	}
	if v := valuesOf(t.fields, "te"); v != nil && !slices.Equal(v, []string{"trailers"}) {
		failf("expected te: trailers or none; %q came", v)
	}
	if t.get("x-end") != "1" {
		failf("expected x-end: 1; the request is %s", describeFields(t.fields))
	}
	t.answer("200", "", "connection", "x-own", "x-own", "1", "keep-alive", "timeout=9", "proxy-connection", "x", "upgrade", "h2c", "te", "x", "x-end", "1")
	a := c.wants(200)
	for _, name := range []string{"x-own", "keep-alive", "proxy-connection", "upgrade", "te"} {
		if v := a.head.get(name); v != nil {
			failf("the client got %s: %q, which concerns the worker's hop", name, v)
		}
	}
	if got := a.head.get("x-end"); !slices.Equal(got, []string{"1"}) {
		failf("expected x-end: 1 for the client; %q came", got)
	}
}

func mirrorNotUTF8(s *scene) {
	s.worker(4)
	c := s.get("latin", "X-Latin: caf\xe9", "X-UTF8: caf\u00e9")
	t := s.arrives(c)
	if t.get("x-latin") != "caf\xe9" || t.get("x-utf8") != "caf\u00e9" {
		failf("expected the bytes of x-latin and x-utf8 as they were; %q and %q came", t.get("x-latin"), t.get("x-utf8"))
	}
	t.answer("200", "", "x-latin", "caf\xe9", "x-utf8", "caf\u00e9")
	a := c.wants(200)
	if !slices.Equal(a.head.get("x-latin"), []string{"caf\xe9"}) || !slices.Equal(a.head.get("x-utf8"), []string{"caf\u00e9"}) {
		failf("expected the bytes of x-latin and x-utf8 as they were; the client got %s", describeFields(a.head.fields))
	}
}

func mirrorNumbers(s *scene) {
	s.worker(8)
	for range 5 {
		var clients []*client
		for range 8 {
			clients = append(clients, s.get("number"))
		}
		for i := range clients {
			c := clients[len(clients)-1-i]
			s.arrives(c).answer("200", c.target)
			if a := c.wants(200); string(a.body) != c.target {
				failf("expected the answer %q; %q came", c.target, a.body)
			}
			c.leave()
		}
	}
}

func mirrorRequestTrailers(s *scene) {
	s.worker(4)
	c := s.client()
	c.ask("POST", "trailers", "5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Sum: 8\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: X-Sum")
	t := s.arrives(c)
	if body := t.awaitBody(); string(body) != "hello" {
		failf("expected the body hello; %q came", body)
	}
	if got := valuesOf(t.trailers, "x-sum"); !slices.Equal(got, []string{"7", "8"}) {
		failf("expected the trailers x-sum: 7 and 8; %q came", t.trailers)
	}
	t.answer("200", "")
	c.wants(200)
}

func same(what string, got, want []byte) {
	if sha256.Sum256(got) != sha256.Sum256(want) {
		failf("expected the %d bytes of %s; %d others came", len(want), what, len(got))
	}
}

func mirrorBody(n int) func(s *scene) {
	return func(s *scene) {
		s.worker(4)
		body := pattern(n, uint64(n))
		for _, declared := range []bool{true, false} {
			c := s.posts("body", body)
			t := s.arrives(c)
			same("the request's body", t.awaitBody(), body)
			if declared {
				t.head("200", "content-length", fmt.Sprint(n))
			} else {
				t.head("200")
			}
			t.write(body)
			t.end()
			same("the answer's body", c.wants(200).body, body)
			s.serves(c)
		}
	}
}

func mirrorChunked(s *scene) {
	s.worker(4)
	c := s.client()
	var text strings.Builder
	var want []byte
	for i := range 200 {
		p := pattern(1+i*37, uint64(i))
		fmt.Fprintf(&text, "%x\r\n%s\r\n", len(p), p)
		want = append(want, p...)
	}
	c.ask("POST", "chunked", text.String()+"0\r\n\r\n", "Transfer-Encoding: chunked")
	t := s.arrives(c)
	same("the request's body", t.awaitBody(), want)
	t.answer("200", "")
	c.wants(200)
	s.serves(c)
}
