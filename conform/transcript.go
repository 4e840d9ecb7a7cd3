package conform

import (
	"fmt"
	"strings"
	"sync"

	"github.com/dialmux/dialmux/frame"
)

// transcript keeps the last frames that crossed, for the report.
type transcript struct {
	mu   sync.Mutex
	kept []string
	cut  int
}

const transcriptLines = 40

func (t *transcript) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept, t.cut = nil, 0
}

func (t *transcript) note(dir string, m received) { t.say(dir + " " + describe(m)) }

func (t *transcript) say(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept = append(t.kept, line); len(t.kept) > transcriptLines {
		t.kept = t.kept[1:]
		t.cut++
	}
}

func (t *transcript) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut > 0 {
		return append([]string{fmt.Sprintf("(%d earlier frames)", t.cut)}, t.kept...)
	}
	return append([]string{}, t.kept...)
}

// describe writes a frame for people.
func describe(m received) string {
	if len(m) == 4 {
		return fmt.Sprintf("REP tag=%x head=%.120q payload=%d bytes", m[0], m[2], len(m[3]))
	}
	f, err := m.parse()
	if err != nil {
		return fmt.Sprintf("malformed: %v: %.40x", err, m[0])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v", f.Type)
	if f.Stream != 0 {
		fmt.Fprintf(&b, " stream=%d", f.Stream)
	}
	switch f.Type {
	case frame.Headers:
		for name, value := range f.Fields.All() {
			fmt.Fprintf(&b, " %s=%.60q", name, value)
		}
	case frame.RSTStream:
		fmt.Fprintf(&b, " %v %q", f.Code, f.Reason)
	case frame.GoAway:
		fmt.Fprintf(&b, " last=%d %v %q", f.Last, f.Code, f.Reason)
	case frame.WindowUpdate:
		fmt.Fprintf(&b, " credit=%d", f.Credit)
	case frame.Join:
		if j, err := frame.ParseJoin(&f); err == nil {
			j.Token = ""
			fmt.Fprintf(&b, " %+v", j)
		}
	case frame.Welcome:
		if w, err := frame.ParseWelcome(&f); err == nil {
			fmt.Fprintf(&b, " connection=%d", w.Connection)
		}
	}
	if len(f.Payload) > 0 {
		fmt.Fprintf(&b, " payload=%d bytes", len(f.Payload))
	}
	if (f.Type == frame.Data || f.Type == frame.Headers) && f.End() {
		fmt.Fprintf(&b, " END_STREAM total=%d", f.Total)
	}
	return b.String()
}
