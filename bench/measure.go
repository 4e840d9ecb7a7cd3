package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const warmUp = time.Second

// A plan says how long to measure: each contender of a section has a turn in every round, A B C A B C, so that what the
// machine does meanwhile falls on all of them.
type plan struct {
	rounds   int
	duration time.Duration // of a turn with many connections
}

// results are turns, one a round, and the reasons why a contender has none.
type results struct {
	turns    map[place][]turn
	failures map[place]error // load is empty: a contender that fails under one load shows nothing in that section
}

type place struct {
	section, contender, load string
}

func (r results) of(s section, e entry) []turn {
	return r.turns[place{s.name, e.contender, e.load.name}]
}

// measure takes the sections one after the other. Its error is an interruption; a contender that fails does not keep the
// others from being measured.
func measure(ctx context.Context, bin programs, contenders map[string]contender, sections []section, p plan) (results, error) {
	_ = allowFiles(idleClients + 1000) // for the programs too; who needs it looks again
	r := results{turns: map[place][]turn{}, failures: map[place]error{}}
	for _, s := range sections {
		parts, each := 1, p.rounds
		if s.fresh {
			parts, each = p.rounds, 1
		}
		for part := range parts {
			if err := r.measureSection(ctx, bin, contenders, s, part, each, p); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// measureSection starts the contenders of a section side by side, loads them in turn, and ends them. done is how many rounds
// there were before.
func (r results) measureSection(ctx context.Context, bin programs, contenders map[string]contender,
	s section, done, rounds int, p plan,
) (err error) {
	stage, err := newStage(bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.close()) }()

	started := map[string]running{}
	for round := range rounds {
		last := ""
		for _, e := range s.entries {
			if r.failures[place{s.name, e.contender, ""}] != nil {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s, round %d of %d: %s, %s\n", s.name, done+round+1, p.rounds, e.contender, e.load.name)
			on, ok := started[e.contender]
			if !ok {
				on, err = stage.begin(ctx, contenders[e.contender])
				started[e.contender] = on
			}
			if err == nil && e.contender != last {
				_, err = stage.wrk(ctx, on.address+"/", manyConnections, warmUp)
			}
			last = e.contender
			var t turn
			if err == nil {
				t, err = e.load.run(ctx, stage, on, p.duration)
			}
			if err == nil && on.intact != nil {
				err = on.intact(ctx)
			}
			switch {
			case ctx.Err() != nil:
				return errors.New("interrupted")
			case err != nil:
				r.fail(s, e.contender, err)
				err = nil
			default:
				at := place{s.name, e.contender, e.load.name}
				r.turns[at] = append(r.turns[at], t)
			}
		}
	}
	return nil
}

// fail takes a contender out of a section.
func (r results) fail(s section, contender string, err error) {
	fmt.Fprintf(os.Stderr, "  %s fails: %v\n", contender, err)
	r.failures[place{s.name, contender, ""}] = err
	for _, e := range s.entries {
		if e.contender == contender {
			delete(r.turns, place{s.name, contender, e.load.name})
		}
	}
}

// begin starts a contender and sees it give the answer.
func (s *stage) begin(ctx context.Context, c contender) (running, error) {
	on, err := c.start(ctx, s)
	if err != nil {
		return on, err
	}
	url := "http://" + on.address + "/"
	if err := on.proxy.awaitStatus(ctx, url); err != nil {
		return on, err
	}
	body, err := get(ctx, url)
	if err == nil && body != answer {
		err = fmt.Errorf("%s answers %q, want %q", url, body, answer)
	}
	return on, err
}
