package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// W13: tokens are read again when their file changes; one that is of no use
// leaves the old ones.
func TestW13TokenFileThatChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old\n")
	r := startRouter(t, "--token-file", file)
	r.worker("tokenless")
	state := func(want string) func() bool {
		return func() bool {
			var all []struct{ State, Why string }
			r.ask("/workers", &all)
			return len(all) == 1 && all[0].State == want
		}
	}
	eventually(t, "the worker is refused", state("refused"))
	write("old nonsense\n")
	eventually(t, "it is said that the file is of no use", func() bool { return strings.Contains(r.log.String(), "of no use; the old tokens go on") })
	write("new\n")
	eventually(t, "the tokens are read again", func() bool { return strings.Contains(r.log.String(), "tokens read again") })
	for _, secret := range []string{"old", "new", "nonsense"} {
		if strings.Contains(strings.ReplaceAll(r.log.String(), "the old tokens go on", ""), `"`+secret+`"`) {
			t.Errorf("the log has the token %s", secret)
		}
	}
	r.stop()
}
