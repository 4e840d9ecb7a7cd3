package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// report prints the figures as Markdown: facts, the table of targets, and what each contender cost.
func report(w io.Writer, facts []string, p plan, sections []section, r results) error {
	var b strings.Builder
	for _, fact := range facts {
		fmt.Fprintf(&b, "- %s\n", fact)
	}
	fmt.Fprintf(&b, "- load: wrk, keep-alive, %d connections, %d-byte body if nothing else is said; %d rounds in turn, %v each; "+
		"one thread a proxy, one a backend\n", manyConnections, len(answer), p.rounds, p.duration)
	for _, s := range sections {
		for _, name := range s.contenders() {
			if err := r.failures[place{s.name, name, ""}]; err != nil {
				fmt.Fprintf(&b, "- NOT MEASURED in %q: %s: %s\n", s.name, name, oneLine(err))
			}
		}
	}
	reportTargets(&b, sections, r)
	reportCosts(&b, sections, r)
	_, err := io.WriteString(w, b.String())
	return err
}

// reportTargets prints a row for each target whose section and contenders were to be measured.
func reportTargets(b *strings.Builder, sections []section, r results) {
	var rows []string
	for _, t := range targets {
		for _, s := range sections {
			if s.name == t.section && s.has(t.of) && (t.absolute() || s.has(t.to)) {
				rows = append(rows, t.row(s, r))
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(b, "\nMedians; the ratio is taken in each round, and its range is over the rounds.")
	fmt.Fprintln(b, "\n| figure | first | second | ratio | range | target | |")
	fmt.Fprintln(b, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, row := range rows {
		fmt.Fprintln(b, row)
	}
}

func (t target) row(s section, r results) string {
	of, to := r.of(s, t.of), r.of(s, t.to)
	if len(of) == 0 || (!t.absolute() && len(to) == 0) {
		return fmt.Sprintf("| %s | | | | | %v | not measured |", t.what, t.bound)
	}
	first, second, ratio := t.figure.median(of), "", "" // an absolute figure is judged itself
	values := each(of, t.figure.of)
	if !t.absolute() {
		second = t.figure.median(to)
		values = ratios(of, to, t.figure.of)
		ratio = fmt.Sprintf("%.2f", median(values))
	}
	verdict := "MISS"
	if t.bound.holds(median(values)) {
		verdict = "pass"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %.2f to %.2f | %v | %s |",
		t.what, first, second, ratio, slices.Min(values), slices.Max(values), t.bound, verdict)
}

// absolute is a target that compares with nothing.
func (t target) absolute() bool { return t.to.contender == "" }

func (f figure) median(turns []turn) string {
	middle, digits := median(each(turns, f.of)), "%.3g"
	if middle >= 100 {
		digits = "%.0f"
	}
	return fmt.Sprintf(digits+" %s", middle, f.unit)
}

// reportCosts prints a row for each entry that was loaded with requests.
func reportCosts(b *strings.Builder, sections []section, r results) {
	fmt.Fprintln(b, "\nCPU is user and system time of all of a contender's processes, microseconds a request: median (least to most).")
	fmt.Fprintln(b, "\n| section | proxy -> backend | load | CPU proxy | CPU backend | CPU both | p50 | p99 | requests/s |")
	fmt.Fprintln(b, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, s := range sections {
		for _, e := range s.entries {
			turns := r.of(s, e)
			if len(turns) == 0 || turns[0].rate == 0 {
				continue
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %v | %v | %.0f |\n", s.name, e.contender, e.load.name,
				spread(turns, func(t turn) float64 { return t.proxy }),
				spread(turns, func(t turn) float64 { return t.backend }),
				spread(turns, turn.both),
				median(each(turns, func(t turn) time.Duration { return t.p50 })),
				median(each(turns, func(t turn) time.Duration { return t.p99 })),
				median(each(turns, func(t turn) float64 { return t.rate })))
		}
	}
}

// contenders are those of the section's entries, each once.
func (s section) contenders() []string {
	var names []string
	for _, e := range s.entries {
		if !slices.Contains(names, e.contender) {
			names = append(names, e.contender)
		}
	}
	return names
}

func (s section) has(e entry) bool {
	return slices.ContainsFunc(s.entries, func(one entry) bool {
		return one.contender == e.contender && one.load.name == e.load.name
	})
}

// oneLine fits an error into a list.
func oneLine(err error) string {
	const most = 400
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

// ratios compares round with round: what slowed the machine in one slowed both.
func ratios(of, to []turn, figure func(turn) float64) []float64 {
	all := make([]float64, len(of))
	for i := range of {
		all[i] = figure(of[i]) / figure(to[i])
	}
	return all
}

func spread(turns []turn, figure func(turn) float64) string {
	all := each(turns, figure)
	return fmt.Sprintf("%.1f (%.1f to %.1f)", median(all), slices.Min(all), slices.Max(all))
}

func each[T any](turns []turn, figure func(turn) T) []T {
	all := make([]T, len(turns))
	for i, t := range turns {
		all[i] = figure(t)
	}
	return all
}

// median is the middle one, the lower of two.
func median[T cmp.Ordered](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)-1)/2]
}
