package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// row is what became of the requests of one fault's windows. Those of a stage
// are guarded by its book's mu.
type row struct {
	fault    string
	injected int
	requests int
	breaches map[breach]int
	worst    time.Duration // of a good answer, but for slow clients
	good     int
	refused  int // 503
	late     int // 504
	broken   int // answers that broke off, visibly
	failed   int // all others: that could not be repeated, and whose worker or router was lost
}

func (r *row) count(e *entry, found []violation) {
	r.requests++
	for _, v := range found {
		if r.breaches == nil {
			r.breaches = map[breach]int{}
		}
		r.breaches[v.breach]++
	}
	o := &e.outcome
	switch {
	case o.status == 200 && o.whole:
		r.good++
		if e.plan.kind != slowReader && e.plan.kind != slowWriter {
			r.worst = max(r.worst, o.end.Sub(e.due))
		}
	case o.status == 200:
		r.broken++
	case o.status == 503:
		r.refused++
	case o.status == 504:
		r.late++
	default:
		r.failed++
	}
}

func (r *row) add(other *row) {
	r.injected += other.injected
	r.requests += other.requests
	r.good, r.refused, r.broken, r.failed = r.good+other.good, r.refused+other.refused, r.broken+other.broken, r.failed+other.failed
	r.late += other.late
	r.worst = max(r.worst, other.worst)
	for what, n := range other.breaches {
		if r.breaches == nil {
			r.breaches = map[breach]int{}
		}
		r.breaches[what] += n
	}
}

// total is the sum of rows.
func total(rows []*row) *row {
	sum := &row{fault: "total"}
	for _, r := range rows {
		sum.add(r)
	}
	return sum
}

// mainTable is all of what was done to Dialmux.
func mainTable(rows []*row) [][]string {
	table := [][]string{{"fault", "injected", "requests", "lost", "doubled", "crossed", "short", "hung", "worst latency", "200", "503", "504", "broke off", "other"}}
	for _, r := range append(rows[:len(rows):len(rows)], total(rows)) {
		line := []string{r.fault, strconv.Itoa(r.injected), strconv.Itoa(r.requests)}
		if r.fault == quiet.name {
			line[1] = "-"
		}
		for _, what := range []breach{lost, doubled, crossed, short, hung} {
			line = append(line, strconv.Itoa(r.breaches[what]))
		}
		line = append(line, latency(r))
		for _, n := range []int{r.good, r.refused, r.late, r.broken, r.failed} {
			line = append(line, strconv.Itoa(n))
		}
		table = append(table, line)
	}
	return table
}

// sideBySide is what can be done to every proxy. A contender without rows has
// the reason in missing.
func sideBySide(names []string, results map[string][]*row) [][]string {
	head := []string{"fault"}
	for _, name := range names {
		head = append(head, name+" requests", "lost", "doubled", "hung", "worst latency")
	}
	table := [][]string{head}
	for _, fault := range append([]string{quiet.name}, everywhere()...) {
		line := []string{fault}
		for _, name := range names {
			cells := []string{"-", "-", "-", "-", "-"}
			for _, r := range results[name] {
				if r.fault == fault {
					cells = []string{strconv.Itoa(r.requests), strconv.Itoa(r.breaches[lost]), strconv.Itoa(r.breaches[doubled]), strconv.Itoa(r.breaches[hung]), latency(r)}
				}
			}
			line = append(line, cells...)
		}
		table = append(table, line)
	}
	return table
}

func everywhere() (names []string) {
	for _, f := range faults {
		if f.anywhere {
			names = append(names, f.name)
		}
	}
	return names
}

func latency(r *row) string {
	if r.good == 0 {
		return "-"
	}
	return r.worst.Round(time.Millisecond).String()
}

// write prints a table, the first column to the left and the others to the
// right, for a terminal or in Markdown.
func write(w io.Writer, table [][]string, markdown bool) {
	widths := make([]int, len(table[0]))
	for _, line := range table {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range table {
		var b strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				cell += pad
			} else {
				cell = pad + cell
			}
			switch {
			case markdown:
				b.WriteString("| " + cell + " ")
			case i > 0:
				b.WriteString("  " + cell)
			default:
				b.WriteString(cell)
			}
		}
		if markdown {
			b.WriteString("|")
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
		if markdown && n == 0 {
			fmt.Fprintln(w, "| --- "+strings.Repeat("| ---: ", len(line)-1)+"|")
		}
	}
}
