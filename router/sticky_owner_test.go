package router_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// strictly joins n workers with one slot each, and finds a key that the first owns.
func (w *world) strictly(n int, policy string) (all []*worker, key string) {
	w.t.Helper()
	for i := range n {
		k := w.native(fmt.Sprint("w", i))
		k.join(1, sticks(policy))
		w.settle()
		all = append(all, k)
	}
	for i := 0; ; i++ {
		key = fmt.Sprintf("/?user=%d", i)
		p := w.get(key)
		w.settle()
		for j, k := range all {
			if parts, ok := k.inbox.peek(); ok {
				(&call{worker: k, Frame: parse(w.t, parts)}).answer(200, "")
				p.wants(200, "")
				if j == 0 {
					return all, key
				}
			}
		}
	}
}

func TestStickyRequestsWaitForTheirOwner(t *testing.T) {
	story(t, router.Config{QueueLimit: 4}, func(w *world) {
		all, key := w.strictly(3, "query:user")
		first, second := w.get(key), w.get(key)
		busy := all[0].request()
		all[0].silent()
		third := w.get(key)
		w.settle()
		if table := w.r.Streams(); table.Waiting != 2 {
			t.Errorf("%d wait, want 2", table.Waiting)
		}
		w.send(http.MethodGet, key, nil).leave() // one that leaves is not asked for
		for _, k := range all[1:] {
			k.silent()
		}
		busy.answer(200, "1")
		all[0].request().answer(200, "2")
		all[0].request().answer(200, "3")
		for _, p := range []*pending{first, second, third} {
			p.wants(200, "")
		}
		all[0].silent()

		// Its queue is bounded, and it ends.
		begun := w.get(key)
		running := all[0].request()
		late := w.get(key)
		w.settle()
		late.wants(503, "no worker became ready in time")
		running.answer(200, "")
		begun.wants(200, "")
	})
}

func TestStickyRequestsMoveWithTheirKey(t *testing.T) {
	leaves := map[string]func(k *worker){
		"dies":   (*worker).die,
		"drains": func(k *worker) { k.goAway(frame.MaxNumber) },
		"announces another host": func(k *worker) {
			k.join(1, sticks("query:user"), func(info *frame.JoinInfo) { info.Hosts = []string{"other.example"} })
		},
		"has everybody take turns": func(k *worker) { k.join(1, sticks("off")) },
	}
	for name, leave := range leaves {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				all, key := w.strictly(2, "query:user")
				runs := w.get(key)
				running := all[0].request()
				waits := w.get(key)
				all[1].silent()
				leave(all[0])
				all[1].request().answer(200, "moved")
				if name == "dies" { // what ran there moves too
					all[1].request().answer(200, "moved")
				} else {
					running.answer(200, "")
				}
				runs.wants(200, "")
				waits.wants(200, "moved")
			})
		})
	}
}

// The policy that was announced last holds for those who wait already.
func TestStickyPolicyChangesForThoseWhoWait(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		all, key := w.strictly(2, "query:user")
		runs := w.get(key)
		running := all[0].request()
		waits := w.get(key)
		all[1].silent()
		third := w.native("w2")
		third.join(1, sticks("off"))
		all[1].request().answer(200, "whoever is free")
		waits.wants(200, "whoever is free")
		running.answer(200, "")
		runs.wants(200, "")
	})
}

// tryRequest is request if one is there.
func (k *worker) tryRequest() *call {
	k.w.settle()
	for {
		parts, ok := k.inbox.peek()
		if !ok {
			return nil
		}
		if f := parse(k.t, parts); f.Type == frame.Headers {
			return &call{worker: k, Frame: f}
		}
	}
}

// What waits for an owner goes to a nearer one that joins.
func TestStickyRequestsThatWaitFindANewOwner(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		all, key := w.strictly(2, "query:user")
		all[0].die()
		w.settle()
		running := w.get(key)
		busy := all[1].request()
		waits := w.get(key)
		all[1].silent()
		back := w.native("w0")
		back.instance = "after a restart"
		back.join(1, sticks("query:user"))
		back.request().answer(200, "back")
		waits.wants(200, "back")
		busy.answer(200, "")
		running.wants(200, "")
	})
}

