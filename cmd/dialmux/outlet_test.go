package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Nobody who logs waits for the reader, who learns what is missing, and where.
func TestO3LogDropsWhatNobodyReads(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	o := newOutlet(out, 0)
	log := logging{level: "error", format: "json"}.logger(o)
	const lines = 4 * outletSize / 1000
	filler := strings.Repeat("x", 1000)
	for n := range lines {
		log.Error("m", "n", n, "filler", filler)
	}
	read := bufio.NewReader(in)
	next, dropped, gaps := 0, 0, 0
	type line struct {
		Msg, Level string
		N          *int
		Lines      int
	}
	take := func() line {
		text, err := read.ReadBytes('\n')
		var l line
		if err != nil || json.Unmarshal(text, &l) != nil {
			t.Fatalf("%.100q %v", text, err)
		}
		if l.N == nil {
			if l.Level != "WARN" || l.Lines == 0 || !strings.Contains(l.Msg, "log lines were dropped") {
				t.Fatalf("%s", text)
			}
			next, dropped, gaps = next+l.Lines, dropped+l.Lines, gaps+1
			return l
		}
		if *l.N != next {
			t.Fatalf("line %d, want %d", *l.N, next)
		}
		next++
		return l
	}
	for next < lines {
		take()
	}
	if dropped < lines/4 || gaps == 0 {
		t.Errorf("%d of %d lines were dropped, told %d times", dropped, lines, gaps)
	}
	log.Error("m", "n", next)
	take()
	log.Error("m", "n", next)
	fmt.Fprintln(o, `{"n":`+fmt.Sprint(next+1)+`}`)
	o.close() // what waits is written
	_ = out.Close()
	take()
	take()
}

// Of what an app prints, all arrives that is read, however much it is at once.
func TestOutletWaitsForWhoReads(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	o := newOutlet(out, time.Hour)
	o.telling(func(dropped int) []byte { return fmt.Appendln(nil, "dropped", dropped) })
	const lines = 4 * outletSize / 1000
	filler := strings.Repeat("x", 1000)
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := range lines {
			fmt.Fprintln(o, n, filler)
		}
		o.close()
		_ = out.Close()
	})
	n := 0
	for all := bufio.NewScanner(in); all.Scan(); n++ {
		if want := fmt.Sprint(n, " ", filler); all.Text() != want {
			t.Fatalf("line %d is %.20q", n, all.Text())
		}
	}
	writing.Wait()
	if n != lines {
		t.Errorf("%d lines of %d", n, lines)
	}
}

func TestLogEndsThoughNobodyReads(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	o := newOutlet(out, 0)
	for range 1000 {
		fmt.Fprintln(o, strings.Repeat("x", 1000))
	}
	o.close()
	_ = in.Close() // the writer sees it
	o.writing.Wait()
	_ = out.Close()
}
