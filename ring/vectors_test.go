package ring_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/dialmux/dialmux/ring"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew; check.py must agree")

// The file's numbers of 64 bits are in hexadecimal: JSON readers round them.
type vectors struct {
	Keys      []keyVector      `json:"keys"`
	Distances []distanceVector `json:"distances"`
	Rings     []ringVector     `json:"rings"`
}

type keyVector struct {
	Key        string         `json:"key"` // its bytes in hexadecimal
	Text       string         `json:"text,omitempty"`
	Hash       string         `json:"hash"`
	Partitions map[string]int `json:"partitions"` // of how many it is in which
}

type distanceVector struct {
	Name     string `json:"name"`
	Weight   int    `json:"weight"`
	Key      string `json:"key"`
	Seed     string `json:"seed"`
	Distance string `json:"distance"`
}

type ringVector struct {
	Partitions   int               `json:"partitions"`
	Redundancy   int               `json:"redundancy"`
	Distribution ring.Distribution `json:"distribution"`
	Members      []memberVector    `json:"members"`
	Owners       []string          `json:"owners"`   // of each partition: numbers of members, the first owner's first
	Lists        []listVector      `json:"lists"`    // who owns a key, and who would if they were gone
	Straight     []listVector      `json:"straight"` // the same without partitions
}

type memberVector struct {
	Name   string `json:"name"`
	Weight int    `json:"weight"`
}

type listVector struct {
	Key     string   `json:"key"` // as text
	Members []string `json:"members"`
}

var vectorKeys = []string{
	"", "a", "user-17", "203.0.113.7", "2001:db8::1", "/api/v1/items?id=3", "Grüße", "ключ", "鍵", "🔑", "\x00", "\xff\xfe", "a\nb",
	"3f2c9d1e-8a47-4b6e-9c0d-5e1f2a3b4c5d",
}

func hex64(x uint64) string { return fmt.Sprintf("%016x", x) }

// compute says what the package makes of the questions.
func compute(t *testing.T) (v vectors) {
	for _, key := range vectorKeys {
		k := keyVector{Key: hex.EncodeToString([]byte(key)), Hash: hex64(ring.Hash(key)), Partitions: map[string]int{}}
		if printable := json.Valid([]byte(`"` + key + `"`)); printable {
			k.Text = key
		}
		for _, partitions := range []int{1, 2, 512, 1000, 4096, 65536} {
			k.Partitions[fmt.Sprint(partitions)] = ring.Partition(key, partitions)
		}
		v.Keys = append(v.Keys, k)
	}
	for _, name := range []string{"a", "worker-1", "worker-2", "Grüße"} {
		for _, weight := range []int{1, 3, 100} {
			for _, key := range vectorKeys {
				v.Distances = append(v.Distances, distanceVector{
					name, weight, hex.EncodeToString([]byte(key)), hex64(ring.Seed(name)),
					hex64(ring.Distance(ring.Seed(name), ring.Hash(key), uint64(weight))),
				})
			}
		}
	}
	alike := func(n int) []memberVector {
		all := []memberVector{}
		for _, m := range members(n) {
			all = append(all, memberVector{m.Name, 1})
		}
		return all
	}
	weighted := []memberVector{{"a", 1}, {"b", 2}, {"c", 7}, {"Ω", 100}, {"worker-1", 3}}
	for _, r := range []ringVector{
		{Partitions: 16, Redundancy: 1, Distribution: ring.Rendezvous, Members: alike(0)},
		{Partitions: 16, Redundancy: 1, Distribution: ring.Uniform, Members: alike(0)},
		{Partitions: 1, Redundancy: 1, Distribution: ring.Rendezvous, Members: alike(1)},
		{Partitions: 64, Redundancy: 1, Distribution: ring.Rendezvous, Members: alike(3)},
		{Partitions: 64, Redundancy: 3, Distribution: ring.Rendezvous, Members: alike(12)},
		{Partitions: 64, Redundancy: 2, Distribution: ring.Rendezvous, Members: weighted},
		{Partitions: 31, Redundancy: 9, Distribution: ring.Rendezvous, Members: weighted},
		{Partitions: 512, Redundancy: 1, Distribution: ring.Rendezvous, Members: alike(10)},
		{Partitions: 64, Redundancy: 1, Distribution: ring.Uniform, Members: alike(1)},
		{Partitions: 64, Redundancy: 1, Distribution: ring.Uniform, Members: alike(3)},
		{Partitions: 64, Redundancy: 3, Distribution: ring.Uniform, Members: alike(4)},
		{Partitions: 61, Redundancy: 3, Distribution: ring.Uniform, Members: alike(6)},
		{Partitions: 64, Redundancy: 5, Distribution: ring.Uniform, Members: alike(6)},
		{Partitions: 7, Redundancy: 3, Distribution: ring.Uniform, Members: alike(9)},
		{Partitions: 7, Redundancy: 4, Distribution: ring.Uniform, Members: alike(3)},
		{Partitions: 512, Redundancy: 2, Distribution: ring.Uniform, Members: alike(10)},
	} {
		var given []ring.Member
		number := map[string]int{}
		for i, m := range r.Members {
			given = append(given, ring.Member{Name: m.Name, Weight: m.Weight})
			number[m.Name] = i
		}
		table := newRing(t, ring.Config{Partitions: r.Partitions, Redundancy: r.Redundancy, Distribution: r.Distribution}, given).Table()
		for p := range r.Partitions {
			of := ""
			for _, name := range table.OwnersOf(p, table.Width()) {
				of += fmt.Sprint(number[name], " ")
			}
			r.Owners = append(r.Owners, of[:max(0, len(of)-1)])
		}
		all := table.Members()
		sites := make([]ring.Site, len(all))
		for i, m := range all {
			sites[i] = ring.Site{Seed: ring.Seed(m.Name), Weight: uint64(m.Weight)}
		}
		for _, key := range vectorKeys[:8] {
			r.Lists = append(r.Lists, listVector{key, append([]string{}, table.Owners(key, len(all))...)})
			straight := []string{}
			for i := ring.Nearest(sites, ring.Hash(key)); i >= 0; i = ring.Next(sites, ring.Hash(key), i) {
				straight = append(straight, all[i].Name)
			}
			r.Straight = append(r.Straight, listVector{key, straight})
		}
		v.Rings = append(v.Rings, r)
	}
	return v
}

// Owners that other programs have computed, perhaps years ago, hold.
func TestVectors(t *testing.T) {
	const file = "testdata/vectors.json"
	got, err := json.MarshalIndent(compute(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(got, want) {
		return
	}
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			t.Fatalf("byte %d differs from %s: it has %q, the package says %q", i, file, want[min(i, len(want)):min(i+80, len(want))], got[i:min(i+80, len(got))])
		}
	}
	t.Fatalf("%s goes on after what the package says", file)
}

// SPEC.md is enough to compute owners: check.py was written from it.
func TestPythonAgrees(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "--version").Run(); err != nil {
		complain := t.Skipf
		if os.Getenv("CI") == "true" {
			complain = t.Fatalf
		}
		complain("%s: %v: install python3 (Debian)", python, err)
	}
	printed, err := exec.Command(python, "-B", "testdata/check.py").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	t.Logf("%s", printed)
}
