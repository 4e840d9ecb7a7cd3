package router

import "math/bits"

// Balance is how a worker is chosen among those that are ready.
type Balance string

const (
	// RoundRobin takes one after the other, each for as many turns as its weight.
	RoundRobin Balance = "round-robin"
	// Least takes the one with the fewest requests against its weight; equals in turn.
	Least Balance = "least"
)

// turns is the seats of ready workers at a route: in order of their load, and
// there in order of their turn. By round robin all have the same load.
// Each step costs the same with one and with a thousand.
type turns struct {
	lists []list[seat, *seat] // by load
	used  []uint64            // a bit for each list that is not empty

	resting list[seat, *seat] // of fresh workers, whose turn it is not yet
}

const (
	maxWeight = 100
	loadUnit  = 16 // of a request at weight 1; heavier ones count in fewer steps
	resting   = -1 // instead of a load
)

// load is what a worker's requests count.
func load(b Balance, busy, weight int) int {
	if b != Least {
		return 0
	}
	return busy * loadUnit / weight
}

func (r *turns) head() *seat {
	for i, word := range r.used {
		if word != 0 {
			return r.lists[64*i+bits.TrailingZeros64(word)].head
		}
	}
	return nil
}

// add puts s behind those of its load, or before them.
func (r *turns) add(s *seat, load int, front bool) {
	for len(r.lists) <= load {
		r.lists = append(r.lists, list[seat, *seat]{})
	}
	for len(r.used) <= load/64 {
		r.used = append(r.used, 0)
	}
	s.load = load
	r.used[load/64] |= 1 << (load % 64)
	if front {
		r.lists[load].pushFront(s)
	} else {
		r.lists[load].pushBack(s)
	}
}

func (r *turns) all() (seats []*seat) {
	for i := range r.lists {
		for s := r.lists[i].head; s != nil; s = s.after {
			seats = append(seats, s)
		}
	}
	return seats
}

func (r *turns) remove(s *seat) {
	if s.load == resting {
		r.resting.remove(s)
		return
	}
	l := &r.lists[s.load]
	if l.remove(s); l.head == nil {
		r.used[s.load/64] &^= 1 << (s.load % 64)
	}
}
