// Package ring says who owns a key: the same answer in every process and every
// language, without a word between them. SPEC.md is the algorithm for people
// who compute it elsewhere.
//
// Each key has a distance to each member, by hash, and the nearest member owns
// it (weighted rendezvous hashing): whoever joins or leaves, and whatever its
// name is, no key moves between two others. There are two ways to ask.
// Straight, by [Nearest] and [Next]: key -> member. Or through a [Ring]:
// key -> one of a fixed number of partitions -> owners, in a table that is
// made once for each change, and of which [Diff] tells what changed hands.
package ring

// Hash is FNV-1a, 64 bit, of the key's bytes.
func Hash[K ~string | ~[]byte](key K) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return h
}

// Partition is Hash(key) modulo the number of partitions, which is 1 or more.
func Partition[K ~string | ~[]byte](key K, partitions int) int {
	return int(Hash(key) % uint64(partitions))
}

// mix is the finalizer of splitmix64: FNV-1a alone hardly moves its high bits
// for a change near the end of a name or key.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
