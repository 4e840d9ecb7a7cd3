package ring

import (
	"math"
	"math/bits"
)

// MaxWeight is the heaviest that a member may be.
const MaxWeight = 10_000

// Seed is what a member's name adds to its distances. It is worth keeping.
func Seed(name string) uint64 { return mix(Hash(name)) }

// Distance from a member to a key, of which seed and key are [Seed] and
// [Hash]: the nearest member owns the key, and of equals the one whose name is
// less. Weight is from 1 to [MaxWeight]: the distance is a random one,
// exponentially distributed, over the weight, so that members are nearest to
// keys in proportion to their weights.
//
// It is made of whole numbers: the logarithms of two languages, or of two
// processors, differ in their last bits, and then so would owners. (Taking the
// best of as many hashes as the weight says would be exact too, but a hundred
// times the work at weight 100.)
func Distance(seed, key, weight uint64) uint64 {
	return minusLog2(mix(seed^key)) / weight
}

// minusLog2 is -log2(u / 2^64) in units of 2^-57: straight lines between the
// 257 points of logs. It never rises with u, and is off by less than a thousandth of itself.
func minusLog2(u uint64) uint64 {
	u |= 1 // 0 has no logarithm
	zeros := bits.LeadingZeros64(u)
	u <<= zeros
	at := u >> 55 & 255 // the eight bits after the leading one; the rest is the way to the next point
	from, to := logs[at], logs[at+1]
	down, _ := bits.Mul64((from-to)<<25, u<<9)
	return uint64(zeros)<<57 + from<<25 - down
}

// logs[i] is log2(512 / (256 + i)) in units of 2^-32, rounded. None lies so
// near to the middle of two whole numbers that a float64 could round it wrong.
var logs = func() (logs [257]uint64) {
	for i := range logs {
		logs[i] = uint64(math.Round(math.Log2(512/float64(256+i)) * (1 << 32)))
	}
	return logs
}()

// Site is a member as distances know it.
type Site struct {
	Seed   uint64
	Weight uint64
}

// Nearest is the index of the site that owns a key, -1 if there are none.
// Sites are in the order of their members' names. It allocates nothing, and so
// does Next.
func Nearest(sites []Site, key uint64) int {
	return nearest(sites, key, 0, -1)
}

// Next is the index of the site that is the next nearest to a key after the
// one at index after, -1 if that is the farthest: with Nearest it walks
// through who would own the key if those before were not there.
func Next(sites []Site, key uint64, after int) int {
	return nearest(sites, key, Distance(sites[after].Seed, key, sites[after].Weight), after)
}

// nearest finds the nearest of the sites that are farther than a distance,
// or as far and later than an index.
func nearest(sites []Site, key uint64, beyond uint64, after int) int {
	best, found := uint64(math.MaxUint64), -1
	for i := range sites {
		s := &sites[i]
		u := mix(s.Seed ^ key)
		if isFar(u, s.Weight, best) {
			continue
		}
		d := minusLog2(u) / s.Weight
		if d < best && (d > beyond || d == beyond && i > after) {
			best, found = d, i
		}
	}
	return found
}

// isFar tells without a logarithm and a division that a distance is not less
// than best; it finds nearly all that are not. -log2(x) >= 1 - x.
func isFar(u, weight, best uint64) bool {
	over, product := bits.Mul64(best, weight)
	return over == 0 && ^u>>7 >= product
}
