// Cache is a read-through cache that is sharded by key over several workers, and shows what sticky routing does for it: the hit rate
// before, while and after a worker joins, leaves and is killed, where requests take turns and where each key has its worker.
//
//	go run ./examples/cache [-workers 4] [-keys 2000] [-capacity 600] [-requests 4000] [-clients 16] [-origin 5ms]
//
// It is a router and clients in this process, and each worker in one of its own (`cache worker`).
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options say how large everything is.
type options struct {
	workers  int           // at the beginning
	keys     int           // that clients ask for
	capacity int           // of a worker, in keys
	requests int           // that a hit rate is taken of
	clients  int           // that ask at once
	origin   time.Duration // that it takes to answer
}

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		err = work(context.Background(), os.Args[2:])
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cache:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	flag.IntVar(&o.workers, "workers", 4, "begin with so many `workers`, 3 or more: one will leave, and one be killed")
	flag.IntVar(&o.keys, "keys", 2000, "ask for so many `keys`, a few of them often (Zipf)")
	flag.IntVar(&o.capacity, "capacity", 600, "let a worker hold so many `keys`")
	flag.IntVar(&o.requests, "requests", 4000, "take each hit rate of so many `requests`")
	flag.IntVar(&o.clients, "clients", 16, "have so many `clients` ask at once")
	flag.DurationVar(&o.origin, "origin", 5*time.Millisecond, "let the origin take this `long` to answer")
	flag.Parse()
	if flag.NArg() > 0 || o.workers < 3 || min(o.keys, o.capacity, o.requests, o.clients) < 1 {
		return errors.New("want 3 workers or more, 1 or more of everything else, and no arguments but flags: see -h")
	}
	fmt.Printf("%d workers hold %d of %d keys each, %d clients ask at once, the origin takes %v.\n\n%s", o.workers, o.capacity, o.keys, o.clients, o.origin, heading)
	for _, policy := range []string{"off", "path"} {
		if err := try(ctx, o, policy); err != nil {
			return fmt.Errorf("sticky %s: %w", policy, err)
		}
	}
	return nil
}

// try shows what a policy makes of the cache.
func try(ctx context.Context, o options, policy string) (err error) {
	s, err := open(o, policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for range o.workers {
		if err := s.join(ctx); err != nil {
			return err
		}
	}
	c := newClients(o, s)
	if err := c.fill(ctx); err != nil {
		return err
	}
	if _, err := c.ask(ctx, nil); err != nil { // caches that are too small settle
		return err
	}
	before, err := c.ask(ctx, nil)
	if err != nil {
		return err
	}
	for _, event := range []struct {
		name   string
		happen func(context.Context) error
	}{
		{fmt.Sprintf("cache-%d joins", o.workers+1), s.join},
		{"cache-1 leaves", func(context.Context) error { return s.leave("cache-1") }},
		{"cache-2 is killed", func(context.Context) error { return s.kill("cache-2") }},
	} {
		c.begin()
		during, err := c.ask(ctx, event.happen)
		if err != nil {
			return fmt.Errorf("%s: %w", event.name, err)
		}
		after, err := c.ask(ctx, nil)
		if err != nil {
			return err
		}
		fmt.Print(c.row(event.name, policy, before, during, after))
		if err := cmp.Or(during.why, after.why); err != nil {
			return fmt.Errorf("%s: requests fail: %w", event.name, err)
		}
		before = after
	}
	return nil
}
