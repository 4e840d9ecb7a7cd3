package ring_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/ring"
)

// Names sort in every way: short, long, before and after each other, not ASCII.
var aName = rapid.OneOf(
	rapid.StringMatching(`[a-e]`),
	rapid.StringMatching(`worker-[0-9]{1,2}`),
	rapid.StringMatching(`[!-~]{1,20}`),
	rapid.StringN(1, 8, 32),
)

func someMembers(heaviest, least, most int) *rapid.Generator[[]ring.Member] {
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) ring.Member {
		return ring.Member{Name: aName.Draw(t, "name"), Weight: rapid.IntRange(1, heaviest).Draw(t, "weight")}
	}), least, most, func(m ring.Member) string { return m.Name })
}

func someConfig(t *rapid.T, d ring.Distribution) ring.Config {
	return ring.Config{
		Partitions: rapid.SampledFrom([]int{1, 2, 7, 16, 64, 100, 512}).Draw(t, "partitions"),
		Redundancy: rapid.IntRange(1, 4).Draw(t, "redundancy"), Distribution: d,
	}
}

func mustNew(t *rapid.T, c ring.Config) *ring.Ring {
	r, err := ring.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustSet(t *rapid.T, r *ring.Ring, members []ring.Member) (was, now *ring.Table) {
	was, now, err := r.Set(members)
	if err != nil {
		t.Fatal(err)
	}
	return was, now
}

// histories has the members change step by step: they come, go and weigh
// another weight, one or several at once.
func histories(t *testing.T, d ring.Distribution, step func(t *rapid.T, c ring.Config, before, after []ring.Member, was, now *ring.Table)) {
	rapid.Check(t, func(t *rapid.T) {
		c := someConfig(t, d)
		r := mustNew(t, c)
		heaviest := 5
		if d == ring.Uniform {
			heaviest = 1
		}
		pool := someMembers(heaviest, 1, 14).Draw(t, "pool")
		var before []ring.Member
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			there := map[string]ring.Member{}
			for _, m := range before {
				there[m.Name] = m
			}
			for range rapid.SampledFrom([]int{1, 1, 1, 2, 5}).Draw(t, "at once") {
				m := rapid.SampledFrom(pool).Draw(t, "who")
				if _, ok := there[m.Name]; !ok {
					there[m.Name] = m
				} else if heaviest == 1 || rapid.Bool().Draw(t, "goes") {
					delete(there, m.Name)
				} else {
					m.Weight = rapid.IntRange(1, heaviest).Draw(t, "weight")
					there[m.Name] = m
				}
			}
			var after []ring.Member
			for _, m := range pool {
				if m, ok := there[m.Name]; ok {
					after = append(after, m)
				}
			}
			was, now := mustSet(t, r, after)
			step(t, c, before, after, was, now)
			before = after
		}
	})
}

func eachDistribution(t *testing.T, do func(t *testing.T, d ring.Distribution)) {
	for _, d := range []ring.Distribution{ring.Rendezvous, ring.Uniform} {
		t.Run(string(d), func(t *testing.T) { do(t, d) })
	}
}

// owners lists the replicas of a table.
func owners(t *ring.Table) [][]string {
	all := make([][]string, t.Partitions())
	for p := range all {
		all[p] = t.OwnersOf(p, t.Width())
	}
	return all
}

// Defects of libring: changes were told where nothing had changed hands, two
// or three for one.
func TestS4R1ADiffIsExact(t *testing.T) {
	eachDistribution(t, func(t *testing.T, d ring.Distribution) {
		type held struct {
			member             string
			partition, replica int
		}
		holds := map[held]int{} // what members have by the changes alone
		histories(t, d, func(t *rapid.T, c ring.Config, before, after []ring.Member, was, now *ring.Table) {
			if len(before) == 0 && was.Width() == 0 {
				clear(holds) // a new history, or as good as one
			}
			for i, change := range ring.Diff(was, now) {
				if change.From == change.To {
					t.Fatalf("change %d: %+v", i, change)
				}
				if got := was.At(change.Partition, change.Replica); got != change.From {
					t.Fatalf("change %d: %+v, but %q had it", i, change, got)
				}
				if change.From != "" {
					holds[held{change.From, change.Partition, change.Replica}]--
				}
				if change.To != "" {
					holds[held{change.To, change.Partition, change.Replica}]++
				}
			}
			count := 0
			for p, list := range owners(now) {
				if slices.Sort(list); len(slices.Compact(list)) != min(c.Redundancy, len(after)) {
					t.Fatalf("partition %d is owned by %q", p, list)
				}
				for replica := range now.Width() {
					if owner := now.At(p, replica); holds[held{owner, p, replica}] != 1 {
						t.Fatalf("%q owns replica %d of partition %d, which the changes do not say", owner, replica, p)
					}
				}
			}
			for what, n := range holds {
				if n != 0 && n != 1 {
					t.Fatalf("%+v: acquired less released is %d", what, n)
				}
				count += n
			}
			if want := c.Partitions * min(c.Redundancy, len(after)); count != want {
				t.Fatalf("members hold %d replicas by the changes, want %d", count, want)
			}
			if again := ring.Diff(now, now); again != nil {
				t.Fatalf("nothing changed, but %v", again)
			}
			back := ring.Diff(now, was)
			for i, change := range ring.Diff(was, now) {
				change.From, change.To = change.To, change.From
				if back[i] != change {
					t.Fatalf("back is %+v, want %+v", back[i], change)
				}
			}
		})
	})
}