// Those who came before any worker go to their owners, as soon as these are there, and
// those who wait for one stay there when others join.
func TestStickyRequestsThatCameBeforeTheirOwners(t *testing.T) {
	story(t, router.Config{QueueWait: time.Minute, Sticky: "query:user"}, func(w *world) {
		const keys = 40
		w.join("gone", 1).die() // which leaves its route behind
		path := func(i int) string { return fmt.Sprintf("/?user=%d", i) }
		var early []*pending
		for i := range keys {
			early = append(early, w.get(path(i)))
			w.settle()
		}
		var all []*worker
		for i := range 4 {
			all = append(all, w.join(fmt.Sprint("w", i), 1))
		}
		owner, asJoined := map[string]string{}, map[string]string{}
		serve := func() { // all that there is
			for served := true; served; {
				served = false
				for _, k := range all {
					c := k.tryRequest()
					if c == nil {
						continue
					}
					path := c.get(":path")
					switch had := owner[path]; {
					case asJoined[k.name] == "": // which was its own while nobody else was there
						asJoined[k.name] = path
					case had != "" && had != k.name:
						t.Errorf("%s was served by %s early, and then by %s", path, had, k.name)
					default:
						owner[path] = k.name
					}
					c.answer(200, "")
					served = true
				}
			}
		}
		serve()
		for i, p := range early {
			p.wants(200, "")
			late := w.get(path(i))
			w.settle()
			serve()
			late.wants(200, "")
		}
	})
}

func TestStickyBound(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := make([]*worker, 4)
		for i := range k {
			k[i] = w.native(fmt.Sprint("w", i))
			k[i].join(64, sticks("query:user; bound=1.25"))
		}
		w.settle()
		var all []*pending
		for range 40 { // one hot key
			all = append(all, w.get("/?user=hot"))
			w.settle()
		}
		var calls []*call
		var most int
		for _, k := range k {
			n := 0
			for c := k.tryRequest(); c != nil; c = k.tryRequest() {
				calls = append(calls, c)
				n++
			}
			most = max(most, n)
		}
		if want := 13; most != want || len(calls) != 40 { // 1.25 times 40/4, rounded up
			t.Errorf("of 40 requests at once, one of four workers got %d, want %d", most, want)
		}
		for _, c := range calls {
			c.answer(200, "")
		}
		for _, p := range all {
			p.wants(200, "")
		}
		// With nothing else to do, the owner is one.
		owner := ""
		for range 8 {
			w.settle() // its last request may not be over yet
			p := w.get("/?user=hot")
			w.settle()
			for _, k := range k {
				if c := k.tryRequest(); c != nil {
					c.answer(200, "")
				}
			}
			name := p.wants(200, "").Header.Get("Dialmux-Worker")
			if owner != "" && name != owner {
				t.Errorf("served by %s and by %s", owner, name)
			}
			owner = name
		}
	})
}

func TestStickyBoundPassesAFullOwner(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		all, key := w.strictly(2, "query:user; bound=100")
		first, second, third := w.get(key), w.get(key), w.get(key)
		w.settle()
		a, b := all[0].request(), all[1].request()
		if !third.waiting() {
			t.Error("the third was answered")
		}
		b.answer(200, "") // and whoever comes free takes who waits
		all[1].request().answer(200, "")
		a.answer(200, "")
		for _, p := range []*pending{first, second, third} {
			p.wants(200, "")
		}
	})
}

func TestStickyWait(t *testing.T) {
	story(t, router.Config{QueueWait: 10 * time.Second}, func(w *world) {
		all, key := w.strictly(3, "query:user; wait=2s")
		all[0].die()
		w.settle()
		first := w.get(key)
		time.Sleep(1900 * time.Millisecond)
		if !first.waiting() {
			t.Fatal("its key moved at once")
		}
		back := w.native("w0")
		back.instance = "after a restart"
		back.join(1, sticks("query:user; wait=2s"))
		back.request().answer(200, "back")
		first.wants(200, "back")

		back.die()
		w.settle()
		second := w.get(key)
		time.Sleep(1900 * time.Millisecond)
		for _, k := range all[1:] {
			k.silent()
		}
		time.Sleep(200 * time.Millisecond)
		for _, k := range all[1:] {
			if c := k.tryRequest(); c != nil {
				c.answer(200, "moved")
			}
		}
		second.wants(200, "moved")

		// Who leaves a route for good is not waited for there.
		third := w.get(key)
		w.settle()
		for _, k := range all[1:] {
			if c := k.tryRequest(); c != nil {
				c.answer(200, "at once")
			}
		}
		third.wants(200, "at once")
	})
}

