package ring_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/ring"
)

// sitesOf gives members of these weights names that are in order.
func sitesOf(weights ...uint64) []ring.Site {
	sites := make([]ring.Site, len(weights))
	for i, w := range weights {
		sites[i] = ring.Site{Seed: ring.Seed(fmt.Sprintf("worker-%05d", i)), Weight: w}
	}
	return sites
}

func alike(n int) []ring.Site { return sitesOf(slices.Repeat([]uint64{1}, n)...) }

// shares counts what each site owns of keys that people might use.
func shares(sites []ring.Site, keys int) []float64 {
	share := make([]float64, len(sites))
	for k := range keys {
		share[ring.Nearest(sites, ring.Hash(fmt.Sprint("user-", k)))] += 1 / float64(keys)
	}
	return share
}

func TestHashIsFNV1a(t *testing.T) {
	for key, want := range map[string]uint64{ // of the reference implementation's test suite
		"": 0xcbf29ce484222325, "a": 0xaf63dc4c8601ec8c, "foobar": 0x85944171f73967e8,
	} {
		if got := ring.Hash(key); got != want {
			t.Errorf("Hash(%q) = %#x, want %#x", key, got, want)
		}
		if got := ring.Hash([]byte(key)); got != want {
			t.Errorf("Hash of the bytes of %q = %#x, want %#x", key, got, want)
		}
		if got := ring.Partition(key, 512); got != int(want%512) {
			t.Errorf("Partition(%q, 512) = %d, want %d", key, got, want%512)
		}
	}
}

func TestKeysSpreadEvenly(t *testing.T) {
	for i, share := range shares(alike(3), 3000) {
		if math.Abs(share-1./3) > 0.05 {
			t.Errorf("of 3 members number %d owns %.1f %%", i, 100*share)
		}
	}
	for _, n := range []int{2, 10, 100} {
		keys := 2000 * n
		for i, share := range shares(alike(n), keys) {
			if off := share*float64(n) - 1; math.Abs(off) > 5/math.Sqrt(2000) { // five standard deviations
				t.Errorf("of %d members number %d owns %.3f of an even share", n, i, off+1)
			}
		}
	}
}

func TestSharesAreInProportionToWeights(t *testing.T) {
	for _, weights := range [][]uint64{{1, 2}, {1, 2, 3, 4}, {1, 100}, {100, 100, 1, 1}, {7, 7}, {ring.MaxWeight, 1, ring.MaxWeight}} {
		total := uint64(0)
		for _, w := range weights {
			total += w
		}
		const keys = 40_000
		for i, share := range shares(sitesOf(weights...), keys) {
			want := float64(weights[i]) / float64(total)
			if math.Abs(share-want) > 5*math.Sqrt(want*(1-want)/keys)+0.001*want {
				t.Errorf("weights %v: number %d owns %.4f, want %.4f", weights, i, share, want)
			}
		}
	}
}

// The logarithm may be off by a little, but not out of order, and never
// further than the short cut of Nearest believes.
func TestDistanceIsALogarithm(t *testing.T) {
	sites := alike(1)
	if far := ring.Distance(0, 0, 1); far != 1<<63 { // the hash is 0
		t.Errorf("the longest distance is %#x, want %#x", far, uint64(1)<<63)
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Uint64().Draw(t, "key")
		w := rapid.Uint64Range(1, ring.MaxWeight).Draw(t, "weight")
		d := ring.Distance(sites[0].Seed, key, 1)
		if got := ring.Distance(sites[0].Seed, key, w); got != d/w {
			t.Fatalf("weight %d: distance %d, want %d / %d", w, got, d, w)
		}
	})
}

// What Nearest and Next find is what one who computes all distances and sorts them finds.
func TestNearestAndNextWalkInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites := sitesOf(rapid.SliceOfN(rapid.OneOf(rapid.Just(uint64(1)), rapid.Uint64Range(1, 5), rapid.Uint64Range(1, ring.MaxWeight)), 0, 40).Draw(t, "weights")...)
		if len(sites) > 2 && rapid.Bool().Draw(t, "twins") {
			sites[len(sites)/2] = sites[0] // as far from every key
		}
		key := rapid.Uint64().Draw(t, "key")
		want := make([]int, len(sites))
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, func(a, b int) int {
			return cmp.Compare(ring.Distance(sites[a].Seed, key, sites[a].Weight), ring.Distance(sites[b].Seed, key, sites[b].Weight))
		})
		var got []int
		for i := ring.Nearest(sites, key); i >= 0 && len(got) <= len(sites); i = ring.Next(sites, key, i) {
			got = append(got, i)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("walked %v, want %v", got, want)
		}
	})
}

// Straight: who leaves loses its keys, and nobody else loses or gains another's.
func TestOnlyTheKeysOfWhoLeavesMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites := sitesOf(rapid.SliceOfN(rapid.Uint64Range(1, 100), 2, 30).Draw(t, "weights")...)
		gone := rapid.IntRange(0, len(sites)-1).Draw(t, "gone")
		rest := slices.Delete(slices.Clone(sites), gone, gone+1)
		for k := range 200 {
			key := ring.Hash(fmt.Sprint(k))
			was, now := sites[ring.Nearest(sites, key)], rest[ring.Nearest(rest, key)]
			switch {
			case was != sites[gone] && was != now:
				t.Fatalf("key %d moved between two that stayed", k)
			case was == sites[gone] && now != sites[ring.Next(sites, key, gone)]:
				t.Fatalf("key %d did not move to the next nearest", k)
			}
		}
	})
}

func TestAPickAllocatesNothing(t *testing.T) {
	sites, key := alike(1000), []byte("user-17")
	if got := testing.AllocsPerRun(100, func() {
		h := ring.Hash(key)
		ring.Next(sites, h, ring.Nearest(sites, h))
	}); got != 0 {
		t.Errorf("%v allocations a pick", got)
	}
}

func BenchmarkHash(b *testing.B) {
	key := []byte("3f2c9d1e-8a47-4b6e-9c0d-5e1f2a3b4c5d")
	b.ReportAllocs()
	for b.Loop() {
		ring.Hash(key)
	}
}

// A straight pick: from the key to the member.
func BenchmarkNearest(b *testing.B) {
	for _, n := range []int{1, 16, 100, 1000} {
		for _, heaviest := range []uint64{1, 100} {
			weights := make([]uint64, n)
			for i := range weights {
				weights[i] = uint64(i)%heaviest + 1
			}
			sites := sitesOf(weights...)
			b.Run(fmt.Sprintf("%d members, weights to %d", n, heaviest), func(b *testing.B) {
				b.ReportAllocs()
				key := uint64(0)
				for b.Loop() {
					key += 0x9e3779b97f4a7c15
					ring.Nearest(sites, key)
				}
			})
		}
	}
}

func BenchmarkNext(b *testing.B) {
	sites := alike(16)
	b.ReportAllocs()
	key := uint64(0)
	for b.Loop() {
		key += 0x9e3779b97f4a7c15
		ring.Next(sites, key, int(key%16))
	}
}
