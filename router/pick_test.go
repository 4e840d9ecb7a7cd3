package router

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/ring"
)

// everything is what a worker serves that announces nothing.
var everything = []place{{}}

// crowd is a pool of n workers with one slot each; all but ready of them are
// busy.
func crowd(n, ready int) *pool {
	q := newPool(&Config{QueueLimit: DefaultQueueLimit, QueueWait: time.Second, Forget: time.Hour})
	for i := range n {
		p := &peer{conn: new(zmtp.Conn)}
		q.add(p)
		q.join(p, frame.JoinInfo{Name: fmt.Sprint("w", i), Instance: fmt.Sprint(i), Concurrency: 1}, everything)
		if i >= ready {
			p.busy++
			q.unring(p)
		}
	}
	return q
}

func TestAPickAllocatesNothing(t *testing.T) {
	for _, policy := range []string{"off", "ip", "ip; bound=1.25; wait=1s", "header:X-User", "cookie:sid", "query:user", "path:2"} {
		for _, n := range []int{1, 1000} {
			q := crowd(n, n)
			q.stick(q.routes.only, policy)
			s := someone(q, 1)
			if got := testing.AllocsPerRun(1000, func() {
				s.key = stickyKey{}
				p, err := q.acquire(s, false, 0)
				if err != nil {
					t.Fatal(err)
				}
				q.release(p, true)
			}); got != 0 {
				t.Errorf("%s, %d workers: %v allocations a pick", policy, n, got)
			}
		}
	}
}

// Busy workers are not in the ring, so that nobody has to look past them: a
// pick looks at the head, whatever stands around.
func TestBusyWorkersAreNotInTheRing(t *testing.T) {
	q := crowd(1000, 1)
	for range 10 {
		steps := 0
		for s := q.routes.only.ready[native].head(); s != nil; s = s.after {
			steps++
		}
		if steps != 1 {
			t.Fatalf("the ring has %d workers, 1 is ready", steps)
		}
		p := q.turn(q.routes.only, anyWorker)
		if p == nil || q.routes.only.ready[native].head() != nil {
			t.Fatal("the one ready worker was not picked, or stays in the ring")
		}
		q.release(p, true)
	}
}

// By turns and by key, from the request to the worker.
func BenchmarkPick(b *testing.B) {
	for _, policy := range []string{"off", "ip", "header:X-User", "cookie:sid", "query:user", "path:2", "ip; bound=1.25", "cookie:seat; issue"} {
		for _, n := range []int{1, 16, 1000} {
			b.Run(fmt.Sprintf("%s/%d workers", policy, n), func(b *testing.B) {
				q := crowd(n, n)
				q.stick(q.routes.only, policy)
				streams := make([]*stream, 64)
				for i := range streams {
					streams[i] = someone(q, i)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					s := streams[i%len(streams)]
					s.key = stickyKey{}
					p, err := q.acquire(s, false, 0)
					if err != nil {
						b.Fatal(err)
					}
					q.release(p, true)
				}
			})
		}
	}
}

