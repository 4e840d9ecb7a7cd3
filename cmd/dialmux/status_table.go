package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/dialmux/dialmux/internal/terminal"
	"github.com/dialmux/dialmux/router"
)

// table is the standing for people.
func (s *standing) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	st := &s.Streams
	fmt.Fprintf(&b, "%s: %d ready to work; requests: %d open, %d waiting, %d retried\n", terminal.Printable(s.Ready.Status), s.Ready.Workers, st.Open, st.Waiting, st.Retried)

	section(w, "SERVICE", "HOST", "PATH", "WORKERS", "WAITING")
	for _, v := range s.Services {
		for i, r := range v.Routes {
			waiting := "" // it is the service's
			if i == 0 {
				waiting = strconv.Itoa(v.Waiting)
			}
			row(w, cmp.Or(v.Name, "-"), cmp.Or(r.Host, "*"), r.Path, strconv.Itoa(r.Workers), waiting)
		}
	}
	if len(s.Services) == 0 {
		row(w, "nobody has announced any")
	}

	said := slices.ContainsFunc(s.Workers, func(p router.WorkerStatus) bool { return p.AppVersion != "" || p.Zone != "" })
	titles := []string{"WORKER", "SERVICE", "STATE", "BUSY", "ENDED", "REFUSED", "SINCE", "SOCKET", "FROM"}
	if said {
		titles = append(titles, "VERSION", "ZONE")
	}
	section(w, titles...)
	for _, p := range s.Workers {
		cells := []string{
			p.Name, cmp.Or(p.Service, "-"), p.State, fmt.Sprintf("%d/%d", p.Busy, p.Concurrency),
			strconv.FormatUint(p.Ended, 10), strconv.FormatUint(p.Refused, 10), ago(time.Since(p.Since)), p.Kind, p.Addr,
		}
		if said {
			cells = append(cells, cmp.Or(p.AppVersion, "-"), cmp.Or(p.Zone, "-"))
		}
		row(w, cells...)
	}
	if len(s.Workers) == 0 {
		row(w, "none is there")
	}
	_ = w.Flush()
	for _, p := range s.Workers {
		if p.Why != "" {
			fmt.Fprintf(&b, "%s is refused: %s\n", clip(p.Name, maxCell), clip(p.Why, 200))
		}
	}

	if len(st.Streams) > 0 {
		section(w, "REQUEST", "PATH", "STATE", "WORKER", "AGE")
		oldest := slices.SortedStableFunc(slices.Values(st.Streams), func(a, b router.StreamStatus) int { return cmp.Compare(b.Age, a.Age) })
		for _, r := range oldest[:min(len(oldest), maxRequests)] {
			row(w, cmp.Or(r.Method, "-"), cmp.Or(r.Target, "-"), r.State, cmp.Or(r.Worker, "-"), ago(time.Duration(r.Age*float64(time.Second))))
		}
		_ = w.Flush()
		if more := len(oldest) - maxRequests; more > 0 {
			fmt.Fprintf(&b, "and %d younger ones; --json has them all\n", more)
		}
	}
	return b.String()
}

const (
	maxRequests = 20 // the oldest, which are the ones to look into
	maxCell     = 48 // characters
)

func section(w *tabwriter.Writer, titles ...string) {
	_ = w.Flush() // each section has widths of its own
	fmt.Fprintln(w)
	row(w, titles...)
}

// row writes cells, escaped. An empty one stays empty.
func row(w *tabwriter.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = clip(c, maxCell)
	}
	fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

// clip escapes s and keeps the first n characters of that, the last of them an
// ellipsis if there were more.
func clip(s string, n int) string {
	s = terminal.Printable(s)
	if utf8.RuneCountInString(s) > n {
		s = string([]rune(s)[:n-1]) + "…"
	}
	return s
}

// ago is a time span as kubectl shows it: the two units that matter.
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "0s" // two machines, two clocks
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
