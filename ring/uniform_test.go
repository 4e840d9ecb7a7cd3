package ring_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/ring"
)

// counts says how many partitions each member owns first, and how many replicas it has.
func counts(t *ring.Table) (first, all map[string]int) {
	first, all = map[string]int{}, map[string]int{}
	for _, m := range t.Members() {
		first[m.Name], all[m.Name] = 0, 0
	}
	for _, list := range owners(t) {
		for replica, name := range list {
			if all[name]++; replica == 0 {
				first[name]++
			}
		}
	}
	return first, all
}

func spread(has map[string]int) int {
	least, most := 1<<30, 0
	for _, n := range has {
		least, most = min(least, n), max(most, n)
	}
	return most - min(least, most)
}

func TestUniformSpreadsByOneAtMost(t *testing.T) {
	histories(t, ring.Uniform, func(t *rapid.T, _ ring.Config, _, _ []ring.Member, _, now *ring.Table) {
		first, all := counts(now)
		if spread(first) > 1 {
			t.Fatalf("first owners: %v", first)
		}
		if spread(all) > 1 {
			t.Fatalf("owners: %v", all)
		}
	})
}

// The least: those over their new share give what is over, and those who go
// give all; whoever could keep a partition keeps it.
func TestUniformMovesTheLeast(t *testing.T) {
	histories(t, ring.Uniform, func(t *rapid.T, c ring.Config, _, after []ring.Member, was, now *ring.Table) {
		if len(after) == 0 || was.Width() == 0 {
			return
		}
		had, _ := counts(was)
		even, more := c.Partitions/len(after), c.Partitions%len(after)
		least := c.Partitions
		for _, m := range after {
			least -= min(had[m.Name], even)
			if had[m.Name] > even && more > 0 {
				least, more = least-1, more-1
			}
		}
		moved := 0
		for _, change := range ring.Diff(was, now) {
			if change.Replica == 0 {
				moved++
			}
		}
		if moved != least {
			t.Fatalf("from %d to %d members %d first owners changed, %d would do", len(was.Members()), len(after), moved, least)
		}
	})
}

// A change that need not be is not told: of two owners of a partition that
// stay, neither takes the other's place, but for a first owner's.
func TestUniformReplicasKeepTheirPlaces(t *testing.T) {
	histories(t, ring.Uniform, func(t *rapid.T, _ ring.Config, _, _ []ring.Member, was, now *ring.Table) {
		for p := range now.Partitions() {
			had, has := was.OwnersOf(p, was.Width()), now.OwnersOf(p, now.Width())
			for to, name := range had {
				if to == 0 || to >= len(has) || has[to] == name {
					continue
				}
				if at := slices.Index(has, name); at > 0 {
					t.Fatalf("partition %d: %q were its owners, and are %q: %q need not have moved", p, had, has, name)
				}
			}
		}
	})
}

// Replicas: what members must fetch anew when one of ten comes or goes, as a
// multiple of the least.
func TestUniformReplicasMoveLittle(t *testing.T) {
	for _, redundancy := range []int{2, 3} {
		all := members(10)
		r := newRing(t, ring.Config{Partitions: 512, Redundancy: redundancy, Distribution: ring.Uniform}, all)
		for gone := range all {
			for _, set := range [][]ring.Member{slices.Concat(all[:gone], all[gone+1:]), all} {
				was, now, err := r.Set(set)
				if err != nil {
					t.Fatal(err)
				}
				fetched := 0
				for p, list := range owners(now) {
					for _, name := range list {
						if !slices.Contains(was.OwnersOf(p, was.Width()), name) {
							fetched++
						}
					}
				}
				if share := float64(512*redundancy) / 10; float64(fetched) > 1.1*share+1 {
					t.Errorf("redundancy %d, %d members: %d replicas fetched, the least is %.0f", redundancy, len(set), fetched, share)
				}
			}
		}
	}
}

// Where nearly all members own every partition the last of them must be given
// by way of others.
func TestUniformFindsAWayWhenItIsTight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "members")
		r := mustNew(t, ring.Config{Partitions: rapid.IntRange(1, 80).Draw(t, "partitions"), Redundancy: rapid.IntRange(max(1, n-2), n+1).Draw(t, "redundancy"), Distribution: ring.Uniform})
		all := someMembers(1, n, n).Draw(t, "who")
		for range 3 {
			_, now := mustSet(t, r, all)
			if first, owned := counts(now); spread(first) > 1 || spread(owned) > 1 {
				t.Fatalf("%v of %v", first, owned)
			}
			all = all[:max(1, len(all)-1)]
		}
	})
}
