package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/router"
)

func ringCommand() *cli.Command {
	var s routeView
	return &cli.Command{
		Name:  "ring",
		Usage: "draw who shares the keys of a service",
		Description: `Example: dialmux ring --service shop

Its workers with their shares of all keys, by weight, and those that have gone
and whose keys wait for them. What was chosen by strangers is shown escaped, as
by dialmux status.`,
		Flags:        s.flags(),
		OnUsageError: usageError,
		ArgValidator: noArguments,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			return s.ring(ctx, cmd.Root().Writer)
		},
	}
}

func (s *routeView) ring(ctx context.Context, out io.Writer) error {
	var st router.RingStatus
	if done, err := s.ask(ctx, "/ring", url.Values{}, &st, out); done || err != nil {
		return err
	}
	return show(out, ringTable(&st), nil)
}

// ringTable is the ring for people.
func ringTable(st *router.RingStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, sticky %s: %d in the ring\n\n", routeOf(st.Service, st.Route), clip(cmp.Or(st.Sticky, "off"), 2*maxCell), len(st.Members))
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	row(w, "WORKER", "WEIGHT", "STATE", "BUSY", "ENDED", "SHARE")
	most := 0.0
	for _, m := range st.Members {
		most = max(most, m.Share)
	}
	for _, m := range st.Members {
		row(w, m.Name, strconv.Itoa(m.Weight), m.State, strconv.Itoa(m.Busy), strconv.FormatUint(m.Ended, 10),
			fmt.Sprintf("%5.1f%% %s", 100*m.Share, bar(m.Share/most)))
	}
	if len(st.Members) == 0 {
		row(w, "none is there")
	}
	_ = w.Flush()
	return b.String()
}

// widest is a whole bar, in characters.
const widest = 32

// bar is drawn in eighths of a character, and of something never nothing.
func bar(part float64) string {
	if !(part > 0) {
		return ""
	}
	eighths := max(int(min(part, 1)*widest*8+0.5), 1)
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}
