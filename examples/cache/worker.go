package main

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"github.com/dialmux/dialmux/worker"
)

// work is one worker of the cache. It leaves when its standard input ends, so that none outlives who started it.
func work(ctx context.Context, args []string) error {
	if len(args) != 5 {
		return errors.New("usage: cache worker NAME ROUTER POLICY CAPACITY ORIGIN")
	}
	name, router, policy := args[0], args[1], args[2]
	capacity, err := strconv.Atoi(args[3])
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	delay, err := time.ParseDuration(args[4])
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	w := worker.Worker{
		Name:    name,
		Routers: []string{router},
		Sticky:  policy,
		Handler: &cache{name: name, capacity: capacity, origin: slow(delay), items: map[string]*list.Element{}},
	}

	signal.Ignore(os.Interrupt) // Ctrl-C reaches who started it too
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	var parent sync.WaitGroup
	parent.Go(func() {
		defer leave()
		_, _ = io.Copy(io.Discard, os.Stdin)
	})
	if err := w.Run(ctx); err != nil {
		return err
	}
	parent.Wait()
	return nil
}

// slow is an origin that takes its time.
func slow(delay time.Duration) func(key string) string {
	return func(key string) string {
		time.Sleep(delay)
		return answer(key)
	}
}

// answer is what the origin says of a key.
func answer(key string) string { return "what there is to know of " + key + "\n" }

// cache answers from memory, and what it does not have from its origin. Of its keys, which are paths, it forgets the
// one that was asked for the longest ago.
type cache struct {
	name     string
	capacity int
	origin   func(key string) string

	mu    sync.Mutex
	items map[string]*list.Element
	used  list.List // of items, the last used first
}

type item struct {
	key   string
	value func() string // asks the origin when it is first called
}

func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i, hit := c.find(r.URL.Path)
	status := "hit"
	if !hit {
		status = "fwd=miss; stored"
	}
	w.Header().Set("Cache-Status", c.name+"; "+status) // RFC 9211
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, i.value()) // the client may have gone
}

// find makes an item if there is none. Whoever asks while the origin still thinks waits with the first: one worker has all that
// ask for a key, so the origin is asked once.
func (c *cache) find(key string) (i *item, hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.used.MoveToFront(e)
		return e.Value.(*item), true
	}
	i = &item{key, sync.OnceValue(func() string { return c.origin(key) })}
	c.items[key] = c.used.PushFront(i)
	if c.used.Len() > c.capacity {
		last := c.used.Remove(c.used.Back()).(*item)
		delete(c.items, last.key)
	}
	return i, false
}
