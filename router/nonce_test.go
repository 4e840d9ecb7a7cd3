package router_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// step is one thing that happens, to a choice out of what is there.
type step struct{ what, whom, how int }

var steps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
	return step{rapid.IntRange(0, 9).Draw(t, "what"), rapid.IntRange(0, 1000).Draw(t, "whom"), rapid.IntRange(0, 1000).Draw(t, "how")}
}), 1, 80)

// W6, W7: whatever clients and workers do in whatever order, what a client gets
// was answered to its own request. Each request carries a nonce, and each answer
// says the nonce of the request that it is meant for.
func TestW7NoAnswerCrossesInAnyOrder(t *testing.T) {
	fronts(t, "", func(t *testing.T, front string) {
		rapid.Check(t, func(rt *rapid.T) {
			script := steps.Draw(rt, "steps")
			wrong := ""
			synctest.Test(t, func(t *testing.T) { wrong = play(t, front, script) })
			if wrong != "" {
				rt.Fatal(wrong)
			}
		})
	})
}

// actor is a worker, and the requests that it has had on its connection.
type actor struct {
	*worker
	rep  bool
	open []*request
	over []*request
}

// request is a request at an actor.
type request struct {
	call
	tag   []byte
	nonce string
	begun bool
}

// asked is a request as its client sees it.
type asked struct {
	*pending
	nonce string
	left  bool
}

// stage is a play going on.
type stage struct {
	w      *world
	actors []*actor
	asked  []*asked
}

func play(t *testing.T, front string, script []step) (wrong string) {
	t.Cleanup(func() { time.Sleep(patience) })
	g := &stage{w: newWorld(t, router.Config{}, front, nil)}
	for i := range 3 {
		g.actors = append(g.actors, g.enter(i))
	}
	for _, s := range script {
		g.w.settle()
		g.read()
		g.act(s)
	}
	for rounds := 0; g.unanswered(); rounds++ { // now everybody does what is right
		if rounds == 400 {
			return "some request is never answered, nor given up"
		}
		g.w.settle()
		g.read()
		for _, a := range g.actors {
			for len(a.open) > 0 {
				a.finish(0)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, q := range g.asked {
		if q.left || q.err != nil {
			continue
		}
		body, err := io.ReadAll(q.resp.Body)
		if q.resp.StatusCode != http.StatusOK {
			continue
		}
		if strings.ReplaceAll(string(body), q.nonce+";", "") != "" || err == nil && len(body) == 0 {
			return fmt.Sprintf("the request with the nonce %s got %q (%v)", q.nonce, body, err)
		}
	}
	g.w.settle()
	if table := g.w.r.Streams(); table.Open+table.Waiting > 0 {
		return fmt.Sprintf("the stream table is not empty at the end: %+v", table)
	}
	return ""
}

// enter makes the actor of a place: two native workers and a REP.
func (g *stage) enter(place int) *actor {
	if place == 2 {
		return &actor{worker: g.w.rep(zmtp.Options{}), rep: true}
	}
	return &actor{worker: g.w.join(fmt.Sprint("w", place), 4)}
}

// read takes what has come to the actors.
func (g *stage) read() {
	for _, a := range g.actors {
		for parts, ok := a.inbox.peek(); ok; parts, ok = a.inbox.peek() {
			if a.rep {
				a.open = append(a.open, &request{tag: parts[0], nonce: string(parts[3])})
				continue
			}
			f := parse(a.t, parts)
			switch {
			case f.Type == frame.Headers && f.Fields.Get(":path") != nil:
				a.open = append(a.open, &request{call: call{worker: a.worker, Frame: f}, nonce: string(f.Fields.Get("x-nonce"))})
			case f.Type == frame.RSTStream:
				for i, r := range a.open {
					if r.Stream == f.Stream {
						a.finish(i)
						break
					}
				}
			}
		}
	}
}

func (g *stage) unanswered() bool {
	for _, q := range g.asked {
		select {
		case <-q.done:
		default:
			return true
		}
	}
	for _, a := range g.actors {
		if len(a.open) > 0 {
			return true
		}
	}
	return g.w.r.Streams().Open > 0
}

func (g *stage) act(s step) {
	place := s.whom % len(g.actors)
	a := g.actors[place]
	switch {
	case s.what <= 2:
		nonce := fmt.Sprintf("n%d", len(g.asked))
		method := []string{"GET", "PUT", "POST"}[s.how%3]
		p := g.w.send(method, "/", strings.NewReader(nonce), func(r *http.Request) { r.Header.Set("X-Nonce", nonce) })
		g.asked = append(g.asked, &asked{pending: p, nonce: nonce})
	case s.what == 3 && len(g.asked) > 0:
		q := g.asked[s.whom%len(g.asked)]
		q.left = true
		q.leave()
	case s.what <= 5 && len(a.open) > 0:
		a.finish(s.how % len(a.open))
	case s.what == 6 && len(a.open) > 0 && !a.rep:
		a.open[s.how%len(a.open)].piece()
	case s.what == 7:
		g.late(a, s.how)
	case s.what == 8 && len(a.open) > 0 && !a.rep:
		i := s.how % len(a.open)
		r := a.open[i]
		r.reset([]frame.Code{http2.ErrCodeRefusedStream, http2.ErrCodeInternal}[s.how%2])
		a.open, a.over = append(a.open[:i:i], a.open[i+1:]...), append(a.over, r)
	case s.what == 9 && s.how%4 == 0: // it dies, and what it had had is known to the next on its place
		a.die()
		g.w.settle()
		next := g.enter(place)
		next.over = append(a.over, a.open...)
		g.actors[place] = next
	}
}

// piece sends a part of an answer.
func (r *request) piece() {
	if !r.begun {
		r.begun = true
		r.head(200)
	}
	r.data(r.nonce + ";")
}

// finish sends the rest of an answer.
func (a *actor) finish(i int) {
	r := a.open[i]
	a.open, a.over = append(a.open[:i:i], a.open[i+1:]...), append(a.over, r)
	switch {
	case a.rep:
		a.send(r.tag, nil, nil, []byte(r.nonce+";"))
	case r.begun:
		r.data(r.nonce + ";")
		r.end()
	default:
		r.answer(200, r.nonce+";")
	}
}

// late answers once more what is over, or another worker's: on a's connection.
func (g *stage) late(a *actor, how int) {
	old := a.over
	for _, other := range g.actors {
		if other != a {
			old = append(old[:len(old):len(old)], append(other.open, other.over...)...)
		}
	}
	if len(old) == 0 {
		return
	}
	r := old[how%len(old)]
	switch {
	case a.rep && r.tag != nil:
		a.send(r.tag, nil, nil, []byte("late "+r.nonce))
	case !a.rep && r.tag == nil:
		again := call{worker: a.worker, Frame: frame.Frame{Stream: r.Stream}}
		switch how % 3 {
		case 0:
			again.answer(200, "late "+r.nonce)
		case 1:
			again.head(200)
			again.data("late " + r.nonce)
			again.end()
		default:
			again.reset(http2.ErrCodeRefusedStream)
		}
	}
}
