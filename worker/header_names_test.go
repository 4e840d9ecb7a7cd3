package worker

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The lists of known names say of each name what would be made of it if it were not on them.
func TestKnownNames(t *testing.T) {
	src, err := os.ReadFile("header_names.go")
	if err != nil {
		t.Fatal(err)
	}
	keys, names := 0, 0
	for _, line := range regexp.MustCompile(`case "(.*)":\n\t\treturn "(.*)"\n`).FindAllStringSubmatch(string(src), -1) {
		from, to := line[1], line[2]
		if from == strings.ToLower(from) {
			keys++
			if key := knownKey([]byte(from)); key != to || key != http.CanonicalHeaderKey(from) {
				t.Errorf("knownKey(%q) is %q, want %q", from, key, http.CanonicalHeaderKey(from))
			}
			continue
		}
		names++
		if name := knownName(from); name != to || name != strings.ToLower(from) {
			t.Errorf("knownName(%q) is %q, want %q", from, name, strings.ToLower(from))
		}
	}
	if cases := strings.Count(string(src), "\tcase "); keys < 10 || names < 10 || keys+names != cases {
		t.Errorf("looked at %d keys and %d names of %d: the file is not written as this test reads it", keys, names, cases)
	}
	for _, key := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Content-Length"} {
		if name := knownName(key); name != "" {
			t.Errorf("%s is known: it would be sent as the handler set it", key)
		}
	}
}