// Who has left a route while it stays, and who is let go by the policy, is not waited for.
func TestStickyWaitIsForWhoMayComeBack(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		all, key := w.strictly(2, "query:user; wait=1m")
		all[0].join(1, sticks("query:user; wait=1m"), func(info *frame.JoinInfo) { info.Hosts = []string{"other.example"} })
		w.settle()
		p := w.get(key)
		all[1].request().answer(200, "at once")
		p.wants(200, "at once")
	})
}

// A worker that cannot answer passes its keys on, and gets them back.
func TestStickyPassesOverWhoRefusesOrFails(t *testing.T) {
	story(t, router.Config{MaxFailures: 1}, func(w *world) {
		all, key := w.strictly(2, "query:user")
		p := w.get(key)
		all[0].request().reset(http2.ErrCodeRefusedStream)
		all[1].request().answer(200, "next")
		p.wants(200, "next")
		time.Sleep(time.Second)
		p = w.get(key)
		c := all[0].request()
		waits := w.get(key)
		w.settle()
		c.reset(http2.ErrCodeInternal)
		p.wants(502, "")
		all[1].request().answer(200, "set aside")
		waits.wants(200, "set aside")
		time.Sleep(time.Minute)
		p = w.get(key)
		all[0].request().answer(200, "back")
		p.wants(200, "back")
	})
}

// A worker that comes back before its old connection is known to be dead is
// called by its name, and owns its keys, as soon as that is so.
func TestStickyKeysFollowTheNameAfterANamesakeHasGone(t *testing.T) {
	story(t, router.Config{Sticky: "query:user"}, func(w *world) {
		old := w.serving("a")
		w.serving("b")
		v := w.visitor()
		before := v.owners(300)
		w.serving("a", func(info *frame.JoinInfo) { info.Instance = "after a restart" })
		if slices.Equal(v.owners(300), before) {
			t.Error("the second of one name owns nothing")
		}
		old.goAway(0) // or it drains
		w.settle()
		if !slices.Equal(v.owners(300), before) {
			t.Error("after the old one left, the new one has other keys")
		}
	})
}

// REP workers own keys too; what only native workers can do goes to the next of these.
func TestStickyREPs(t *testing.T) {
	story(t, router.Config{Sticky: "query:user"}, func(w *world) {
		k := w.rep(zmtp.Options{User: "rep"})
		native := w.serving("native")
		v := w.visitor()
		var key string
		for i := 0; key == ""; i++ {
			path := fmt.Sprintf("/?user=%d", i)
			p := w.get(path)
			w.settle()
			if p.waiting() {
				key = path
				k.task().reply("", "")
			}
			p.wants(200, "")
		}
		running := w.get(key)
		j := k.task()
		waiting := w.get(key)
		w.settle()
		if got := v.ask(key, with("Connection", "Upgrade"), with("Upgrade", "websocket")); got != native.name {
			t.Errorf("an upgrade was served by %s", got)
		}
		j.reply("", "first")
		running.wants(200, "first")
		k.task().reply("", "second")
		waiting.wants(200, "second")
	})
}

func TestS2R7StickyEmptyRingIs503(t *testing.T) {
	story(t, router.Config{Sticky: "ip"}, func(w *world) {
		w.get("/").wants(503, "no worker became ready in time")
		k := w.join("a", 1)
		k.die()
		w.settle()
		w.get("/").wants(503, "no worker became ready in time")
	})
}

