package ring_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/ring"
)

// The numbers that people copy from the text. That the text is enough is
// TestPythonAgrees.
func TestSpecNumbersAreTheConstants(t *testing.T) {
	b, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	for _, want := range []string{
		fmt.Sprintf("h = %d", ring.Hash("")),
		fmt.Sprintf("the number of partitions, is 1 to %s", thousands(ring.MaxPartitions)),
		fmt.Sprintf("A weight is a whole number from 1 to %s", thousands(ring.MaxWeight)),
		fmt.Sprintf("the redundancy, 1 to %d", ring.MaxRedundancy),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("SPEC.md does not say %q", want)
		}
	}
}

func thousands(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
