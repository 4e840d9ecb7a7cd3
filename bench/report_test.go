package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// only is the sections, without those that are not named.
func only(t *testing.T, expression string) []section {
	t.Helper()
	all, err := choose(contenders, "")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := chooseSections(sections, expression, all)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func printed(t *testing.T, which string, r results) string {
	t.Helper()
	var out strings.Builder
	if err := report(&out, []string{"machine: a box"}, plan{3, 5 * time.Second}, only(t, which), r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func wantIn(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestReport(t *testing.T) {
	at := func(contender string, l load) place { return place{"requests", contender, l.name} }
	r := results{turns: map[place][]turn{
		at(nginx, many):   {{proxy: 20, backend: 5, rate: 1}, {proxy: 40, backend: 5, rate: 1}, {proxy: 20, backend: 5, rate: 1}},
		at(nginxGo, many): {{proxy: 20, backend: 20, rate: 1}, {proxy: 20, backend: 20, rate: 1}, {proxy: 20, backend: 20, rate: 1}},
		at(dialmux, many): {
			{proxy: 13, backend: 8, p50: 2 * time.Millisecond, p99: 9 * time.Millisecond, rate: 1000},
			{proxy: 16, backend: 8, p50: 3 * time.Millisecond, p99: 7 * time.Millisecond, rate: 3000},
			{proxy: 14, backend: 8, p50: 1 * time.Millisecond, p99: 8 * time.Millisecond, rate: 2000},
		},
		at(nginx, single):   {{p50: 100 * time.Microsecond, rate: 1}, {p50: 200 * time.Microsecond, rate: 1}, {p50: 100 * time.Microsecond, rate: 1}},
		at(dialmux, single): {{p50: 150 * time.Microsecond, rate: 1}, {p50: 250 * time.Microsecond, rate: 1}, {p50: 140 * time.Microsecond, rate: 1}},
	}, failures: map[place]error{{"requests", caddy, ""}: errors.New("no caddy:\nmake bench-deps installs it")}}
	text := printed(t, "requests", r)
	wantIn(t, text,
		"- machine: a box\n",
		"64 connections, 20-byte body if nothing else is said; 3 rounds in turn, 5s each",
		"| requests | Dialmux -> Go worker | 64 conn. | 14.0 (13.0 to 16.0) | 8.0 (8.0 to 8.0) | 22.0 (21.0 to 24.0) | 2ms | 8ms | 2000 |",
		// Ratios are taken in each round: the second round's nginx was slow, and so was ours.
		"| CPU, router / nginx | 14 µs | 20 µs | 0.65 | 0.40 to 0.70 | <= 0.75 | pass |",
		"| CPU, router + Go worker / nginx + Go net/http | 22 µs | 40 µs | 0.55 | 0.53 to 0.60 | <= 0.55 | pass |",
		"| p50 at one connection, router / nginx | 0.15 ms | 0.1 ms | 1.40 | 1.25 to 1.50 | <= 1.3 | MISS |",
		// What is not there is named, with the reason.
		`- NOT MEASURED in "requests": Caddy -> nginx: no caddy: make bench-deps installs it`,
		"| CPU, router / Caddy | | | | | <= 0.2 | not measured |",
	)
	if strings.Contains(text, "1 MiB responses") {
		t.Errorf("a section that was left out has a row:\n%s", text)
	}
}

// More is better where bytes or requests are counted.
func TestReportOfWhatMustBeAtLeast(t *testing.T) {
	at := func(contender string, l load) place { return place{"bodies", contender, l.name} }
	text := printed(t, "bodies", results{turns: map[place][]turn{
		at(nginx, many16k): {{proxy: 16.384}}, at(dialmux, many16k): {{proxy: 32.768}},
		at(nginx, many1m): {{proxy: 1048.576}}, at(dialmux, many1m): {{proxy: 524.288}},
	}})
	wantIn(t, text,
		"| bytes per CPU second, 16 KiB responses, router / nginx | 500 MB/s | 1000 MB/s | 0.50 | 0.50 to 0.50 | >= 0.8 | MISS |",
		"| bytes per CPU second, 1 MiB responses, router / nginx | 2000 MB/s | 1000 MB/s | 2.00 | 2.00 to 2.00 | >= 1 | pass |",
	)
}

// A figure that is compared with nothing is judged itself.
func TestReportOfMemory(t *testing.T) {
	text := printed(t, "idle", results{turns: map[place][]turn{
		{"idle", dialmux, idle.name}: {{idle: 9 << 10}, {idle: 12 << 10}, {idle: 8 << 10}},
	}})
	wantIn(t, text, "| memory per idle keep-alive client | 9 KiB |  |  | 8.00 to 12.00 | <= 10 | pass |")
}

// A contender that fails under one load shows nothing of the section: its rounds would not match the others'.
func TestFailureTakesAContenderOutOfItsSection(t *testing.T) {
	r := results{turns: map[place][]turn{
		{"bodies", nginx, many16k.name}:   {{proxy: 1}},
		{"bodies", dialmux, many16k.name}: {{proxy: 1}},
		{"cores", dialmux, many.name}:     {{proxy: 1}},
	}, failures: map[place]error{}}
	r.fail(only(t, "bodies")[0], dialmux, errors.New("timeout"))
	if len(r.turns) != 2 || r.turns[place{"cores", dialmux, many.name}] == nil || r.turns[place{"bodies", nginx, many16k.name}] == nil {
		t.Errorf("left are %v, want nginx's, and Dialmux's in the other section", r.turns)
	}
	if r.failures[place{"bodies", dialmux, ""}] == nil {
		t.Error("nobody will know why")
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		all  []int
		want int
	}{{[]int{7}, 7}, {[]int{9, 1}, 1}, {[]int{9, 1, 5}, 5}} {
		if got := median(tc.all); got != tc.want {
			t.Errorf("median of %v: got %d, want %d", tc.all, got, tc.want)
		}
	}
}
