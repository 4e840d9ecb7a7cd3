package router

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// reception is a pool amid a random history of workers and requests.
type reception struct {
	q       *pool
	workers []*peer
	waiting []*stream
	running []visit
	n       int // requests so far
	slept   bool
}

type visit struct {
	s *stream
	p *peer
}

// collect takes note of who has got a worker.
func (r *reception) collect() {
	r.waiting = slices.DeleteFunc(r.waiting, func(s *stream) bool {
		if s.granted == nil {
			return false
		}
		r.served(s, s.granted)
		s.granted = nil
		return true
	})
}

// served takes note that p has s, and checks that it is p's.
func (r *reception) served(s *stream, p *peer) {
	r.running = append(r.running, visit{s, p})
	by := s.at.sticky
	if by == nil || by.Bound > 0 || s.key.none || r.slept { // while it slept much may have changed
		return
	}
	o := s.at.roster.nearest(s.key.hash, func(o *seat) bool { return o.p == p || o.p != nil && o.owns(s.only, time.Now()) })
	if o == nil || o.p != p {
		panic(fmt.Sprintf("%s has a request whose key is %s's", p.label, o.label))
	}
}

// ask is the beginning of acquire.
func (r *reception) ask() {
	r.n++
	s := someone(r.q, r.n%7)
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	r.q.ticket++
	s.ticket = r.q.ticket
	r.q.locate(s)
	if p := r.q.pick(s); p != nil {
		r.served(s, p)
		return
	}
	r.q.enter(s, nil)
	r.waiting = append(r.waiting, s)
}

// look is what acquire does when a wait for an owner is over.
func (r *reception) look() {
	for _, s := range slices.Clone(r.waiting) {
		r.q.mu.Lock()
		r.q.dismiss(s)
		r.q.mu.Unlock()
	}
}

func (r *reception) check() {
	q := r.q
	q.mu.Lock()
	defer q.mu.Unlock()
	away, now := 0, time.Now()
	for _, at := range []*route{q.routes.get("", ""), q.routes.get("", "/users")} {
		if at == nil {
			continue
		}
		busy, weight, gone, aside := 0, 0, 0, 0
		for _, p := range r.workers {
			if p.aside && slices.ContainsFunc(p.seats, func(s seat) bool { return s.at == at }) {
				aside++
			}
		}
		if at.aside != aside {
			panic(fmt.Sprintf("%d aside are counted; %d are there", at.aside, aside))
		}
		for i, s := range at.roster.seats {
			switch {
			case s.p == nil:
				gone++
			case !s.p.joined || s.p.draining || s.p.gone:
				panic(fmt.Sprintf("%s is in the roster, and is not there", s.label))
			default:
				busy += s.p.busy
				weight += s.p.weight
			}
			if i > 0 && at.roster.seats[i-1].label >= s.label {
				panic(fmt.Sprintf("%s stands before %s", at.roster.seats[i-1].label, s.label))
			}
		}
		if at.roster.busy != busy || at.roster.weight != weight || at.roster.away != gone {
			panic(fmt.Sprintf("busy %d, weight %d, away %d are counted; %d, %d, %d are there", at.roster.busy, at.roster.weight, at.roster.away, busy, weight, gone))
		}
		away += gone
	}
	if q.away != away || q.waiting != len(r.waiting) {
		panic(fmt.Sprintf("away %d and waiting %d are counted; %d and %d are there", q.away, q.waiting, away, len(r.waiting)))
	}
	for _, s := range r.waiting {
		if s.owner != nil && s.owner.p != nil && s.owner.p.free() {
			panic(fmt.Sprintf("one waits for %s, which is free", s.owner.label))
		}
		if s.owner != nil && s.owner.p == nil && now.After(s.owner.until) {
			panic(fmt.Sprintf("one waits for %s, which is given up", s.owner.label))
		}
		found := false
		s.at.each(func(o *stream) { found = found || o == s })
		if !found && s.at != q.nowhere {
			panic("one waits at no seat of its route")
		}
		by := s.at.sticky
		if by == nil || by.Bound > 0 || s.key.none {
			continue
		}
		if s.key.by != by {
			panic("one waits by a policy that is none any more")
		}
		o := s.at.roster.nearest(s.key.hash, func(o *seat) bool { return o.p != nil && o.owns(s.only, now) })
		switch {
		case o == nil:
		case s.owner == nil:
			panic(fmt.Sprintf("one waits for anybody, and %s owns its key", o.label))
		case o.distance(s.key.hash) < s.owner.distance(s.key.hash):
			panic(fmt.Sprintf("one waits for %s, and %s owns its key", s.owner.label, o.label))
		}
	}
}

// Whatever comes and goes: what is counted is there, nobody waits for who is free
// or does not own its key, and all are served in the end.
func TestStickyWhateverComesAndGoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := dice(rapid.SliceOfN(rapid.IntRange(0, 10_000), 200, 500).Draw(rt, "dice"))
		var wrong any
		synctest.Test(t, func(*testing.T) {
			defer func() { wrong = recover() }()
			d.receive()
		})
		if wrong != nil {
			rt.Fatal(wrong)
		}
	})
}

// dice is what a history is made of.
type dice []int

func (d *dice) roll(n int) int {
	if len(*d) == 0 {
		return 0
	}
	i := (*d)[0] % n
	*d = (*d)[1:]
	return i
}