// Who waits for an owner that refuses goes to the next at once, as those do that come then.
func TestStickyRefusalMovesThoseWhoWait(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		all, key := w.strictly(2, "query:user")
		first := w.get(key)
		refused := all[0].request()
		var more []*pending
		for range 5 {
			more = append(more, w.get(key))
		}
		all[1].silent()
		refused.reset(http2.ErrCodeRefusedStream)
		for range 6 {
			all[1].request().answer(200, "next")
		}
		for _, p := range append(more, first) {
			p.wants(200, "next")
		}
	})
}

// Announcing the same again, over the same connection or a new one, moves nobody.
func TestStickyAnnouncingAgainMovesNobody(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		all, key := w.strictly(2, "query:user")
		first := w.get(key)
		running := all[0].request()
		second := w.get(key)
		w.settle()
		all[0].join(1, sticks("query:user"))
		all[1].silent()
		running.answer(200, "")
		first.wants(200, "")
		all[0].request()
		third := w.get(key)
		w.settle()
		again := w.native("w0") // its old connection is not known to be dead
		again.join(1, sticks("query:user"))
		all[1].silent()
		for range 2 { // what ran on the old one, too
			again.request().answer(200, "again")
		}
		second.wants(200, "again")
		third.wants(200, "again")
	})
}

// Two of one name keep their numbers, and so their keys, when one of them announces itself again.
func TestStickyNamesakesKeepTheirKeys(t *testing.T) {
	story(t, router.Config{Sticky: "query:user"}, func(w *world) {
		a := w.serving("a")
		w.serving("a", func(info *frame.JoinInfo) { info.Instance = "another" })
		v := w.visitor()
		before := v.owners(60)
		a.join(64)
		w.settle()
		if !slices.Equal(v.owners(60), before) {
			t.Error("they have exchanged keys")
		}
		w.serving("a") // a has a new connection
		if !slices.Equal(v.owners(60), before) {
			t.Error("they have exchanged keys when one had a new connection")
		}
	})
}

// Who leaves in order, or must, is not waited for.
func TestStickyWaitIsNotForWhoLeavesInOrder(t *testing.T) {
	story(t, router.Config{Grants: []router.Grant{{Token: "t"}}}, func(w *world) {
		token := func(info *frame.JoinInfo) { info.Token = "t"; info.Sticky = "query:user; wait=1m" }
		a, b := w.native("a"), w.native("b")
		for _, k := range []*worker{a, b} {
			k.join(1, token)
		}
		w.settle()
		key := ""
		for i := 0; key == ""; i++ {
			path := fmt.Sprintf("/?user=%d", i)
			p := w.get(path)
			w.settle()
			if c := a.tryRequest(); c != nil {
				key = path
				c.answer(200, "")
			} else {
				b.request().answer(200, "")
			}
			p.wants(200, "")
		}
		a.goAway(frame.MaxNumber)
		w.settle()
		a.die()
		w.settle()
		p := w.get(key)
		b.request().answer(200, "at once")
		p.wants(200, "at once")
	})
}

// One owner's requests do not take all the room.
func TestStickyOneOwnerCannotFillTheRoom(t *testing.T) {
	story(t, router.Config{QueueLimit: 8}, func(w *world) {
		all, key := w.strictly(2, "query:user")
		other := ""
		for i := 0; other == ""; i++ {
			path := fmt.Sprintf("/?user=x%d", i)
			p := w.get(path)
			w.settle()
			if c := all[1].tryRequest(); c != nil {
				other = path
				c.answer(200, "")
			} else {
				all[0].request().answer(200, "")
			}
			p.wants(200, "")
		}
		runs := []*pending{w.get(key), w.get(other)}
		calls := []*call{all[0].request(), all[1].request()}
		full := 0
		for range 8 {
			p := w.get(key)
			if !p.waiting() {
				p.wants(503, "too many")
				full++
				continue
			}
			runs = append(runs, p)
		}
		if full != 4 {
			t.Errorf("%d of 8 found no room at one owner, want 4", full)
		}
		waits := w.get(other)
		if !waits.waiting() {
			t.Error("at the other owner there is no room either")
		}
		calls[1].answer(200, "")
		all[1].request().answer(200, "")
		waits.wants(200, "")
		calls[0].answer(200, "")
		for range 4 {
			all[0].request().answer(200, "")
		}
		for _, p := range runs {
			p.wants(200, "")
		}
	})
}