// someone is a stream whose keys are all its own.
func someone(q *pool, i int) *stream {
	s := &stream{wake: make(chan struct{}, 1)}
	f := &s.request.fields
	f.Add(":method", "GET")
	f.Add(":scheme", "https")
	f.Add(":authority", "shop.example.com")
	f.Add(":path", fmt.Sprintf("/users/%d/orders?page=2&user=%d", i, i))
	f.Add("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	f.Add("accept", "*/*")
	f.Add("accept-language", "en")
	seat, _ := q.keeper.cookies.issue("seat", true)
	f.Add("cookie", fmt.Sprintf("theme=dark; sid=0123456789abcdef%d; seat=%s", i, seat))
	f.Add("x-user", fmt.Sprint("user-", i))
	f.Add("x-forwarded-for", fmt.Sprintf("203.0.113.%d", i))
	f.Add("x-forwarded-proto", "https")
	return s
}

// Where there are many workers, the owners of keys that come again are remembered; these never do.
func BenchmarkPickNewKeys(b *testing.B) {
	for _, n := range []int{16, 63, 64, 1000} {
		b.Run(fmt.Sprintf("%d workers", n), func(b *testing.B) {
			q := crowd(n, n)
			q.stick(q.routes.only, "ip")
			s := someone(q, 1)
			b.ReportAllocs()
			for b.Loop() {
				s.key = stickyKey{by: q.routes.only.sticky, hash: s.key.hash + 0x9e3779b97f4a7c15}
				p, err := q.acquire(s, false, 0)
				if err != nil {
					b.Fatal(err)
				}
				q.release(p, true)
			}
		})
	}
}

// One key that everybody asks for passes through all owners that have too much.
func BenchmarkPickHotKey(b *testing.B) {
	for _, n := range []int{16, 1000} {
		b.Run(fmt.Sprintf("%d workers", n), func(b *testing.B) {
			q := crowd(n, n)
			for p := range q.peers {
				p.slots = 64
			}
			q.stick(q.routes.only, "path; bound=1.25")
			s := someone(q, 1)
			for range 8*n + n/2 {
				if _, err := q.acquire(s, false, 0); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				p, err := q.acquire(s, false, 0)
				if err != nil {
					b.Fatal(err)
				}
				q.release(p, true)
			}
		})
	}
}

// Owners follow from names alone: not from the order in which workers join, nor from
// how often others have come and gone.
func TestS2R4TwoRoutersNameTheSameOwners(t *testing.T) {
	const workers, keys = 100, 10_000
	key := func(i int) uint64 { return ring.Hash(fmt.Sprint("user-", i)) }
	one, other := crowd(workers, workers), crowd(0, 0)
	for i := range 3 * workers {
		p := &peer{conn: new(zmtp.Conn)}
		other.add(p)
		i = (7*i + 10) % (3 * workers)
		if _, err := other.join(p, frame.JoinInfo{Name: fmt.Sprint("w", i), Concurrency: 1}, everything); err != nil {
			t.Fatal(err)
		}
		for i := range 100 { // the way there must not show
			other.routes.only.roster.closest(key(i))
		}
		if i >= workers {
			other.remove(p)
		}
	}
	a, b := &one.routes.only.roster, &other.routes.only.roster
	for range 2 { // found, and remembered
		for i := range keys {
			want := a.seats[ring.Nearest(a.sites, key(i))].label
			if x, y := a.seats[a.closest(key(i))].label, b.seats[b.closest(key(i))].label; x != want || y != want {
				t.Fatalf("key %d is %s's, %s's at one router, and %s's at the other", i, want, x, y)
			}
		}
	}
}

// A slot that comes free in the very moment in which the wait is over is
// either used or not taken.
func TestASlotThatComesAtTheLastMoment(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			q := crowd(1, 0)
			var worker *peer
			for worker = range q.peers {
			}
			s := &stream{wake: make(chan struct{}, 1)}
			var p *peer
			var err error
			var waiting sync.WaitGroup
			waiting.Go(func() { p, err = q.acquire(s, false, time.Second) })
			synctest.Wait()
			q.mu.Lock()
			time.Sleep(time.Second) // the timer has fired, and acquire waits for the lock
			worker.busy--
			q.offer(worker)
			q.mu.Unlock()
			waiting.Wait()
			if (p != nil) != (err == nil) || (p != nil) != (worker.busy == 1) || q.waiting != 0 {
				t.Errorf("acquire: %v, %v; %d slots are taken, %d wait", p != nil, err, worker.busy, q.waiting)
			}
		})
	}
}

// Those who wait for an owner that leaves are sorted in among those who wait for the other. With a look at all of these for each of
// them, sixteen times as many take some six hundred times as long.
func TestAnOwnerThatLeavesHoldsNobodyUp(t *testing.T) {
	few, many := leaves(t, 4_000), leaves(t, 64_000)
	for range 4 { // the quickest of five: the machine does other things too
		few = min(few, leaves(t, 4_000))
	}
	for range 2 {
		if many > 200*few {
			many = min(many, leaves(t, 64_000))
		}
	}
	if many > 200*few {
		t.Errorf("4,000 of them take %v, 64,000 take %v", few, many)
	}
}

// leaves tells how long it takes that one of two owners leaves, for whom half of so many wait.
func leaves(t *testing.T, waiting int) time.Duration {
	t.Helper()
	q := crowd(2, 0)
	q.sticky = "header:X-User"
	at := q.routes.only
	q.mu.Lock()
	q.stick(at, "")
	for i := range waiting {
		s := &stream{wake: make(chan struct{}, 1)}
		s.request.fields.Add("x-user", fmt.Sprint(i))
		q.ticket++
		s.ticket, s.at = q.ticket, at
		if q.pick(s) != nil {
			t.Fatal("a busy worker was picked")
		}
		q.enter(s, nil)
	}
	leaver, heir := at.roster.seats[0].p, at.roster.seats[1]
	q.mu.Unlock()
	began := time.Now()
	q.remove(leaver)
	took := time.Since(began)
	n, last := 0, uint64(0)
	for s := heir.room[anyWorker].head; s != nil; s = s.after {
		if n++; s.ticket < last {
			t.Fatal("they do not wait in the order in which they came")
		}
		last = s.ticket
	}
	if n != waiting {
		t.Errorf("%d wait for the other, want all", n)
	}
	return took
}
