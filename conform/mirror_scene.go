package conform

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dialmux/dialmux/frame"
)

// scene is what one case plays on. All of it belongs to the case's goroutine;
// the goroutines that read post events to it.
type scene struct {
	ctx     context.Context
	kit     *RouterKit
	path    string // what the path of its requests begins with
	asked   int    // requests made
	actors  []*actor
	clients []*client
	events  chan event
	done    chan struct{}
	readers sync.WaitGroup
}

// event is what a reader has to say: of a worker's connection, or a client's.
type event struct {
	w     *actor
	m     received
	c     *client
	bytes []byte
	ended error // the connection has, for this reason
}

func (k *RouterKit) newScene(ctx context.Context) *scene {
	k.scenes++
	return &scene{
		ctx: ctx, kit: k, path: fmt.Sprintf("/%s-%d/", k.id, k.scenes),
		events: make(chan event, 1<<12), done: make(chan struct{}),
	}
}

// post hands an event to the case, if it still listens.
func (s *scene) post(e event) {
	select {
	case s.events <- e:
	case <-s.done:
	}
}

// end closes what the case left open and waits until the router has let go of
// it: the next case's requests go to no worker of this one.
func (s *scene) end() {
	close(s.done)
	for _, c := range s.clients {
		_ = c.nc.Close()
	}
	for _, w := range s.actors {
		w.conn.CloseAfterFlush(s.kit.patience)
	}
	s.readers.Wait()
}

// step takes one event, and fails the case if none comes in time.
func (s *scene) step(waitingFor string) { s.stepWithin(s.kit.patience, waitingFor) }

func (s *scene) stepWithin(patience time.Duration, waitingFor string) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case e := <-s.events:
		s.take(e)
	case <-timer.C:
		failf("expected %s; nothing came for %v", waitingFor, patience)
	}
}

// until takes events until the condition holds.
func (s *scene) until(waitingFor string, holds func() bool) {
	for !holds() {
		s.step(waitingFor)
	}
}

// settle takes events until none has come for so long.
func (s *scene) settle(quiet time.Duration) { s.settles(quiet, func() bool { return false }) }

// settles is settle, but for the condition, which it returns.
func (s *scene) settles(quiet time.Duration, holds func() bool) bool {
	for !holds() {
		select {
		case e := <-s.events:
			s.take(e)
		case <-time.After(quiet):
			return false
		}
	}
	return true
}

func (s *scene) take(e event) {
	switch {
	case e.w != nil && e.ended != nil:
		e.w.why = e.ended
		s.kit.transcript.say(e.w.name + " -- the connection has ended: " + e.ended.Error())
	case e.w != nil:
		e.w.take(e.m)
	case e.ended != nil:
		e.c.closed = true
		s.kit.transcript.say("client -> the connection has ended")
	default:
		if bytes.Contains(e.bytes, []byte("injected")) {
			failf("what a worker injected came through: the client got %.300q", e.bytes)
		}
		e.c.got = append(e.c.got, e.bytes...)
		s.kit.transcript.say(fmt.Sprintf("client -> %d bytes: %.200q", len(e.bytes), e.bytes))
	}
}

// worker is a worker that has joined and is known to get requests.
func (s *scene) worker(concurrency uint64) *actor {
	w := s.dial()
	w.awaitWelcome()
	w.join(concurrency)
	s.ready(w)
	return w
}

// ready waits until w gets requests. Others that come to workers before are
// held, so that a router of any policy reaches w in the end.
func (s *scene) ready(w *actor) {
	var held []*task
	var clients []*client
	giveUp := time.Now().Add(s.kit.patience)
	for reached := false; !reached; {
		c := s.get("ready")
		s.until("a request for a worker that has joined", func() bool { return s.find(c.target) != nil || c.answered() })
		t := s.find(c.target)
		if t != nil {
			reached = t.w == w
			held, clients = append(held, s.arrives(c)), append(clients, c)
			if len(held) > 4096 {
				failf("expected a request for %s, which has joined; the other workers got all of %d", w.name, len(held))
			}
			continue
		}
		c.wants(503) // by a router that lets no request wait
		if time.Now().After(giveUp) {
			failf("expected a request for a worker that has joined; clients get 503")
		}
		s.settle(20 * time.Millisecond)
	}
	for i, t := range held {
		t.answer("204", "")
		clients[i].wants(204)
		clients[i].leave()
	}
}

// find looks for a request that has come to any worker.
func (s *scene) find(target string) *task {
	for _, w := range s.actors {
		for _, t := range w.fresh {
			if t.path() == target {
				return t
			}
		}
	}
	return nil
}

// arrives waits until a client's request has come to any worker.
func (s *scene) arrives(c *client) *task {
	s.until("the request for "+c.target+" at a worker", func() bool {
		if s.find(c.target) == nil && c.answered() {
			failf("expected the request for %s at a worker; the client got %s", c.target, c.peek())
		}
		return s.find(c.target) != nil
	})
	t := s.find(c.target)
	t.w.forget(t)
	return t
}

// waited is arrives, for a request that had to wait for a worker.
func (s *scene) waited(c *client) *task {
	s.until("the request for "+c.target+" at a worker", func() bool { return s.find(c.target) != nil || c.answered() })
	if s.find(c.target) == nil && c.parse().head.status == 503 {
		skipf("the router lets no request wait for a worker")
	}
	return s.arrives(c)
}

// serves checks that a request goes round, over this client's connection if it
// is still open: nothing is left over there. Workers that are gone are made up
// for.
func (s *scene) serves(c *client) {
	alive := false
	for _, w := range s.actors {
		alive = alive || w.why == nil && w.serving
	}
	if !alive {
		s.worker(4)
	}
	if c == nil || c.closed || c.closes {
		c = s.client()
	}
	c.ask("GET", "next", "")
	s.arrives(c).answer("200", "the next answer", "content-length", fmt.Sprint(len("the next answer")))
	if a := c.wants(200); string(a.body) != "the next answer" {
		failf("expected the next request to get its own answer; it got %q", a.body)
	}
}

// stays checks that w still has its connection, and gets requests over it.
func (s *scene) stays(w *actor) {
	for range 64 {
		c := s.get("stays")
		w.until("that its connection goes on, and a request", func() bool { return s.find(c.target) != nil })
		t := s.arrives(c)
		t.answer("200", "")
		if c.wants(200); t.w == w {
			return
		}
	}
	failf("expected a request for %s, which did nothing wrong; the other workers got 64", w.name)
}

// describeFields writes a list of name, value, name, value.
func describeFields(fields []string) string {
	var b strings.Builder
	for i := 0; i+1 < len(fields); i += 2 {
		fmt.Fprintf(&b, "%s: %q; ", fields[i], fields[i+1])
	}
	return b.String()
}

func fieldsOf(pairs []string) (f frame.Fields) {
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

func valuesOf(fields []string, name string) (values []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == name {
			values = append(values, fields[i+1])
		}
	}
	return values
}
