package conform

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
)

// mirrorREPCases are those of SPEC.md's section on REP, seen by the worker.
var mirrorREPCases = []routerCase{
	{name: "rep/hello", checks: "ready as soon as it is connected", run: mirrorREPHello},
	{name: "rep/one-at-a-time", checks: "gets one request at a time, whole", run: mirrorREPOne},
	{name: "rep/fields", checks: "headers as a map of name to value or list of values, or as pairs", run: mirrorREPFields},
	{name: "rep/body/5000000", checks: "the body (at most 8 MiB)", run: mirrorREPBody},
	{name: "rep/upgrade", checks: "Upgrades, request trailers and larger bodies go to native workers only", run: mirrorUpgradeREP},
	{name: "rep/token", checks: "By PLAIN it gets a name and shows a token", run: mirrorREPToken},
	{name: "wrong/rep/other-replies", checks: "its envelope is the socket's own business", run: wrongREPOthers},
	{name: "wrong/rep/forms", checks: "form is a 502 for the client", run: wrongREPForms},
	{name: "wrong/rep/fields", checks: "form is a 502 for the client", run: wrongREPFields},
}

// errand is a request at a REP worker.
type errand struct {
	w          *actor
	tag        []byte
	head, body []byte
}

// rep connects a REP worker.
func (s *scene) rep() *actor {
	w := s.connect("REP", zmtp.Options{User: "conform-rep", Password: s.kit.Token})
	w.joined, w.serving = true, true
	for {
		c := s.get("ready")
		if s.until("a request at a REP worker", func() bool { return len(w.replies) > 0 || c.answered() }); len(w.replies) > 0 {
			w.errand().reply("", "")
			c.wants(200)
			return w
		}
		c.wants(503)
	}
}

func (w *actor) errand() *errand {
	w.until("a request", func() bool { return len(w.replies) > 0 })
	m := w.replies[0]
	w.replies = w.replies[1:]
	if len(m) != 4 || len(m[1]) != 0 {
		failf("expected a request of two parts in a REP socket's envelope; %d parts came", len(m))
	}
	return &errand{w: w, tag: m[0], head: m[2], body: m[3]}
}

func (e *errand) reply(head, body string) { e.w.send(e.tag, nil, []byte(head), []byte(body)) }

func mirrorREPHello(s *scene) {
	w := s.rep()
	c := s.get("hello?a=b", "X-A: 1", "X-Latin: caf\xe9")
	e := w.errand()
	for _, want := range []string{"\xa6method\xa3GET", "\xa6scheme\xa4http", "\xa9authority\xacconform.test", "?a=b", "\x92\xa3x-a\xa11", "\x92\xa7x-latin\xc4\x04caf\xe9"} {
		if !bytes.Contains(e.head, []byte(want)) {
			failf("expected %q in the request's map; it is %q", want, e.head)
		}
	}
	if len(e.body) > 0 {
		failf("expected no body; %d bytes came", len(e.body))
	}
	e.reply("", "hello")
	gets200("hello")(c)
}

func mirrorREPOne(s *scene) {
	w := s.rep()
	clients := []*client{s.get("one"), s.get("two"), s.get("three")}
	for range clients {
		if s.settles(100*time.Millisecond, func() bool { return len(w.replies) > 0 }); clients[1].answered() && clients[1].parse().head.status == 503 {
			skipf("the router lets no request wait for a worker")
		}
		e := w.errand()
		if s.settle(100 * time.Millisecond); len(w.replies) > 0 {
			failf("expected one request at a time; %d more came", len(w.replies))
		}
		path := ""
		for _, c := range clients {
			if bytes.Contains(e.head, []byte(c.target)) {
				path = c.target
			}
		}
		e.reply("", path)
	}
	for _, c := range clients {
		gets200(c.target)(c)
	}
}

func mirrorREPFields(s *scene) {
	w := s.rep()
	c := s.client()
	for _, head := range []string{
		"\x82\xa6status\xcc\xc9\xa7headers\x81\xa3x-a\x92\xa11\xa12",                // a map of lists
		"\x82\xa6status\xcc\xc9\xa7headers\x92\x92\xa3X-A\xa11\x92\xa3x-a\xc4\x012", // pairs, one value a bin
	} {
		c.ask("GET", "fields", "")
		w.errand().reply(head, "x")
		if a := c.wants(201); !slices.Equal(a.head.get("x-a"), []string{"1", "2"}) {
			failf("expected x-a: 1 and 2 for the client; it got %s", describeFields(a.head.fields))
		}
	}
	c.ask("GET", "fields", "")
	w.errand().reply("\x81\xa7headers\x81\xa3x-b\xa11", "x") // the status left out
	if a := c.wants(200); !slices.Equal(a.head.get("x-b"), []string{"1"}) {
		failf("expected x-b: 1 for the client; it got %s", describeFields(a.head.fields))
	}
}

