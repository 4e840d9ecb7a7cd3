package ring

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whoever computes the points with the logarithm of another language gets the
// same whole numbers: none is near to where rounding turns.
func TestPointsOfTheLogarithmAreFarFromWhereRoundingTurns(t *testing.T) {
	for i := range logs {
		exact := math.Log2(512/float64(256+i)) * (1 << 32)
		if from := math.Abs(exact - math.Floor(exact) - 0.5); from < 1e-4 {
			t.Errorf("point %d is %v, %g from where rounding turns", i, exact, from)
		}
	}
	if logs[0] != 1<<32 || logs[256] != 0 {
		t.Errorf("the points go from %d to %d, want 2^32 to 0", logs[0], logs[256])
	}
}

func TestMinusLog2(t *testing.T) {
	edges := []uint64{0, 1, 2, 3, math.MaxUint64, math.MaxUint64 - 1, 1 << 63, 1<<63 - 1, 1<<63 + 1}
	for s := range 64 {
		edges = append(edges, 1<<s, 1<<s-1, 1<<s+1, ^(1 << s), -(1 << s))
	}
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.OneOf(rapid.SampledFrom(edges), rapid.Uint64(), rapid.Custom(func(t *rapid.T) uint64 { return ^rapid.Uint64Range(0, 1<<40).Draw(t, "short") })).Draw(t, "u")
		got := minusLog2(u)
		if less := minusLog2(u + rapid.Uint64Range(0, min(^u, 1<<rapid.IntRange(0, 63).Draw(t, "step"))).Draw(t, "more")); less > got {
			t.Fatalf("%#x: it rises from %d to %d", u, got, less)
		}
		if d := rapid.SampledFrom(edges).Draw(t, "best"); isFar(u, 1, d) && got < d {
			t.Fatalf("%#x is %d away, less than %d, but called far", u, got, d)
		}
		w := rapid.Uint64Range(1, MaxWeight).Draw(t, "weight")
		if isFar(u, w, got/w+1) {
			t.Fatalf("%#x at weight %d is %d away, but called farther", u, w, got/w)
		}
		u |= 1
		exact := 64 - math.Log2(float64(u))
		if u > 1<<63 { // so near to 2^64 u has too many digits for a float64
			exact = -math.Log1p(-float64(-u)/(1<<64)) / math.Ln2
		}
		if exact *= 1 << 57; math.Abs(float64(got)-exact) > exact/1000+1 {
			t.Fatalf("%#x: %d, want %.0f", u, got, exact)
		}
	})
}

// The short cuts of ranked leave what sorting all would, ties too: of equals
// the earlier name is nearer.
func TestRankedIsTheHeadOfAllSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sites []Site
		for range rapid.IntRange(0, 30).Draw(t, "sites") {
			site := Site{rapid.Uint64().Draw(t, "seed"), rapid.Uint64Range(1, MaxWeight).Draw(t, "weight")}
			if len(sites) > 0 && rapid.Bool().Draw(t, "twin") {
				site = rapid.SampledFrom(sites).Draw(t, "of")
			}
			sites = append(sites, site)
		}
		key := rapid.Uint64().Draw(t, "key")
		all := make([]near, len(sites))
		for i, s := range sites {
			all[i] = near{Distance(s.Seed, key, s.Weight), uint32(i)}
		}
		slices.SortFunc(all, near.compare)
		n := rapid.IntRange(0, len(sites)).Draw(t, "n")
		if got := ranked(sites, key, make([]near, 0, n)); !slices.Equal(got, all[:n]) {
			t.Fatalf("%v, want %v", got, all[:n])
		}
	})
}