var stickyPolicies = []string{"", "off", "header:X-User", "header:X-User; wait=2s", "header:X-User; bound=1.25", "header:X-None; fallback=round-robin", "path:2; wait=1s; bound=1.5"}

func (d *dice) receive() {
	r := &reception{q: newPool(&Config{
		QueueLimit: 1000, QueueWait: time.Hour, Forget: time.Hour, MaxFailures: 2, Sticky: stickyPolicies[d.roll(len(stickyPolicies))], SlowStart: time.Duration(d.roll(2)) * time.Second,
	})}
	nameOf := func(p *peer) int {
		name := -1
		_, _ = fmt.Sscanf(p.info.Name, "w%d", &name)
		return name
	}
	end := func(p *peer) { // its streams go with it
		r.q.remove(p)
		r.workers = slices.DeleteFunc(r.workers, func(o *peer) bool { return o == p })
		r.running = slices.DeleteFunc(r.running, func(v visit) bool { return v.p == p })
	}
	join := func(p *peer, name int, instance string) {
		if name < 0 {
			return
		}
		info := frame.JoinInfo{
			Name: fmt.Sprint("w", name), Instance: instance, Weight: uint64(1 + d.roll(3)), Concurrency: uint64(1 + d.roll(2)),
			Sticky: stickyPolicies[d.roll(len(stickyPolicies))],
		}
		at := [][]place{{{}}, {{}, {path: "/users"}}, {{path: "/users"}}}[d.roll(3)]
		if old, err := r.q.join(p, info, at); err != nil {
			panic(err)
		} else if old != nil {
			end(old)
		}
	}
	over := func(how func(v visit)) {
		if len(r.running) > 0 {
			i := d.roll(len(r.running))
			v := r.running[i]
			r.running = slices.Delete(r.running, i, i+1)
			how(v)
		}
	}
	some := func(do func(p *peer)) {
		if len(r.workers) > 0 {
			do(r.workers[d.roll(len(r.workers))])
		}
	}
	newcomer := func() *peer {
		p := &peer{conn: new(zmtp.Conn), r: &Router{log: slog.New(slog.DiscardHandler)}, rep: d.roll(2) * d.roll(2)}
		r.q.add(p)
		return p
	}
	deeds := []func(){
		r.ask, r.ask, r.ask, r.ask,
		func() {
			p := newcomer()
			r.workers = append(r.workers, p)
			instance := fmt.Sprint("i", len(*d))
			if d.roll(4) == 0 {
				instance = ""
			}
			join(p, d.roll(5), instance)
		},
		func() { some(func(p *peer) { join(p, nameOf(p), p.info.Instance) }) },
		func() { some(func(p *peer) { join(p, d.roll(5), p.info.Instance) }) },
		func() { // it dials again before its old connection is known to be dead
			some(func(old *peer) {
				p := newcomer()
				r.workers = append(r.workers, p)
				join(p, nameOf(old), old.info.Instance)
			})
		},
		func() { some(func(p *peer) { r.q.park(p, "its token is not what it was", false) }) },
		func() { some(end) },
		func() { some(func(p *peer) { r.q.drain(p) }) },
		func() { over(func(v visit) { r.q.release(v.p, true) }) },
		func() { over(func(v visit) { r.q.release(v.p, true) }) },
		func() { over(func(v visit) { r.q.release(v.p, false); r.q.failed(v.p) }) },
		func() { over(func(v visit) { r.q.refused(v.p, false) }) },
		func() { over(func(v visit) { r.q.unpick(v.p, v.s.at) }) },
		func() { time.Sleep(700 * time.Millisecond); r.slept = true; r.look() },
	}
	for len(*d) > 0 {
		deeds[d.roll(len(deeds))]()
		synctest.Wait()
		r.collect()
		r.check()
		r.slept = false
	}

	for len(r.workers) > 0 {
		end(r.workers[0])
		r.collect()
	}
	if len(r.q.names) > 0 {
		panic(fmt.Sprintf("%d names are kept, and nobody is there", len(r.q.names)))
	}
	p := &peer{conn: new(zmtp.Conn), r: &Router{log: slog.New(slog.DiscardHandler)}}
	r.q.add(p)
	r.workers = []*peer{p}
	if _, err := r.q.join(p, frame.JoinInfo{Name: "last", Concurrency: 1}, []place{{}, {path: "/users"}}); err != nil {
		panic(err)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	r.look()
	for r.collect(); len(r.waiting)+len(r.running) > 0; r.collect() {
		if len(r.running) == 0 {
			panic(fmt.Sprintf("%d wait for ever", len(r.waiting)))
		}
		r.q.release(r.running[0].p, true)
		r.running = r.running[1:]
	}
	end(p)
}

// With nobody who waits for them, seats of workers that have gone are given up by who comes next: each
// pick would look at all of them.
func TestSeatsThatNobodyWaitsForAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := crowd(3, 3)
		q.mu.Lock()
		q.sticky = "header:X-User; wait=2s"
		q.stick(q.routes.only, "")
		q.mu.Unlock()
		for p := range q.peers {
			if p.info.Name != "w0" {
				q.remove(p)
			}
		}
		time.Sleep(3 * time.Second)
		p, err := q.acquire(someone(q, 1), false, 0)
		if err != nil || p.info.Name != "w0" {
			t.Fatal(err)
		}
		if n := len(q.routes.only.roster.seats); n != 1 || q.away != 0 {
			t.Errorf("%d seats, %d of them away; want that of the worker that is there", n, q.away)
		}
	})
}
