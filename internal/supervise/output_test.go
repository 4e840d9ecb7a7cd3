package supervise

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func TestOutputIsWholeLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for in, want := range map[string]string{
		"":            "",
		"a\n":         "web | a\n",
		"a\n\nb":      "web | a\nweb | \nweb | b\n",
		long + "y\nz": "web | " + long + "\nweb | y\nweb | z\n",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "in halves": iotest.HalfReader(strings.NewReader(in)), "broken off": iotest.DataErrReader(strings.NewReader(in))} {
			var out bytes.Buffer
			(&output{w: &out}).copy("web", r)
			if out.String() != want {
				t.Errorf("%.20q %s became %.200q", in, name, out.String())
			}
		}
	}
}

// eachWrite fails if a write is no whole line.
type eachWrite struct {
	t     *testing.T
	lines int
}

func (w *eachWrite) Write(p []byte) (int, error) {
	if s := string(p); s != "a | first second\n" && s != "b | first second\n" {
		w.t.Errorf("written at once: %q", s)
	}
	w.lines++
	return len(p), nil
}

func TestLinesOfSeveralDoNotMix(t *testing.T) {
	w := &eachWrite{t: t}
	o := &output{w: w}
	var writing sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		writing.Go(func() { o.copy(name, iotest.OneByteReader(strings.NewReader(strings.Repeat("first second\n", 100)))) })
	}
	writing.Wait()
	if w.lines != 200 {
		t.Errorf("%d lines of 200", w.lines)
	}
}
