package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// fault is one way to hurt a stage.
type fault struct {
	name      string
	harmless  bool // no request may fail, whatever its method
	refuses   bool // 503 is in order
	restarts  bool // a router's: clients may try the other one
	anywhere  bool // it can be done to proxies that dial their backends, too
	overloads bool
	slow      kind // what every sixteenth request is
	// inject does it, and undoes it, and says what it did.
	inject func(ctx context.Context, s *stage, draw *rand.Rand) (what string, err error)
}

// quiet is the time without a fault.
var quiet = fault{name: "none", harmless: true}

var faults = []fault{
	{name: "worker-kill", anywhere: true, inject: killWorker},
	{name: "worker-stop", anywhere: true, inject: stopWorker},
	{name: "worker-drain", anywhere: true, harmless: true, inject: drainWorker},
	{name: "router-kill", restarts: true, inject: killRouter},
	{name: "router-drain", restarts: true, inject: drainRouter},
	{name: "half-open", inject: halveWorker},
	{name: "partition", inject: partWorker},
	{name: "slow-reader", anywhere: true, harmless: true, slow: slowReader, inject: wait},
	{name: "slow-writer", anywhere: true, harmless: true, slow: slowWriter, inject: wait},
	{name: "full-queue", refuses: true, inject: killAllWorkers},
	{name: "overload", anywhere: true, refuses: true, overloads: true, inject: wait},
	{name: "full-disk", restarts: true, inject: fillDisk},
	{name: "descriptors", refuses: true, inject: exhaustDescriptors},
}

// upTo is a random time below d.
func upTo(draw *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(draw.Int64N(int64(d)))
}

func (s *stage) pick(draw *rand.Rand, fits func(*workerProcess) bool) *workerProcess {
	var list []*workerProcess
	for _, w := range s.workers {
		if fits(w) {
			list = append(list, w)
		}
	}
	return list[draw.IntN(len(list))]
}

func anyOf(*workerProcess) bool { return true }

// killWorker starts it anew at once, or when it has been missed.
func killWorker(ctx context.Context, s *stage, draw *rand.Rand) (string, error) {
	w := s.pick(draw, anyOf)
	pause := time.Duration(0)
	if draw.IntN(2) == 0 {
		pause = upTo(draw, 2*time.Second)
	}
	w.kill()
	return fmt.Sprintf("kill -9 of %s, back after %v", w.name, pause.Round(time.Millisecond)), errors.Join(sleep(ctx, pause), w.start())
}

// stopWorker is SIGSTOP for longer than a heartbeat takes to notice.
func stopWorker(ctx context.Context, s *stage, draw *rand.Rand) (string, error) {
	w := s.pick(draw, anyOf)
	pause := 9500*time.Millisecond + upTo(draw, 2*time.Second)
	w.freeze()
	defer w.thaw()
	return fmt.Sprintf("SIGSTOP of %s for %v", w.name, pause.Round(time.Millisecond)), sleep(ctx, pause)
}

// drainWorker is SIGTERM, and the next one takes over.
func drainWorker(_ context.Context, s *stage, draw *rand.Rand) (string, error) {
	w := s.pick(draw, func(w *workerProcess) bool { return w.drains })
	return "SIGTERM of " + w.name, errors.Join(w.stop(), w.start())
}

func killRouter(ctx context.Context, s *stage, draw *rand.Rand) (string, error) {
	r, pause := s.routers[draw.IntN(len(s.routers))], upTo(draw, time.Second)
	r.kill()
	return fmt.Sprintf("kill -9 of router %s, back after %v", r.name, pause.Round(time.Millisecond)), errors.Join(sleep(ctx, pause), r.start(ctx, r.log))
}

func drainRouter(ctx context.Context, s *stage, draw *rand.Rand) (string, error) {
	r := s.routers[draw.IntN(len(s.routers))]
	return "SIGTERM of router " + r.name, errors.Join(r.stop(), r.start(ctx, r.log))
}

func relayed(w *workerProcess) bool { return len(w.relays) > 0 }

// halveWorker makes a path half-open: who redials gets through.
func halveWorker(ctx context.Context, s *stage, draw *rand.Rand) (string, error) {
	w := s.pick(draw, relayed)
	at := draw.IntN(len(w.relays))
	w.relays[at].halve()
	// Both ends must find out, which settled cannot see before they have.
	return fmt.Sprintf("half-open between %s and router %s", w.name, s.routers[at].name), sleep(ctx, 9*time.Second)
}

// partWorker cuts a worker off, from one router or both, and delivers late what was said meanwhile.
func partWorker(ctx context.Context, s *stage, draw *rand.Rand) (string, error) {
	w, pause := s.pick(draw, relayed), upTo(draw, 11*time.Second)
	relays := w.relays
	from := "both routers"
	if at := draw.IntN(2 * len(relays)); at < len(relays) {
		relays, from = relays[at:at+1], "router "+s.routers[at].name
	}
	for _, between := range relays {
		between.hold()
		defer between.heal()
	}
	return fmt.Sprintf("%s parted from %s for %v", w.name, from, pause.Round(time.Millisecond)), sleep(ctx, pause)
}

// wait leaves it to the load to be a nuisance.
func wait(ctx context.Context, _ *stage, _ *rand.Rand) (string, error) {
	return "4s", sleep(ctx, 4*time.Second)
}

// killAllWorkers keeps them away for longer than it takes to fill the queues.
func killAllWorkers(ctx context.Context, s *stage, _ *rand.Rand) (string, error) {
	for _, w := range s.workers {
		w.kill()
	}
	errs := []error{sleep(ctx, 4*time.Second)}
	for _, w := range s.workers {
		errs = append(errs, w.start())
	}
	return "all workers are away for 4s", errors.Join(errs...)
}

// fillDisk gives a router a log that cannot be written, and something to log.
func fillDisk(ctx context.Context, s *stage, draw *rand.Rand) (string, error) {
	r, w := s.routers[draw.IntN(len(s.routers))], s.pick(draw, anyOf)
	errs := []error{r.stop(), r.start(ctx, "/dev/full"), s.settled(ctx)}
	w.kill()
	errs = append(errs, w.start(), sleep(ctx, time.Second), s.settled(ctx), r.stop(), r.start(ctx, r.log))
	return fmt.Sprintf("router %s logs to /dev/full, and %s is killed", r.name, w.name), errors.Join(errs...)
}

// exhaustDescriptors opens idle connections until a router has no descriptor
// left, while a worker wants to come back.
func exhaustDescriptors(ctx context.Context, s *stage, draw *rand.Rand) (what string, err error) {
	r := s.routers[draw.IntN(len(s.routers))]
	const room, idle = 4, 64
	limit, restore, err := r.limitDescriptors(room)
	if err != nil {
		return "", err
	}
	var held []net.Conn
	for range idle {
		c, err := net.DialTimeout("tcp", r.clients, time.Second)
		if err != nil {
			break
		}
		held = append(held, c)
	}
	err = poll(ctx, 5*time.Second, func() error {
		open, err := r.descriptors()
		if err == nil && open < limit {
			err = fmt.Errorf("router %s has %d descriptors open of %d, so they are not exhausted", r.name, open, limit)
		}
		return err
	})
	w := s.pick(draw, anyOf)
	w.kill()
	err = errors.Join(err, w.start(), sleep(ctx, 3*time.Second))
	for _, c := range held {
		_ = c.Close()
	}
	err = errors.Join(err, sleep(ctx, time.Second), restore())
	return fmt.Sprintf("router %s has %d descriptors left, %d idle clients come, and %s is killed", r.name, room, len(held), w.name), err
}