func mirrorREPBody(s *scene) {
	w := s.rep()
	body := pattern(5_000_000, 11)
	c := s.posts("body", body)
	e := w.errand()
	same("the request's body", e.body, body)
	e.w.send(e.tag, nil, nil, body[1:])
	same("the answer's body", c.wants(200).body, body[1:])
}

func mirrorREPToken(s *scene) {
	if s.kit.Token == "" {
		skipf("no --token was given")
	}
	for _, o := range []zmtp.Options{{}, {User: "conform-rep", Password: s.kit.Token + "x"}} {
		w := s.connect("REP", o)
		s.worker(4)
		for range 6 {
			c := s.get("elsewhere")
			s.arrives(c).answer("200", "")
			c.wants(200)
		}
		if len(w.replies) > 0 {
			failf("a request for a REP worker without the token")
		}
	}
}

// wrongREPOthers has replies with tags that are not the request's: libzmq sends
// those of an earlier connection.
func wrongREPOthers(s *scene) {
	w := s.rep()
	c := s.get("first")
	old := w.errand()
	old.reply("", "first")
	gets200("first")(c)
	c.ask("GET", "second", "")
	e := w.errand()
	old.reply("", "injected")
	for i := range e.tag {
		tag := bytes.Clone(e.tag)
		tag[i] ^= 1
		w.send(tag, nil, nil, []byte("injected"))
	}
	w.send([]byte("short"), nil, nil, []byte("injected"))
	w.send(nil, nil, nil, []byte("injected"))
	e.reply("", "second")
	gets200("second")(c)
	e.reply("", "injected")
	c.ask("GET", "third", "")
	w.errand().reply("", "third")
	gets200("third")(c)
}

func wrongREPForms(s *scene) {
	w := s.rep()
	c := s.client()
	refused := func(send func(e *errand)) {
		c.ask("GET", "form", "")
		send(w.errand())
		c.wants(502)
		if c.closes {
			c = s.client()
		}
		c.ask("GET", "next", "")
		w.errand().reply("", "next")
		gets200("next")(c)
	}
	for _, head := range []string{
		"\xc1", "\xc0", "\x90", "200", "\x81\xa6status\xa3200", "\x81\xa6status\xff", "\x81\xa6status\xcb\x40\x69\x00\x00\x00\x00\x00\x00", "\x81\xa7headers\x01",
		"\x81\xa7headers\x81\xa1a\x01", "\x81\xa7headers\x91\x91\xa1a", "\x81\xa7headers\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff", "\x80\x80", strings.Repeat("\x91", 60000),
	} {
		refused(func(e *errand) { e.reply(head, "injected") })
	}
	for _, status := range []int{0, 99, 100, 101, 103, 199, 600, 999, 1000} {
		refused(func(e *errand) {
			e.reply("\x81\xa6status"+string([]byte{0xcd, byte(status >> 8), byte(status)}), "injected")
		})
	}
	refused(func(e *errand) { w.send(e.tag, nil) })
	refused(func(e *errand) { w.send(e.tag, nil, []byte("injected")) })
	refused(func(e *errand) { w.send(e.tag, nil, nil, []byte("injected"), []byte("injected")) })
}

func wrongREPFields(s *scene) {
	w := s.rep()
	c := s.client()
	for _, pair := range [][2]string{
		{"x", "a\r\ninjected: b"},
		{"x", "a\ninjected"},
		{"x", "injected\x00"},
		{"x a", "injected"},
		{"x\r\ninjected: b\r\ny", "z"},
		{"", "injected"},
		{":status", "404"},
		{"content-length", "-1"},
		{"content-length", "7, 7"},
		{"transfer-encoding", "chunked\r\ninjected: a"},
	} {
		c.ask("GET", "field", "")
		head := "\x81\xa7headers\x81" + short(pair[0]) + short(pair[1])
		w.errand().reply(head, "hidden")
		c.wants(502)
		if c.closes {
			c = s.client()
		}
	}
	c.ask("GET", "next", "")
	w.errand().reply("", "next")
	gets200("next")(c)
}

// short is a msgpack str of less than 32 bytes.
func short(s string) string { return string([]byte{0xa0 | byte(len(s))}) + s }
