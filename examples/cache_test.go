package examples_test

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// A worker that has its own keys caches far better than one that gets whatever comes; and who joins, leaves or is killed costs the
// others none of theirs.
func TestCache(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(bin, "cache"), "-keys", "400", "-capacity", "120", "-requests", "1000", "-origin", "2ms")
	<-p.ended
	if p.err != nil {
		t.Fatal(p.err)
	}
	rows := cacheRows(t, p.out.String())
	for event, want := range map[string]float64{ // percent of the keys that move
		"cache-5 joins":     100 / 5.0,
		"cache-1 leaves":    100 / 5.0,
		"cache-2 is killed": 100 / 4.0,
	} {
		turns, keyed := rows[event+", off"], rows[event+", path"]
		if turns.requests < 2000 || keyed.requests < 2000 {
			t.Errorf("%s: %d and %d requests, want 2000 or more", event, turns.requests, keyed.requests)
		}
		if turns.failed+keyed.failed > 0 {
			t.Errorf("%s: %d requests failed in turns, %d by key", event, turns.failed, keyed.failed)
		}
		if keyed.before < 95 || keyed.before < turns.before+20 || keyed.during < turns.during+20 || keyed.after < turns.after+20 {
			t.Errorf("%s: hit rates by key %.0f, %.0f and %.0f %%, in turns %.0f, %.0f and %.0f %%", event,
				keyed.before, keyed.during, keyed.after, turns.before, turns.during, turns.after)
		}
		if math.Abs(keyed.missed-want) > 8 || math.Abs(keyed.moved-want) > 8 || turns.missed < 80 {
			t.Errorf("%s: by key %.0f %% missed again and %.0f %% moved, want about %.0f %%; in turns %.0f %% missed again", event,
				keyed.missed, keyed.moved, want, turns.missed)
		}
	}
}

// Workers end with who started them, also if that is killed: start would wait for them for ever.
func TestCacheLeavesNoWorkerBehind(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(bin, "cache"))
	p.says("| cache-5 joins | off |")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.err == nil {
		t.Error("it had ended before it was killed")
	}
}

// cacheRow is a line of the table, rates and shares in percent.
type cacheRow struct {
	before, during, after, missed, moved float64
	requests, failed                     int
}

func cacheRows(t *testing.T, printed string) map[string]cacheRow {
	t.Helper()
	rows := map[string]cacheRow{}
	for line := range strings.Lines(printed) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if len(cells) != 9 || !strings.HasPrefix(cells[0], "cache-") {
			continue
		}
		var r cacheRow
		var n, of int
		into := strings.Join(cells[2:], "; ")
		form, args := "%f %%; %f %%; %f %%; %d of %d, %f %%; ", []any{&r.before, &r.during, &r.after, &n, &of, &r.missed}
		if cells[6] == "-" {
			form += "-; "
		} else {
			form += "%d of %d, %f %%; "
			args = append(args, &n, &of, &r.moved)
		}
		if _, err := fmt.Sscanf(into, form+"%d; %d", append(args, &r.requests, &r.failed)...); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		rows[cells[0]+", "+cells[1]] = r
	}
	if len(rows) != 6 {
		t.Fatalf("want 6 rows, not %d:\n%s", len(rows), printed)
	}
	return rows
}
