package conform

import (
	"fmt"
	"time"

	"github.com/dialmux/dialmux/frame"
)

func mirrorRequestWindow(s *scene) {
	s.worker(4)
	body := pattern(1_000_000, 5)
	c := s.posts("window", body)
	t := s.arrives(c)
	t.frozen = true
	t.w.until("the first bytes of the request's body", func() bool { return len(t.body) > 0 })
	if s.settle(500 * time.Millisecond); t.ended { // more than the window would fail the case
		failf("1,000,000 bytes came into a window of 65,536")
	}
	s.serves(nil) // one stream that waits holds up no other
	for range 5 {
		t.credit(10_000)
		s.settle(100 * time.Millisecond) // likewise
	}
	t.frozen = false
	t.credit(frame.RequestWindow)
	same("the request's body", t.awaitBody(), body)
	t.answer("200", "")
	c.wants(200)
}

func mirrorRequestCost(s *scene) {
	s.worker(4)
	c := s.client()
	c.ask("POST", "cost", "", "Content-Length: 100")
	t := s.arrives(c)
	t.frozen = true
	body := pattern(100, 6)
	for i := range body {
		c.write(string(body[i : i+1]))
		s.settle(2 * time.Millisecond) // more than 64 payloads cost more than the window, and fail the case
	}
	s.settle(200 * time.Millisecond)
	t.frozen = false
	t.credit(frame.RequestWindow)
	same("the request's body", t.awaitBody(), body)
	t.answer("200", "")
	c.wants(200)
}

func mirrorResponseCost(s *scene) {
	s.worker(4)
	c := s.get("cost")
	t := s.arrives(c)
	body := pattern(1000, 7)
	t.head("200")
	for i := range body {
		t.write(body[i : i+1]) // 256 of them use the window up
	}
	t.end()
	same("the answer's body", c.wants(200).body, body)
}

func mirrorSlowClient(s *scene) {
	s.worker(4)
	c := s.deafClient()
	c.ask("GET", "slow", "")
	t := s.arrives(c)
	t.head("200")
	chunk := pattern(frame.MaxPayload, 8)
	for s.settles(300*time.Millisecond, func() bool { return t.window >= int64(len(chunk)) }) {
		t.data(chunk)
		if t.sent > 64<<20 {
			failf("the router takes in %d bytes, and gives credit, for a client that reads none", t.sent)
		}
	}
	s.serves(nil) // a slow client holds up its own stream and nothing else
	c.listen()
	t.write(chunk)
	t.end()
	if a := c.wants(200); uint64(len(a.body)) != t.sent {
		failf("expected %d bytes; %d came", t.sent, len(a.body))
	}
}

func mirrorExpect(opens func(t *task)) func(s *scene) {
	return func(s *scene) {
		s.worker(4)
		body := pattern(200_000, 12)
		c := s.client()
		c.ask("POST", "expect", "", "Expect: 100-continue", fmt.Sprintf("Content-Length: %d", len(body)))
		t := s.arrives(c)
		if !t.expects {
			skipf("the router answers expect: 100-continue itself")
		}
		t.frozen = true
		s.settle(200 * time.Millisecond)
		if got := c.peek(); got != "nothing" {
			failf("expected nothing for the client before the worker wants the body; it got %s", got)
		}
		opens(t)
		c.awaitInfo(1)
		if status := c.parse().infos[0].status; status != 100 {
			failf("expected status 100 for the client; it got %d", status)
		}
		c.write(string(body))
		t.w.until("the first bytes of the request's body", func() bool { return len(t.body) > 0 })
		s.settle(200 * time.Millisecond) // more than the window would fail the case
		t.frozen = false
		t.credit(frame.RequestWindow)
		same("the request's body", t.awaitBody(), body)
		t.answer("200", "thanks")
		c.wants(200)
		s.serves(c)
	}
}

func mirrorExpectRefused(s *scene) {
	s.worker(4)
	c := s.client()
	c.ask("POST", "expect", "", "Expect: 100-continue", "Content-Length: 5")
	t := s.arrives(c)
	if !t.expects {
		skipf("the router answers expect: 100-continue itself")
	}
	s.settle(200 * time.Millisecond) // a 100 in this time would be seen below
	t.answer("417", "no")
	if a := c.wants(417); len(a.infos) > 0 {
		failf("expected no status 100 before a refusal; %+v came", a.infos)
	}
	s.serves(nil)
}
