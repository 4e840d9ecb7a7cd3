package ring

import (
	"cmp"
	"slices"
)

// spreading is a table of Uniform that is being filled: first the first
// owners, then the others, each time as keep and fill say.
type spreading struct {
	*Table
	filled []int    // how many owners each partition has by now
	has    []int    // how many replicas each member has
	even   int      // how many it may have,
	more   int      // and how many members may have one more
	open   []uint32 // members, in their order: all that have room are among them
	best   [][]near // the nearest members of each partition, made when they are asked for
	queue  []wish   // a heap
}

// wish is a partition for a member.
type wish struct {
	near
	partition uint32
}

func (a wish) compare(b wish) int {
	return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.partition, b.partition), cmp.Compare(a.site, b.site))
}

// spread fills t, starting from the table before.
func (t *Table) spread(was *Table) {
	s := &spreading{Table: t, filled: make([]int, len(t.keys)), has: make([]int, len(t.members)), best: make([][]near, len(t.keys))}
	if t.width == 0 {
		return
	}
	old := t.translate(was)
	for _, width := range []int{1, t.width} { // of one, the second time finds nothing to do
		all := len(t.keys) * width
		s.even, s.more = all/len(s.has), all%len(s.has)
		s.keep(old, was.width, width)
		s.fill(width)
	}
	s.arrange(old, was.width)
}

// nobody stands for a member that has gone.
const nobody = ^uint32(0)

// translate says in t's numbers who owned what before.
func (t *Table) translate(was *Table) []uint32 {
	number := make([]uint32, len(was.members))
	for i, m := range was.members {
		number[i] = nobody
		if at, ok := slices.BinarySearchFunc(t.members, m.Name, func(m Member, name string) int { return cmp.Compare(m.Name, name) }); ok {
			number[i] = uint32(at)
		}
	}
	old := make([]uint32, len(was.owners))
	for i, m := range was.owners {
		old[i] = number[m]
	}
	return old
}

// keep leaves partitions with who had them, as far as there is room: first
// with their first owners, then with the second, and so on, so that a replica
// moves up before a stranger comes. Who must let go lets go of the farthest.
func (s *spreading) keep(old []uint32, replicas, width int) {
	for replica := range replicas {
		had := s.queue[:0]
		for p, key := range s.keys {
			m := old[p*replicas+replica]
			if m != nobody && s.filled[p] < width && !s.owns(uint32(p), m) {
				had = append(had, wish{near{Distance(s.sites[m].Seed, key, s.sites[m].Weight), m}, uint32(p)})
			}
		}
		slices.SortFunc(had, wish.compare)
		for _, w := range had {
			if s.room(w.site) {
				s.give(w.partition, w.site)
			}
		}
		s.queue = had
	}
}

// fill gives every partition as many owners as width says. Of all distances
// between a partition that wants an owner more and a member with room the
// least is taken, then the next. From an empty table on this depends on the
// members alone, in whatever order they came.
func (s *spreading) fill(width int) {
	s.open = s.open[:0]
	for m := range s.has {
		s.open = append(s.open, uint32(m))
	}
	s.queue = s.queue[:0]
	var stuck []uint32
	wants := func(p uint32) (w wish, ok bool) {
		if s.filled[p] == width {
			return w, false
		}
		if w, ok = s.wish(p); !ok {
			stuck = append(stuck, p)
		}
		return w, ok
	}
	for p := range s.keys {
		if w, ok := wants(uint32(p)); ok {
			s.queue = append(s.queue, w)
		}
	}
	for i := len(s.queue)/2 - 1; i >= 0; i-- {
		s.sink(i)
	}
	for len(s.queue) > 0 {
		w := s.queue[0]
		if s.room(w.site) {
			s.give(w.partition, w.site)
		}
		if next, ok := wants(w.partition); ok {
			s.queue[0] = next
		} else {
			last := len(s.queue) - 1
			s.queue[0] = s.queue[last]
			s.queue = s.queue[:last]
		}
		s.sink(0)
	}
	slices.Sort(stuck)
	for _, p := range stuck {
		for s.filled[p] < width {
			s.shift(p)
		}
	}
}

