package ring

// Change is a replica of a partition that changed hands.
type Change struct {
	Partition int
	Replica   int    // 0 is the first owner's
	From, To  string // members; "" is nobody
}

// Diff lists what changed hands between two tables of one ring, in the order
// of partitions and replicas: what has the same owner in both is not there.
// Someone who goes from one replica of a partition to another of it stands in
// two changes.
func Diff(was, now *Table) (changes []Change) {
	for p := range max(was.Partitions(), now.Partitions()) {
		for replica := range max(was.width, now.width) {
			if from, to := was.At(p, replica), now.At(p, replica); from != to {
				changes = append(changes, Change{p, replica, from, to})
			}
		}
	}
	return changes
}
