package supervise

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func died(up time.Duration) *instance {
	in := &instance{up: make(chan struct{}), err: errors.New("exit status 1")}
	if up > 0 {
		in.since = time.Now().Add(-up)
		close(in.up)
	}
	return in
}

// The pause before a start doubles from 100 ms to 10 s, of which a half is by chance, and begins anew after a steady run.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slot{log: slog.New(slog.DiscardHandler), rolls: make(chan chan rolled)}
		check := func(up, most time.Duration) {
			t.Helper()
			s.current = died(up)
			begin := time.Now()
			if _, on := s.rest(t.Context()); !on {
				t.Error("there is to be no other start")
			}
			if took := time.Since(begin); took < most/2 || took > most {
				t.Errorf("it took %v, want between %v and %v", took, most/2, most)
			}
		}
		for _, most := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
			check(0, most*time.Millisecond)
		}
		check(9*time.Second, 10*time.Second)
		check(10*time.Second, 100*time.Millisecond)
		check(time.Second, 200*time.Millisecond)

		ended, end := context.WithCancel(t.Context())
		end()
		if _, on := s.rest(ended); on {
			t.Error("it would start once more after the end")
		}
		done := make(chan rolled, 1)
		go func() { s.rolls <- done }()
		begin := time.Now()
		if asked, on := s.rest(t.Context()); time.Since(begin) != 0 || asked != done || !on {
			t.Error("a replacement waits for the pause")
		}
	})
}

// The next one is replaced when nothing is left of the one before: never are two fewer, nor two more.
func TestARollGoesOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Group{Config: Config{N: 3}}
		for range g.N {
			g.slots = append(g.slots, &slot{rolls: make(chan chan rolled)})
		}
		ended := make(chan int)
		go func() {
			n, err := g.rollOnce(t.Context())
			if err != nil {
				t.Error(err)
			}
			ended <- n
		}()
		for i, s := range g.slots {
			old := &instance{done: make(chan struct{})}
			(<-s.rolls) <- rolled{old: old}
			synctest.Wait()
			for _, next := range g.slots[i+1:] {
				select {
				case <-next.rolls:
					t.Fatal("one is replaced while the one before it ends")
				default:
				}
			}
			select {
			case <-ended:
				t.Fatal("it is over before the last one has ended")
			default:
			}
			close(old.done)
		}
		if n := <-ended; n != 3 {
			t.Errorf("%d were replaced", n)
		}
	})
}
