package conform

import (
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

func mirrorConcurrency(s *scene) {
	s.worker(3)
	s.takesAtMost(3)
}

func mirrorCancelBefore(s *scene) {
	s.worker(4)
	for _, c := range []*client{s.get("leave"), s.posts("leave", []byte("whole"))} {
		t := s.arrives(c)
		c.leave()
		t.awaitReset(http2.ErrCodeCancel)
		t.rst(http2.ErrCodeCancel)
	}
	s.serves(nil)
}

func mirrorCancelDuring(s *scene) {
	s.worker(4)
	c := s.get("leave")
	t := s.arrives(c)
	t.head("200")
	t.write([]byte("a part"))
	c.awaitBody(6)
	c.leave()
	t.awaitReset(http2.ErrCodeCancel)
	t.rst(http2.ErrCodeCancel)

	c = s.client()
	c.ask("POST", "leave", "a part", "Content-Length: 1000")
	t = s.arrives(c)
	t.w.until("a part of the request's body", func() bool { return len(t.body) >= 6 })
	c.leave()
	t.awaitReset(http2.ErrCodeCancel)
	t.rst(http2.ErrCodeCancel)
	s.serves(nil)
}

func mirrorCancelSlot(s *scene) {
	s.worker(1)
	c := s.get("leave")
	t := s.arrives(c)
	c.leave()
	t.awaitReset(http2.ErrCodeCancel)
	c = s.get("after")
	s.settle(300 * time.Millisecond) // the worker's only slot is taken: a request would fail the case
	t.answer("200", "late")
	s.waited(c).answer("200", "after")
	if a := c.wants(200); string(a.body) != "after" {
		failf("expected the second client's answer; %q came", a.body)
	}
}

func mirrorRefused(s *scene) {
	s.worker(4)
	s.worker(4)
	for _, c := range []*client{s.get("refused"), s.posts("refused", []byte("a body"))} {
		t := s.arrives(c)
		t.rst(http2.ErrCodeRefusedStream)
		again := s.arrives(c)
		if again.w == t.w {
			failf("expected the request at another worker; it came to %s again", t.w.name)
		}
		if string(again.awaitBody()) != string(t.body) {
			failf("expected the whole body again; %q came", again.body)
		}
		again.answer("200", "")
		c.wants(200)
		s.settle(150 * time.Millisecond) // a router may pass the worker over for a while
	}
}

func mirrorDeadStreams(s *scene) {
	w := s.worker(4)
	c := s.get("dead")
	old := s.arrives(c)
	old.answer("200", "whole")
	c.wants(200)
	running := s.get("running")
	t := s.arrives(running)
	for _, id := range []uint64{old.id, 3, t.id + 1000} {
		w.send(frame.AppendWindowUpdate(nil, id, 4096))
		w.send(frame.AppendHeaders(nil, id, fieldsOf([]string{":status", "200"}), true, 4), []byte("late"))
		w.send(frame.AppendData(nil, id, false, 0), []byte("late"))
		w.send(frame.AppendRSTStream(nil, id, cancelCode, ""))
	}
	t.answer("200", "its own")
	if a := running.wants(200); string(a.body) != "its own" {
		failf("expected the stream's own answer; %q came", a.body)
	}
	s.stays(w)
}
