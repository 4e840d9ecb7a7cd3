package ring_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dialmux/dialmux/ring"
)

func TestWhatIsWrongIsSaidWithTheRemedy(t *testing.T) {
	for want, c := range map[string]ring.Config{
		"ring: -1 partitions: use 1 to 65536":                           {Partitions: -1},
		"ring: 65537 partitions: use 1 to 65536":                        {Partitions: 65537},
		"ring: redundancy -1: use 1 to 64":                              {Redundancy: -1},
		"ring: redundancy 65: use 1 to 64":                              {Redundancy: 65},
		`ring: distribution "jump": use rendezvous or uniform`:          {Distribution: "jump"},
		`ring: distribution "Uniform": use rendezvous or uniform`:       {Distribution: "Uniform"},
		`ring: distribution "rendezvous ": use rendezvous or uniform`:   {Distribution: "rendezvous "},
		"ring: -9223372036854775808 partitions: use 1 to 65536":         {Partitions: -1 << 63},
		"ring: redundancy 9223372036854775807: use 1 to 64":             {Redundancy: 1<<63 - 1},
		"ring: 9223372036854775807 partitions: use 1 to 65536":          {Partitions: 1<<63 - 1, Redundancy: 65},
		"ring: redundancy -9223372036854775808: use 1 to 64":            {Redundancy: -1 << 63, Distribution: "x"},
		`ring: distribution "rendezvous|uniform": use rendezvous or u…`: {Distribution: "rendezvous|uniform"},
	} {
		want = strings.TrimSuffix(want, "u…")
		if _, err := ring.New(c); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("New(%+v): %v, want %s", c, err, want)
		}
	}
	for want, members := range map[string][]ring.Member{
		"ring: a member without a name: give it one that it keeps":                                                                  {{Name: "a"}, {}},
		`ring: member "a": weight -1: use 1 to 10000`:                                                                               {{Name: "a", Weight: -1}},
		`ring: member "a": weight 10001: use 1 to 10000`:                                                                            {{Name: "a", Weight: 10001}},
		`ring: two members are called "b": give each a name of its own`:                                                             {{Name: "b"}, {Name: "a"}, {Name: "b", Weight: 2}},
		"ring: 65537 members: at most 65536 find room":                                                                              members(65537),
		`ring: "a" weighs 1 and "b" 2, but uniform gives all the same: let them weigh the same, or use rendezvous (uniform allone)`: {{Name: "b", Weight: 2}, {Name: "a"}},
	} {
		want, only, _ := strings.Cut(want, " (")
		for _, d := range []ring.Distribution{ring.Rendezvous, ring.Uniform} {
			r := newRing(t, ring.Config{Distribution: d}, []ring.Member{{Name: "old"}})
			was, now, err := r.Set(members)
			if only != "" && d != ring.Uniform {
				if err != nil {
					t.Errorf("%s: %v", d, err)
				}
				continue
			}
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", d, err, want)
			}
			if was != now || now != r.Table() || r.Owner("k") != "old" {
				t.Errorf("%s: after %q the ring is not as it was", d, err)
			}
		}
	}
}

func TestARingWithoutMembersHasNoOwners(t *testing.T) {
	for _, d := range []ring.Distribution{"", ring.Uniform} {
		r, err := ring.New(ring.Config{Redundancy: 3, Distribution: d})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if owner, owners := r.Owner("k"), r.Owners("k", 3); owner != "" || owners != nil {
				t.Errorf("%s: the owner is %q, the owners %q", d, owner, owners)
			}
			if got := r.Table(); got.Partitions() != ring.DefaultPartitions || got.Width() != 0 || got.At(0, 0) != "" {
				t.Errorf("%s: %d partitions, %d owners each, first %q", d, got.Partitions(), got.Width(), got.At(0, 0))
			}
			was, now, err := r.Set(members(2))
			if err != nil || len(ring.Diff(was, now)) != 2*ring.DefaultPartitions {
				t.Errorf("%s: %v, %d changes as two come", d, err, len(ring.Diff(was, now)))
			}
			if was, now, err = r.Set(nil); err != nil || len(ring.Diff(was, now)) != 2*ring.DefaultPartitions {
				t.Errorf("%s: %v, %d changes as all go", d, err, len(ring.Diff(was, now)))
			}
		}
	}
}