func TestTheSameMembersChangeNothing(t *testing.T) {
	eachDistribution(t, func(t *testing.T, d ring.Distribution) {
		rapid.Check(t, func(t *rapid.T) {
			heaviest := map[ring.Distribution]int{ring.Rendezvous: 100, ring.Uniform: 1}[d]
			r, all := mustNew(t, someConfig(t, d)), someMembers(heaviest, 0, 20).Draw(t, "members")
			mustSet(t, r, all)
			if changes := ring.Diff(mustSet(t, r, rapid.Permutation(all).Draw(t, "again"))); changes != nil {
				t.Fatalf("%v", changes)
			}
		})
	})
}

// Whatever has been: of Rendezvous every ring that has these members now, of
// Uniform every new one.
func TestEveryProcessGivesTheSameAnswer(t *testing.T) {
	histories(t, ring.Rendezvous, func(t *rapid.T, c ring.Config, _, after []ring.Member, _, now *ring.Table) {
		fresh := mustNew(t, c)
		mustSet(t, fresh, rapid.Permutation(after).Draw(t, "order"))
		for p := range c.Partitions {
			if got, want := fresh.Table().OwnersOf(p, len(after)), now.OwnersOf(p, len(after)); !slices.Equal(got, want) {
				t.Fatalf("partition %d: a new ring says %q, the old one %q", p, got, want)
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		c, all := someConfig(t, ring.Uniform), someMembers(1, 0, 20).Draw(t, "members")
		one, other := mustNew(t, c), mustNew(t, c)
		mustSet(t, one, all)
		mustSet(t, other, []ring.Member{{Name: "somebody"}})
		mustSet(t, other, nil) // an empty ring is as good as a new one
		mustSet(t, other, rapid.Permutation(all).Draw(t, "order"))
		if !slices.EqualFunc(owners(one.Table()), owners(other.Table()), slices.Equal) {
			t.Fatal("two rings differ")
		}
	})
}

// Who stays loses nothing to another who stays: not a partition, and not a
// place in the order in which they own it.
func TestNothingMovesBetweenThoseWhoStay(t *testing.T) {
	histories(t, ring.Rendezvous, func(t *rapid.T, c ring.Config, before, after []ring.Member, was, now *ring.Table) {
		stays := map[string]bool{}
		for _, m := range before {
			stays[m.Name] = slices.Contains(after, m) // with its weight
		}
		keep := func(names []string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !stays[name] })
		}
		for p := range c.Partitions {
			if got, want := keep(now.OwnersOf(p, len(after))), keep(was.OwnersOf(p, len(before))); !slices.Equal(got, want) {
				t.Fatalf("partition %d: of those who stay the order was %q and is %q", p, want, got)
			}
		}
	})
}

// Who weighs more than before loses nothing, and who weighs less gains nothing.
func TestAChangeOfWeightMovesOneWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, all := mustNew(t, someConfig(t, ring.Rendezvous)), someMembers(100, 1, 20).Draw(t, "members")
		mustSet(t, r, all)
		m := &all[rapid.IntRange(0, len(all)-1).Draw(t, "who")]
		light := m.Weight
		m.Weight = rapid.IntRange(light, ring.MaxWeight).Draw(t, "weight")
		was, now := mustSet(t, r, all)
		for p := range was.Partitions() {
			if had, has := slices.Index(was.OwnersOf(p, len(all)), m.Name), slices.Index(now.OwnersOf(p, len(all)), m.Name); has > had {
				t.Fatalf("partition %d: from weight %d to %d it fell from place %d to %d", p, light, m.Weight, had, has)
			}
		}
	})
}

// Seeds' defect: of ten nodes, one that joined or left at the front of the
// alphabet moved 99 % of the partitions, one in the middle 58 %.
func TestS4R2OneOfTenMovesATenthWhateverItsName(t *testing.T) {
	eachDistribution(t, func(t *testing.T, d ring.Distribution) {
		most := 1.3 * 512 / 10
		try := func(nine []ring.Member, name string) {
			r := newRing(t, ring.Config{Partitions: 512, Distribution: d}, nine)
			for _, all := range [][]ring.Member{append(slices.Clone(nine), ring.Member{Name: name}), nine} {
				was, now, err := r.Set(all)
				if err != nil {
					t.Fatal(err)
				}
				changes := ring.Diff(was, now)
				if float64(len(changes)) > most || len(changes) == 0 {
					t.Errorf("%q: %d partitions moved, want at most %.1f", name, len(changes), most)
				}
				for _, change := range changes {
					if change.From != name && change.To != name {
						t.Errorf("%q: %+v", name, change)
					}
				}
			}
		}
		for _, name := range []string{"0", "aaa", "worker-45", "worker-55", "worker-99", "zzz", "~", "Ω"} {
			try(members(9), name)
		}
		ten := members(10)
		for i, m := range ten {
			try(slices.Concat(ten[:i], ten[i+1:]), m.Name)
		}
	})
}

// Shares of partitions, by rendezvous: as chance has it, but no farther.
func TestPartitionsSpreadByWeight(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 3, 4}, {100, 50, 1}, {7, 7, 7}} {
		var all []ring.Member
		total := 0
		for i, w := range weights {
			all = append(all, ring.Member{Name: fmt.Sprint("worker-", i), Weight: w})
			total += w
		}
		const partitions = 16384
		r := newRing(t, ring.Config{Partitions: partitions}, all)
		has := map[string]int{}
		for p := range partitions {
			has[r.Table().At(p, 0)]++
		}
		for _, m := range all {
			share := float64(m.Weight) / float64(total)
			if off := float64(has[m.Name]) - partitions*share; math.Abs(off) > 4*math.Sqrt(partitions*share*(1-share)) {
				t.Errorf("weights %v: %s has %d, want %.0f", weights, m.Name, has[m.Name], partitions*share)
			}
		}
	}
}
