package conform

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSentences holds the kit to the page: what a case says that it checks
// stands in SPEC.md.
func TestSentences(t *testing.T) {
	b, err := os.ReadFile("../frame/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	spec := strings.Join(strings.Fields(string(b)), " ")
	for kit, cases := range map[string][][2]string{"worker": workerSentences(), "router": routerSentences()} {
		names := map[string]bool{}
		for _, c := range cases {
			name, checks := c[0], strings.Join(strings.Fields(c[1]), " ")
			if !strings.Contains(spec, checks) {
				t.Errorf("case %s checks %q, which is not in SPEC.md", name, checks)
			}
			if names[name] {
				t.Errorf("two cases for a %s are called %s", kit, name)
			}
			names[name] = true
		}
	}
}

func workerSentences() (all [][2]string) {
	for _, c := range slices.Concat(nativeCases, repCases) {
		all = append(all, [2]string{c.name, c.checks})
	}
	return all
}

func routerSentences() (all [][2]string) {
	for _, c := range routerCases() {
		all = append(all, [2]string{c.name, c.checks})
	}
	return all
}
