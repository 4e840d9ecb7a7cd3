package ring

import (
	"cmp"
	"slices"
)

// Table says who owns each partition. It never changes.
type Table struct {
	keys    []uint64 // of the partitions, as its ring has them
	members []Member // in the order of their names
	sites   []Site   // of the members
	width   int      // owners of each partition: the redundancy, or all members
	owners  []uint32 // width members for each partition
}

// build is given members that are checked, in the order of their names, and
// the table before.
func (r *Ring) build(members []Member, was *Table) *Table {
	t := &Table{
		keys: r.keys, members: members, sites: make([]Site, len(members)),
		width: min(r.config.Redundancy, len(members)),
	}
	for i, m := range members {
		t.sites[i] = Site{Seed: Seed(m.Name), Weight: uint64(m.Weight)}
	}
	t.owners = make([]uint32, len(t.keys)*t.width)
	if r.config.Distribution == Uniform {
		t.spread(was)
		return t
	}
	list := make([]near, 0, t.width)
	for p, key := range t.keys {
		list = ranked(t.sites, key, list[:0])
		for replica, n := range list {
			t.owners[p*t.width+replica] = n.site
		}
	}
	return t
}

// near is a site and how far it is from some key.
type near struct {
	distance uint64
	site     uint32
}

// compare is the order in which sites come for a key: that of sites is that of names.
func (a near) compare(b near) int {
	return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.site, b.site))
}

// ranked fills list, which is empty, up to its capacity with the sites that are nearest to a key.
func ranked(sites []Site, key uint64, list []near) []near {
	if cap(list) == 0 {
		return list
	}
	for i := range sites {
		s := &sites[i]
		u := mix(s.Seed ^ key)
		full := len(list) == cap(list)
		if full && isFar(u, s.Weight, list[len(list)-1].distance) {
			continue
		}
		n := near{minusLog2(u) / s.Weight, uint32(i)}
		if !full {
			list = append(list, n)
		} else if n.distance >= list[len(list)-1].distance {
			continue // of equals the earlier is there
		}
		at := len(list) - 1
		for ; at > 0 && list[at-1].distance > n.distance; at-- {
			list[at] = list[at-1]
		}
		list[at] = n
	}
	return list
}

// Partitions is how many there are.
func (t *Table) Partitions() int { return len(t.keys) }

// Width is how many owners each partition has: the redundancy, or as many as there are members.
func (t *Table) Width() int { return t.width }

// Members are those of the table in the order of their names. They are not to be changed.
func (t *Table) Members() []Member { return t.members }

// At names the owner of a replica of a partition, "" if it has none.
// Replica 0 is the first owner's.
func (t *Table) At(partition, replica int) string {
	if partition < 0 || partition >= len(t.keys) || replica < 0 || replica >= t.width {
		return ""
	}
	return t.members[t.owners[partition*t.width+replica]].Name
}

// Owner is [Ring.Owner].
func (t *Table) Owner(key string) string { return t.At(Partition(key, len(t.keys)), 0) }

// Owners is [Ring.Owners].
func (t *Table) Owners(key string, n int) []string {
	return t.OwnersOf(Partition(key, len(t.keys)), n)
}

// OwnersOf is [Table.Owners] for a partition.
func (t *Table) OwnersOf(partition, n int) []string {
	n = min(n, len(t.members))
	if partition < 0 || partition >= len(t.keys) || n <= 0 {
		return nil
	}
	names := make([]string, 0, n)
	owners := t.owners[partition*t.width:][:t.width]
	for _, site := range owners[:min(n, t.width)] {
		names = append(names, t.members[site].Name)
	}
	if n <= t.width {
		return names
	}
	rest := make([]near, 0, len(t.sites))
	for i, s := range t.sites {
		rest = append(rest, near{Distance(s.Seed, t.keys[partition], s.Weight), uint32(i)})
	}
	slices.SortFunc(rest, near.compare)
	for _, next := range rest {
		if len(names) == n {
			break
		}
		if !slices.Contains(owners, next.site) {
			names = append(names, t.members[next.site].Name)
		}
	}
	return names
}
