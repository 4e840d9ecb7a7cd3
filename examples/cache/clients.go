package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// clients ask for keys: in each run the same ones in the same order.
type clients struct {
	options
	url  string
	http http.Client

	mu     sync.Mutex
	zipf   *rand.Zipf
	owners map[string]string  // who answered for a key, before begin
	since  map[string]*record // what became of a key, since then
}

type record struct {
	owner  string // who answered last; empty: nobody since the event
	missed bool
}

// window is a run of requests, of which a hit rate is taken.
type window struct {
	requests, hits, failed int
	why                    error // one of failed
}

func newClients(o options, s *service) *clients {
	return &clients{
		options: o,
		url:     s.url,
		http:    http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.clients}},
		zipf:    rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 10, uint64(o.keys-1)),
		owners:  map[string]string{},
		since:   map[string]*record{},
	}
}

// begin has what comes compared with what was.
func (c *clients) begin() {
	clear(c.owners)
	for key, r := range c.since {
		if r.owner != "" {
			c.owners[key] = r.owner
		}
	}
	clear(c.since)
}

// fill asks for each key once.
func (c *clients) fill(ctx context.Context) error {
	var w window
	key := uint64(0)
	err := c.start(ctx, &w, func() (uint64, bool) {
		key++
		return key - 1, key <= uint64(c.keys)
	}).Wait()
	return cmp.Or(err, w.why)
}

// ask sends requests while the event happens, if there is one, and then as many as a hit rate is taken of.
func (c *clients) ask(ctx context.Context, event func(context.Context) error) (w window, err error) {
	left := c.requests
	happening := event != nil
	running := c.start(ctx, &w, func() (uint64, bool) {
		if !happening {
			left--
		}
		return c.zipf.Uint64(), left >= 0
	})
	if event != nil {
		err = event(ctx)
		c.mu.Lock()
		happening = false
		for _, r := range c.since {
			r.owner = "" // it may have been the one before
		}
		c.mu.Unlock()
	}
	err = cmp.Or(err, running.Wait())
	return w, err
}

// start asks for one key after the other, as long as there is a next one. It calls next one at a time.
func (c *clients) start(ctx context.Context, w *window, next func() (key uint64, ok bool)) *errgroup.Group {
	var g errgroup.Group
	for range c.clients {
		g.Go(func() error {
			for ctx.Err() == nil {
				c.mu.Lock()
				key, ok := next()
				c.mu.Unlock()
				if !ok {
					return nil
				}
				path := fmt.Sprintf("/item/%d", key)
				owner, hit, err := c.get(ctx, path)
				c.note(w, path, owner, hit, err)
			}
			return ctx.Err()
		})
	}
	return &g
}

// get asks once, and does not take any answer but the origin's.
func (c *clients) get(ctx context.Context, key string) (owner string, hit bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+key, nil)
	if err != nil {
		return "", false, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", false, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("GET %s: %w", key, err)
	case res.StatusCode != http.StatusOK || string(body) != answer(key):
		return "", false, fmt.Errorf("GET %s: %s: %.200q", key, res.Status, body)
	}
	return res.Header.Get("Dialmux-Worker"), strings.HasSuffix(res.Header.Get("Cache-Status"), "; hit"), nil
}

func (c *clients) note(w *window, key, owner string, hit bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.requests++
	if err != nil {
		w.failed++
		w.why = err
		return
	}
	r := c.since[key]
	if r == nil {
		r = &record{}
		c.since[key] = r
	}
	r.owner = owner
	if hit {
		w.hits++
	} else {
		r.missed = true
	}
}

const heading = `| | sticky | hit rate before | during | after | keys that missed again | keys that moved | requests | failed |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`

// row tells of an event: of the windows around it, and of the keys that were asked for before it and since.
func (c *clients) row(event, policy string, before, during, after window) string {
	known, missed, moved := 0, 0, 0
	for key, r := range c.since {
		owner, ok := c.owners[key]
		if !ok || r.owner == "" {
			continue
		}
		known++
		if r.missed {
			missed++
		}
		if r.owner != owner {
			moved++
		}
	}
	to := "-" // in turns keys have no owner
	if policy != "off" {
		to = share(moved, known)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %d | %d |\n", event, policy, before.rate(), during.rate(), after.rate(),
		share(missed, known), to, during.requests+after.requests, during.failed+after.failed)
}

func (w window) rate() string { return percent(w.hits, w.requests) }

func share(n, of int) string { return fmt.Sprintf("%d of %d, %s", n, of, percent(n, of)) }

func percent(n, of int) string { return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(max(of, 1))) }