// sink puts the wish at i to its place in the heap.
func (s *spreading) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.queue); child++ {
			if s.queue[child].compare(s.queue[least]) < 0 {
				least = child
			}
		}
		if least == i {
			return
		}
		s.queue[i], s.queue[least] = s.queue[least], s.queue[i]
		i = least
	}
}

// wish is the nearest member with room that does not own p, if there is one.
func (s *spreading) wish(p uint32) (wish, bool) {
	if s.best[p] == nil {
		s.best[p] = ranked(s.sites, s.keys[p], make([]near, 0, min(s.width+7, len(s.sites))))
	}
	for _, n := range s.best[p] {
		if s.room(n.site) && !s.owns(p, n.site) {
			return wish{n, p}, true
		}
	}
	s.open = slices.DeleteFunc(s.open, func(m uint32) bool { return !s.room(m) })
	found := wish{near{^uint64(0), nobody}, p}
	for _, m := range s.open {
		site := s.sites[m]
		u := mix(site.Seed ^ s.keys[p])
		if isFar(u, site.Weight, found.distance) {
			continue
		}
		if d := minusLog2(u) / site.Weight; d < found.distance && !s.owns(p, m) {
			found.near = near{d, m}
		}
	}
	return found, found.site != nobody
}

func (s *spreading) room(m uint32) bool {
	return s.has[m] < s.even || s.has[m] == s.even && s.more > 0
}

func (s *spreading) own(p uint32) []uint32 {
	return s.owners[int(p)*s.width:][:s.filled[p]]
}

func (s *spreading) owns(p, m uint32) bool { return slices.Contains(s.own(p), m) }

func (s *spreading) give(p, m uint32) {
	s.owners[int(p)*s.width+s.filled[p]] = m
	s.filled[p]++
	s.take(m)
}

// take uses some of m's room.
func (s *spreading) take(m uint32) {
	if s.has[m]++; s.has[m] > s.even {
		s.more--
	}
}

// shift finds an owner for p when all members with room own it already:
// another partition goes to one of those, from someone who then takes p, or
// by more such steps. There is always a way, and this takes one of the shortest.
func (s *spreading) shift(p uint32) {
	type step struct{ from, partition uint32 } // from gives partition away
	steps := make(map[uint32]step, len(s.has))
	var reached []uint32
	for m := range uint32(len(s.has)) {
		if !s.owns(p, m) {
			steps[m] = step{nobody, p}
			reached = append(reached, m)
		}
	}
	gives := make([][]uint32, len(s.has)) // the partitions that members may give away: not those of first owners
	for q := range uint32(len(s.keys)) {
		for _, m := range s.own(q)[1:] {
			gives[m] = append(gives[m], q)
		}
	}
	for i := 0; i < len(reached); i++ {
		m := reached[i]
		if s.room(m) {
			s.take(m)
			for at := steps[m]; at.from != nobody; at = steps[m] {
				own := s.own(at.partition)
				own[slices.Index(own, at.from)] = m
				m = at.from
			}
			s.owners[int(p)*s.width+s.filled[p]] = m
			s.filled[p]++
			return
		}
		for _, q := range gives[m] {
			for to := range uint32(len(s.has)) {
				if _, seen := steps[to]; !seen && !s.owns(q, to) {
					steps[to] = step{m, q}
					reached = append(reached, to)
				}
			}
		}
	}
	panic("ring: no room for all owners: the shares do not add up")
}

// arrange lets who was an owner before be the same replica, if it can: what
// only changes its place has changed hands too. First owners stand.
func (s *spreading) arrange(old []uint32, replicas int) {
	for p := range uint32(len(s.keys)) {
		own, before := s.own(p), old[int(p)*replicas:][:replicas]
		for to := 1; to < min(len(own), replicas); to++ {
			if at := slices.Index(own[1:], before[to]); at >= 0 {
				own[to], own[1+at] = own[1+at], own[to]
			}
		}
	}
}
