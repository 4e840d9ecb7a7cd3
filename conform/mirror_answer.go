package conform

import (
	"fmt"
	"slices"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

func mirrorAnswerFields(s *scene) {
	s.worker(4)
	c := s.get("fields")
	s.arrives(c).answer("200", "", "set-cookie", "a=1", "x-b", "2", "set-cookie", "c=3", "x-empty", "")
	a := c.wants(200)
	for name, want := range map[string][]string{"set-cookie": {"a=1", "c=3"}, "x-b": {"2"}, "x-empty": {""}} {
		if got := a.head.get(name); !slices.Equal(got, want) {
			failf("expected %s: %q for the client; %q came", name, want, got)
		}
	}
}

func mirrorFirstBytes(s *scene) {
	s.worker(4)
	c := s.client()
	c.ask("POST", "first", "first ", "Content-Length: 12")
	t := s.arrives(c)
	t.w.until("the first bytes of the request's body", func() bool { return len(t.body) >= 6 })
	t.w.send(frame.AppendHeaders(nil, t.id, fieldsOf([]string{":status", "200"}), false, 0), []byte("one "))
	t.sent = 4
	c.awaitBody(4)
	t.write([]byte("two"))
	c.awaitBody(7)
	c.write("second")
	if body := t.awaitBody(); string(body) != "first second" {
		failf("expected the body %q; %q came", "first second", body)
	}
	t.end()
	if a := c.wants(200); string(a.body) != "one two" {
		failf("expected the body %q; %q came", "one two", a.body)
	}
}

func mirrorStatus(s *scene) {
	s.worker(4)
	c := s.client()
	for _, status := range []int{200, 201, 299, 302, 404, 418, 500, 503, 599} {
		c.ask("GET", "status", "")
		s.arrives(c).answer(fmt.Sprint(status), "x")
		if c.wants(status); c.closes {
			c = s.client()
		}
	}
}

func mirrorNoBody(s *scene) {
	s.worker(4)
	c := s.client()
	for _, status := range []int{200, 204, 304} {
		method := "GET"
		if status == 200 {
			method = "HEAD"
		}
		c.ask(method, "none", "")
		s.arrives(c).answer(fmt.Sprint(status), "", "etag", `"1"`)
		c.wants(status)
		s.serves(c)
	}
}

func mirrorInformational(s *scene) {
	s.worker(4)
	c := s.get("hints")
	t := s.arrives(c)
	t.head("103", "link", "</a>")
	c.awaitInfo(1)
	t.head("103", "link", "</b>")
	t.answer("200", "done", "x-final", "1")
	a := c.wants(200)
	if len(a.infos) != 2 || a.infos[0].status != 103 || !slices.Equal(a.infos[0].get("link"), []string{"</a>"}) || !slices.Equal(a.infos[1].get("link"), []string{"</b>"}) {
		failf("expected two heads of status 103 with a link each; %+v came", a.infos)
	}
	if a.head.get("link") != nil {
		failf("the final head has the link of the informational ones")
	}
}

func mirrorTrailers(s *scene) {
	s.worker(4)
	c := s.get("trailers", "TE: trailers")
	t := s.arrives(c)
	t.head("200", "trailer", "x-sum")
	t.write([]byte("body"))
	t.ends("x-sum", "7", "x-sum", "8")
	a := c.wants(200)
	if got := valuesOf(a.trailers, "x-sum"); string(a.body) != "body" || !slices.Equal(got, []string{"7", "8"}) {
		failf("expected the body and the trailers x-sum: 7 and 8; %q and %q came", a.body, a.trailers)
	}
	s.serves(c)
}

func mirrorEarly(s *scene) {
	s.worker(4)
	for _, size := range []int{1000, 3_000_000} {
		c := s.client()
		c.ask("POST", "early", "a part", fmt.Sprintf("Content-Length: %d", size))
		t := s.arrives(c)
		t.answer("403", "early")
		if a := c.wants(403); string(a.body) != "early" {
			failf("expected the early answer; %q came", a.body)
		}
	}
	s.serves(nil)
}

func mirrorReset(s *scene) {
	s.worker(4)
	c := s.get("reset")
	s.arrives(c).rst(http2.ErrCodeInternal)
	c.wants(502)
	c = s.get("reset")
	t := s.arrives(c)
	t.head("200")
	t.write([]byte("a part"))
	c.awaitBody(6)
	t.rst(http2.ErrCodeInternal)
	c.breaks()
	s.serves(nil)
}