// Owners is the list of owners, then of those who would be; n cuts it.
func TestOwnersGoOnBeyondTheRedundancy(t *testing.T) {
	for _, d := range []ring.Distribution{ring.Rendezvous, ring.Uniform} {
		r := newRing(t, ring.Config{Partitions: 64, Redundancy: 2, Distribution: d}, members(5))
		for k := range 100 {
			key := fmt.Sprint(k)
			p := ring.Partition(key, 64)
			all := r.Owners(key, 5)
			for n := -1; n <= 7; n++ {
				if got := r.Owners(key, n); !slices.Equal(got, all[:min(max(n, 0), 5)]) {
					t.Fatalf("%s: Owners(%q, %d) = %q of %q", d, key, n, got, all)
				}
			}
			if r.Owner(key) != all[0] || r.Table().At(p, 0) != all[0] || r.Table().At(p, 1) != all[1] {
				t.Fatalf("%s: %q is owned by %q, and its partition by %q and %q, but the list is %q",
					d, key, r.Owner(key), r.Table().At(p, 0), r.Table().At(p, 1), all)
			}
			slices.Sort(all)
			if len(slices.Compact(all)) != 5 {
				t.Fatalf("%s: not everyone is in %q once", d, all)
			}
		}
		for _, at := range [][2]int{{-1, 0}, {64, 0}, {0, -1}, {0, 2}} {
			if got := r.Table().At(at[0], at[1]); got != "" {
				t.Errorf("%s: At(%d, %d) = %q", d, at[0], at[1], got)
			}
		}
		if got := append(r.Table().OwnersOf(-1, 1), r.Table().OwnersOf(64, 1)...); got != nil {
			t.Errorf("%s: partitions that are not there have owners %q", d, got)
		}
	}
}

func TestTheCallersSliceStaysItsOwn(t *testing.T) {
	mine := []ring.Member{{Name: "b"}, {Name: "a"}}
	r := newRing(t, ring.Config{}, mine)
	if mine[0] != (ring.Member{Name: "b"}) {
		t.Errorf("Set changed what it was given: %v", mine)
	}
	before := r.Owners("k", 2)
	mine[0].Name, mine[1].Name = "x", "y"
	if got := r.Owners("k", 2); !slices.Equal(got, before) {
		t.Errorf("the owners were %q, and are %q", before, got)
	}
	if got := r.Table().Members(); !slices.Equal(got, []ring.Member{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}) {
		t.Errorf("the members are %v", got)
	}
}

// The race detector watches; and nobody sees a table that is half made.
func TestReadersNeedNoLock(t *testing.T) {
	for _, d := range []ring.Distribution{ring.Rendezvous, ring.Uniform} {
		few, many := members(3), members(7)
		r := newRing(t, ring.Config{Partitions: 64, Redundancy: 3, Distribution: d}, few)
		stop := make(chan struct{})
		var readers, writers sync.WaitGroup
		var mu sync.Mutex
		followed := map[*ring.Table]bool{} // whether another has come after it
		for range 4 {
			readers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					key := fmt.Sprint(i)
					if r.Owner(key) == "" {
						t.Errorf("%s: %q has no owner", d, key)
						return
					}
					if n := len(r.Owners(key, 9)); n != 3 && n != 7 {
						t.Errorf("%s: %d owners", d, n)
						return
					}
					if now := r.Table(); now.Width() != 3 || len(now.Members()) != 3 && len(now.Members()) != 7 {
						t.Errorf("%s: %d members", d, len(now.Members()))
						return
					}
				}
			})
		}
		for _, set := range [][]ring.Member{few, many} {
			writers.Go(func() {
				for range 200 {
					was, now, err := r.Set(set)
					if err != nil || len(was.Members()) == 0 || len(now.Members()) != len(set) {
						t.Errorf("%s: %v", d, err)
					}
					mu.Lock()
					if followed[was] {
						t.Errorf("%s: two tables came after one: what changed hands is told twice, or not", d)
					}
					followed[was] = true
					mu.Unlock()
				}
			})
		}
		writers.Wait()
		close(stop)
		readers.Wait()
	}
}

func TestAnOwnerIsFoundWithoutAllocating(t *testing.T) {
	r := newRing(t, ring.Config{Redundancy: 3}, members(100))
	if got := testing.AllocsPerRun(1000, func() { r.Owner("user-17") }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
