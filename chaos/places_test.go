package main

import (
	"strings"
	"testing"
)

// Requests of one key belong together, whichever process of that name had them.
func TestPlaces(t *testing.T) {
	quietly := &window{fault: &quiet, row: &row{}}
	fell := &window{fault: &fault{}, row: &row{}, before: quietly}
	at := func(key int, w *window, workers ...string) *entry {
		e := &entry{plan: plan{key: key}, start: quietly, end: w, outcome: outcome{front: "A"}}
		for _, name := range workers {
			e.works = append(e.works, work{worker: name})
		}
		return e
	}
	p := places{}
	for _, e := range []*entry{
		at(7, quietly, "one.1"), at(7, quietly, "one.2"), at(7, quietly, "one.1"), at(7, quietly, "one.1"),
		at(8, quietly, "two.1"), at(7, fell, "two.1"), at(0, quietly, "three.1"), at(7, quietly), at(7, quietly, "two.1", "three.1"),
	} {
		p.count(e)
	}
	if line, err := p.line(); err != nil || !strings.Contains(line, " 5 requests") || !strings.Contains(line, " 100.0 %") {
		t.Errorf("%s, %v", line, err)
	}
	p.count(at(7, quietly, "two.1"))
	p.count(at(8, quietly, "one.1"))
	if line, err := p.line(); err == nil {
		t.Errorf("no complaint of: %s", line)
	}
	if _, err := (places{}).line(); err != nil {
		t.Error(err)
	}
}
