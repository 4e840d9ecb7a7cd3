package main

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/router"
	"github.com/dialmux/dialmux/worker"
)

// A worker is known once all routers have judged it, or some took it and the others are not there. One that refuses it, and has the worker before
// it, keeps that from leaving.
func TestWhenAWorkerIsKnown(t *testing.T) {
	for name, tc := range map[string]struct {
		took, refused, before string
		waited, want          bool
	}{
		"all":                        {took: "ab", want: true},
		"one of two":                 {took: "a"},
		"one of two, in time":        {took: "a", waited: true, want: true},
		"refused by all":             {refused: "ab", waited: true},
		"refused by one":             {took: "a", refused: "b", want: true},
		"refused where one is":       {took: "a", refused: "b", before: "ab"},
		"refused where one is, late": {took: "a", refused: "b", before: "b", waited: true},
		"refused where none is":      {took: "a", refused: "b", before: "a", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				times := 0
				before := &known{all: 2, tell: func() {}}
				k := &known{all: 2, tell: func() { times++ }, before: before}
				defer before.stop()
				defer k.stop()
				for _, router := range tc.before {
					before.joined(string(router))
				}
				for _, router := range tc.refused {
					k.refused(string(router), "why")
				}
				for _, router := range tc.took {
					k.joined(string(router))
					k.refused(string(router), "what it says anew")
				}
				if tc.waited {
					time.Sleep(time.Minute)
					synctest.Wait()
				}
				if got := times == 1; got != tc.want {
					t.Errorf("told %d times", times)
				}
				for _, router := range "ab" {
					k.joined(string(router)) // after all
				}
				if times != 1 {
					t.Errorf("told %d times at the end", times)
				}
			})
		})
	}
}

// Of a file's workers there are two at most: the one that serves, and the one that shall.
func TestWhoLeavesWhenAFileChanges(t *testing.T) {
	var s succession
	var there []string
	leaves := func(to string) func() {
		return func() {
			for i, name := range there {
				if name == to {
					there = append(there[:i:i], there[i+1:]...)
				}
			}
		}
	}
	says := func(to, host string) *appWorker {
		t.Helper()
		one := &appWorker{to: forwarding{to: to}, withdraw: leaves(to)}
		fresh, err := s.take(one, worker.Worker{Handler: http.NotFoundHandler(), Hosts: []string{host}})
		if err != nil {
			t.Fatal(err)
		}
		if fresh {
			there = append(there, to)
		}
		return one
	}
	wants := func(want string) {
		t.Helper()
		if got := strings.Join(there, " "); got != want {
			t.Errorf("there are %q, want %q", got, want)
		}
	}
	says("one", "a")
	wants("one")
	two := says("two", "a") // before the first has come
	wants("two")
	s.join(two)
	says("two", "b")
	wants("two")
	three := says("three", "b")
	wants("two three")
	says("four", "b")
	wants("two four")
	s.join(three) // too late
	wants("two four")
	says("two", "c") // after all
	wants("two")
	five := says("five", "d")
	says("five", "e")
	wants("two five")
	s.join(five)
	wants("five")
	if got := strings.Join(two.worker.Hosts, " ") + strings.Join(five.worker.Hosts, " "); got != "ce" {
		t.Errorf("they were to announce %s", got)
	}
	if _, err := s.take(&appWorker{to: forwarding{to: "six"}}, worker.Worker{Handler: http.NotFoundHandler(), Balance: "fair"}); err == nil {
		t.Error("a balance that there is not was taken")
	}
	says("six", "f")
	s.stop()
	wants("")
}

// Each file has a name of its own, whatever it is called, and the same one each time.
func TestWhatAFilesWorkerIsCalled(t *testing.T) {
	long := strings.Repeat("x", 200)
	seen := map[string]string{}
	for _, process := range []string{"web", strings.Repeat("p", maxProcess)} {
		for _, file := range []string{
			"shop.json", "shop", "shop.scrimp.json", "shop json", "shop-json", "shop,json", "shop\u00e4json", "\xff", "-", "a..b", "a-b", long, long + "y", "y" + long,
			nameOf("", "shop json")[1:], // one that is called like another's worker
		} {
			name := nameOf(process, file)
			if !router.ValidName(name) || !strings.HasPrefix(name, process+"-") || name != nameOf(process, file) {
				t.Errorf("%q is called %q", file, name)
			}
			if other, taken := seen[name]; taken {
				t.Errorf("%q and %q are both called %q", file, other, name)
			}
			seen[name] = file
		}
	}
	if got := nameOf("web", "shop.json"); got != "web-shop.json" {
		t.Errorf("shop.json is called %s", got)
	}
}
