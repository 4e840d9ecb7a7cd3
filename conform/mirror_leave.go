package conform

import (
	"bytes"
	"slices"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
)

func mirrorGoAway(s *scene) {
	a := s.worker(4)
	one, two := s.posts("one", []byte("1")), s.posts("two", []byte("2"))
	tasks := []*task{s.arrives(one), s.arrives(two)}
	clients := []*client{one, two}
	if tasks[0].id > tasks[1].id {
		slices.Reverse(tasks)
		slices.Reverse(clients)
	}
	b := s.worker(4)
	a.goAway(tasks[0].id)
	moved := s.arrives(clients[1])
	if moved.w != b {
		failf("expected the stream above the last taken at another worker; it came to %s again", moved.w.name)
	}
	if body := moved.awaitBody(); !bytes.Equal(body, tasks[1].awaitBody()) {
		failf("expected the whole body again; %q came", body)
	}
	moved.answer("200", "moved")
	clients[1].wants(200)
	tasks[1].over = true
	for range 5 {
		c := s.get("after")
		t := s.arrives(c)
		if t.w != b {
			failf("expected no new streams for a worker that sent GOAWAY")
		}
		t.answer("200", "")
		c.wants(200)
	}
	tasks[0].answer("200", "finished")
	if x := clients[0].wants(200); string(x.body) != "finished" {
		failf("expected the stream that the worker took to finish; %q came", x.body)
	}
}

func mirrorVanishGet(s *scene) {
	s.worker(4)
	s.worker(4)
	c := s.get("vanish")
	t := s.arrives(c)
	t.w.vanish()
	s.arrives(c).answer("200", "from the other")
	c.wants(200)
	s.serves(c)
}

func mirrorVanishPost(s *scene) {
	s.worker(4)
	s.worker(4)
	c := s.posts("vanish", []byte("once"))
	t := s.arrives(c)
	t.awaitBody()
	t.w.vanish()
	c.wants(502)
	s.serves(nil) // the request at the other worker would not have been answered
}

func mirrorVanishAmid(s *scene) {
	s.worker(4)
	s.worker(4)
	c := s.get("vanish")
	t := s.arrives(c)
	t.head("200")
	t.write([]byte("a part"))
	c.awaitBody(6)
	t.w.vanish()
	c.breaks()
	s.serves(nil)
}

func mirrorPing(s *scene) {
	w := s.connect("DEALER", zmtp.Options{Heartbeat: time.Second})
	w.awaitWelcome()
	w.join(4)
	s.ready(w)
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		if s.settle(time.Second); w.why != nil {
			failf("expected a PONG to each PING; the connection ended: %v", w.why)
		}
	}
	s.serves(nil)
}

func mirrorSilentWorker(s *scene) {
	s.worker(4)
	s.worker(4)
	c := s.get("silent")
	t := s.arrives(c)
	t.w.nc.dumb.Store(true) // as if its machine had gone
	t.w.serving = false
	s.untilWithin(12*time.Second, "the request at another worker", func() bool { return s.find(c.target) != nil })
	s.arrives(c).answer("200", "from the other")
	c.wants(200)
}

// untilWithin is until with more patience.
func (s *scene) untilWithin(patience time.Duration, waitingFor string, holds func() bool) {
	for giveUp := time.Now().Add(patience); !holds(); {
		s.stepWithin(time.Until(giveUp), waitingFor)
	}
}
