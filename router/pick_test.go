package router

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
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
	for _, n := range []int{1, 1000} {
		q := crowd(n, n)
		s := &stream{wake: make(chan struct{}, 1)}
		if got := testing.AllocsPerRun(1000, func() {
			p, err := q.acquire(s, false, 0)
			if err != nil {
				t.Fatal(err)
			}
			q.release(p, true)
		}); got != 0 {
			t.Errorf("%d workers: %v allocations a pick", n, got)
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

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d workers", n), func(b *testing.B) {
			q := crowd(n, n)
			s := &stream{wake: make(chan struct{}, 1)}
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
