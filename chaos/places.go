package main

import (
	"fmt"
	"strings"
)

// places tells who began the requests with a key that met no fault: by router and key, how many each worker did.
type places map[place]map[string]int

type place struct {
	front string
	key   int
}

func (p places) count(e *entry) {
	if e.plan.key == 0 || !e.strict() || len(e.works) != 1 {
		return
	}
	at := place{e.outcome.front, e.plan.key}
	if p[at] == nil {
		p[at] = map[string]int{}
	}
	name, _, _ := strings.Cut(e.works[0].worker, ".") // whichever of those that were started anew
	p[at][name]++
}

// togetherLeast is the part of a key's requests that one worker must have had. Not all: an owner that is full, or has sixteen times
// the others' share, passes requests on, and a REP worker is full with one.
const togetherLeast = 0.8

// line says how many there were, and how many of those their key's own worker had. The error says that these are too few.
func (p places) line() (string, error) {
	requests, together := 0, 0
	for _, workers := range p {
		most := 0
		for _, n := range workers {
			requests, most = requests+n, max(most, n)
		}
		together += most
	}
	if requests == 0 {
		return "keys: no request with one met no fault", nil
	}
	part := float64(together) / float64(requests)
	line := fmt.Sprintf("keys: %d requests with one met no fault, and %.1f %% of them were begun by the worker that had most of their key's", requests, 100*part)
	if part < togetherLeast {
		return line, fmt.Errorf("STRAYED: %s, want %.0f %%", line, 100*togetherLeast)
	}
	return line, nil
}
