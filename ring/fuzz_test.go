package ring_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/ring"
)

// Names and weights come from strangers: whatever they are, there is a table
// that holds what it promises, or an error.
func FuzzSet(f *testing.F) {
	f.Add("a\nb\nc", []byte{1, 2, 3}, 7, 2, false, "key")
	f.Add("a\nb\nc\nd", []byte{}, 16, 3, true, "")
	f.Add("Ω\n\xff\n\x00", []byte{255}, 64, 64, true, "\xff")
	f.Add("", []byte{0}, 0, 0, false, "k")
	f.Add("b\na\na", []byte(nil), -1, 65, true, "k")
	f.Fuzz(func(t *testing.T, names string, weights []byte, partitions, redundancy int, uniform bool, key string) {
		c := ring.Config{Partitions: partitions % 1000, Redundancy: redundancy % 100}
		if uniform {
			c.Distribution = ring.Uniform
		}
		r, err := ring.New(c)
		if err != nil {
			return
		}
		split := strings.SplitN(names, "\n", 41)
		for upto := range min(len(split), 40) + 1 {
			var all []ring.Member
			for i, name := range split[:upto] {
				m := ring.Member{Name: name}
				if len(weights) > 0 {
					m.Weight = int(int8(weights[i%len(weights)])) * 100
				}
				all = append(all, m)
			}
			was, now, err := r.Set(all)
			if err != nil {
				if was != now || r.Table() != was {
					t.Fatalf("%v, and yet another table", err)
				}
				continue
			}
			held := owners(was)
			for p := range held {
				held[p] = append(held[p], make([]string, now.Width())...)
			}
			for _, change := range ring.Diff(was, now) {
				if held[change.Partition][change.Replica] != change.From || change.From == change.To {
					t.Fatalf("%+v", change)
				}
				held[change.Partition][change.Replica] = change.To
			}
			for p, list := range owners(now) {
				if !slices.Equal(held[p][:now.Width()], list) {
					t.Fatalf("partition %d: by the changes %q, by the table %q", p, held[p], list)
				}
				if slices.Sort(list); len(slices.Compact(list)) != now.Width() {
					t.Fatalf("partition %d is owned by %q", p, list)
				}
			}
			if first, all := counts(now); uniform && (spread(first) > 1 || spread(all) > 1) {
				t.Fatalf("first owners %v, owners %v", first, all)
			}
			if list := r.Owners(key, upto); len(list) != upto || upto > 0 && r.Owner(key) != list[0] {
				t.Fatalf("%q is owned by %q, and then by %q", key, r.Owner(key), list)
			}
		}
	})
}
