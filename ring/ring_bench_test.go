package ring_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/dialmux/dialmux/ring"
)

func members(n int) []ring.Member {
	all := make([]ring.Member, n)
	for i := range all {
		all[i] = ring.Member{Name: fmt.Sprintf("worker-%d", i)}
	}
	return all
}

func newRing(t testing.TB, c ring.Config, all []ring.Member) *ring.Ring {
	t.Helper()
	r, err := ring.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Set(all); err != nil {
		t.Fatal(err)
	}
	return r
}

// large is a ring of 1,000 workers and 4,096 partitions.
func large(t testing.TB, d ring.Distribution, redundancy int) (*ring.Ring, []ring.Member) {
	all := members(1000)
	return newRing(t, ring.Config{Partitions: 4096, Redundancy: redundancy, Distribution: d}, all), all
}

func eachLarge(b *testing.B, do func(b *testing.B, r *ring.Ring, all []ring.Member)) {
	for _, d := range []ring.Distribution{ring.Rendezvous, ring.Uniform} {
		for _, redundancy := range []int{1, 3} {
			r, all := large(b, d, redundancy)
			b.Run(fmt.Sprintf("%s, redundancy %d", d, redundancy), func(b *testing.B) {
				b.ReportAllocs()
				do(b, r, all)
			})
		}
	}
}

// From the key to its owner through the table.
func BenchmarkOwner(b *testing.B) {
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = fmt.Sprintf("user-%08d", i)
	}
	eachLarge(b, func(b *testing.B, r *ring.Ring, _ []ring.Member) {
		for i := 0; b.Loop(); i++ {
			r.Owner(keys[i%len(keys)])
		}
	})
}

// A table from nothing: 4,096 partitions, 1,000 workers.
func BenchmarkSet(b *testing.B) {
	eachLarge(b, func(b *testing.B, r *ring.Ring, all []ring.Member) {
		for b.Loop() {
			r.Set(nil)
			r.Set(all)
		}
	})
}

// Of 1,000 workers one leaves, and comes back with the next turn.
func BenchmarkSetOneMore(b *testing.B) {
	eachLarge(b, func(b *testing.B, r *ring.Ring, all []ring.Member) {
		less := slices.Concat(all[:500], all[501:])
		for i := 0; b.Loop(); i++ {
			if i%2 == 0 {
				r.Set(less)
			} else {
				r.Set(all)
			}
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	eachLarge(b, func(b *testing.B, r *ring.Ring, all []ring.Member) {
		r.Set(all) // again, if this is a second try
		was, now, err := r.Set(slices.Concat(all[:500], all[501:]))
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			ring.Diff(was, now)
		}
	})
}
