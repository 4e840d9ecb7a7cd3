package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/worker"
)

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
