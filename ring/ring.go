package ring

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Distribution is how partitions are spread over members.
type Distribution string

const (
	// Rendezvous gives a partition to the nearest members. Shares are in
	// proportion to weights, give or take what chance does. Who joins takes
	// from the others and who leaves gives to them; between others nothing moves.
	Rendezvous Distribution = "rendezvous"
	// Uniform gives all members the same number of partitions, and the same
	// number of replicas in all, give or take one. Weights must be equal. Set
	// moves the fewest partitions that will do, so who owns what depends on
	// the table before: processes agree if their rings have been told the
	// same members in the same order, and so do new rings, which are told once.
	Uniform Distribution = "uniform"
)

// What a Config holds at most, and what it holds where it is left empty.
const (
	DefaultPartitions = 512
	DefaultRedundancy = 1
	MaxPartitions     = 1 << 16
	MaxRedundancy     = 64
	MaxMembers        = 1 << 16
)

// Config is the same in all processes that shall give the same answers.
type Config struct {
	Partitions   int          // how many there are, for good; default DefaultPartitions
	Redundancy   int          // how many members own each partition, if there are so many; default DefaultRedundancy
	Distribution Distribution // default Rendezvous
}

// Member is who may own.
type Member struct {
	Name   string // tells it from the others, and decides with the key what it owns: keep it
	Weight int    // 1 to MaxWeight; 0 is 1
}

// Ring holds the table of the members that it was last told. Reading takes no
// lock, and whoever reads sees one table whole.
type Ring struct {
	config Config
	keys   []uint64 // the hash of each partition's number
	table  atomic.Pointer[Table]
	set    sync.Mutex // makes one table after the other
}

// New returns a ring without members.
func New(c Config) (*Ring, error) {
	c.Partitions = cmp.Or(c.Partitions, DefaultPartitions)
	c.Redundancy = cmp.Or(c.Redundancy, DefaultRedundancy)
	c.Distribution = cmp.Or(c.Distribution, Rendezvous)
	switch {
	case c.Partitions < 1 || c.Partitions > MaxPartitions:
		return nil, fmt.Errorf("ring: %d partitions: use 1 to %d", c.Partitions, MaxPartitions)
	case c.Redundancy < 1 || c.Redundancy > MaxRedundancy:
		return nil, fmt.Errorf("ring: redundancy %d: use 1 to %d", c.Redundancy, MaxRedundancy)
	case c.Distribution != Rendezvous && c.Distribution != Uniform:
		return nil, fmt.Errorf("ring: distribution %q: use %s or %s", c.Distribution, Rendezvous, Uniform)
	}
	r := &Ring{config: c, keys: make([]uint64, c.Partitions)}
	for p := range r.keys {
		r.keys[p] = Hash(strconv.Itoa(p))
	}
	r.table.Store(&Table{keys: r.keys})
	return r, nil
}

// Set replaces the members, in whatever order they come, and returns the
// table before and the one from now on, for [Diff]. With an error nothing has
// changed, and both are the one that stands.
func (r *Ring) Set(members []Member) (was, now *Table, err error) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	r.set.Lock()
	defer r.set.Unlock()
	was = r.table.Load()
	if err := r.check(members); err != nil {
		return was, was, err
	}
	now = r.build(members, was)
	r.table.Store(now)
	return was, now, nil
}

// check is given members in the order of their names.
func (r *Ring) check(members []Member) error {
	if len(members) > MaxMembers {
		return fmt.Errorf("ring: %d members: at most %d find room", len(members), MaxMembers)
	}
	for i := range members {
		m := &members[i]
		m.Weight = cmp.Or(m.Weight, 1)
		switch {
		case m.Name == "":
			return fmt.Errorf("ring: a member without a name: give it one that it keeps")
		case m.Weight < 1 || m.Weight > MaxWeight:
			return fmt.Errorf("ring: member %q: weight %d: use 1 to %d", m.Name, m.Weight, MaxWeight)
		case i > 0 && m.Name == members[i-1].Name:
			return fmt.Errorf("ring: two members are called %q: give each a name of its own", m.Name)
		case r.config.Distribution == Uniform && m.Weight != members[0].Weight:
			return fmt.Errorf("ring: %q weighs %d and %q %d, but %s gives all the same: let them weigh the same, or use %s",
				members[0].Name, members[0].Weight, m.Name, m.Weight, Uniform, Rendezvous)
		}
	}
	return nil
}

// Table is the one that stands.
func (r *Ring) Table() *Table { return r.table.Load() }

// Owner names the first owner of a key, "" if there are no members. It allocates nothing.
func (r *Ring) Owner(key string) string { return r.Table().Owner(key) }

// Owners names the n members to whom a key belongs, the first choice first,
// or as many as there are: the owners of its partition, and then who would own it if they were gone.
func (r *Ring) Owners(key string, n int) []string { return r.Table().Owners(key, n) }
