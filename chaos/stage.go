package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const (
	workerSlots  = 32 // of each native worker, over both routers
	backendSlots = 64 // of each backend of another proxy
	settleLimit  = time.Minute
)

// programs are the executables, and where the Python workers are.
type programs struct {
	dialmux, self, python string
}

// stage is one proxy, or pair of routers, its workers, and the load on them.
type stage struct {
	programs
	dir     string
	report  io.Writer // what is done, as it is done
	book    *book
	load    *load
	proxy   *process // another proxy; nil: routers
	routers []*routerProcess
	workers []*workerProcess
	slots   int           // of all workers, on all routers
	pause   time.Duration // between faults, at least
}

// errNoPython says what is missing for two of the five kinds of worker.
var errNoPython = errors.New("/usr/bin/python3 has no zmq and msgpack, so nothing is known of Python workers: apt-get install python3-zmq python3-msgpack")

const python = "/usr/bin/python3"

// openDialmux starts two routers and ten links of workers: three on Go's SDK
// and one in Python, which dial both, and a REP each.
func openDialmux(ctx context.Context, bin programs, rate float64, report io.Writer) (s *stage, err error) {
	s = &stage{programs: bin, report: report, book: newBook(), pause: time.Second}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "dialmux-chaos-"); err != nil {
		return nil, err
	}
	addresses, err := freeAddresses(6)
	if err != nil {
		return nil, err
	}
	var direct, relayed []string
	var relays []*relay
	for i, name := range []string{"A", "B"} {
		r := &routerProcess{
			s: s, name: name, clients: addresses[3*i], port: addresses[3*i+1], admin: addresses[3*i+2],
			queue: max(64, int(rate/2*3)), log: filepath.Join(s.dir, "router-"+name+".log"),
		}
		if err := r.start(ctx, r.log); err != nil {
			return nil, err
		}
		s.routers = append(s.routers, r)
		direct = append(direct, r.endpoint())
	}
	s.workers = append(s.workers, s.goWorker("go-1", direct), s.goWorker("go-2", direct))
	for _, r := range s.routers {
		between, err := startRelay(r.port)
		if err != nil {
			return nil, err
		}
		relays, relayed = append(relays, between), append(relayed, between.endpoint())
	}
	s.workers = append(s.workers, s.goWorker("go-3", relayed))
	s.workers[2].relays = relays
	if err := exec.CommandContext(ctx, python, "-c", "import zmq, msgpack").Run(); err != nil {
		if os.Getenv("CI") != "" {
			return nil, errNoPython
		}
		fmt.Fprintf(report, "*** %v ***\n", errNoPython)
	} else {
		native, relays, err := s.pythonWorker("python")
		if err != nil {
			return nil, err
		}
		native.relays = relays
		s.workers = append(s.workers, native)
		for i, r := range s.routers {
			name := "rep-" + strconv.Itoa(i+1)
			s.workers = append(s.workers, &workerProcess{
				s: s, name: name, routers: []*routerProcess{r},
				args: []string{python, "-u", "-B", filepath.Join(bin.python, "rep.py"), name, r.endpoint()},
			})
			s.slots++
		}
	}
	for _, w := range s.workers {
		if err := w.start(); err != nil {
			return nil, err
		}
	}
	return s, s.settled(ctx)
}

func (s *stage) goWorker(name string, endpoints []string) *workerProcess {
	s.slots += workerSlots
	return &workerProcess{s: s, name: name, args: append([]string{s.self, "worker", name}, endpoints...), drains: true, routers: s.routers}
}

func (s *stage) pythonWorker(name string) (*workerProcess, []*relay, error) {
	args := []string{python, "-u", "-B", filepath.Join(s.python, "native.py"), name, strconv.Itoa(workerSlots)}
	var relays []*relay
	for _, r := range s.routers {
		between, err := startRelay(r.port)
		if err != nil {
			return nil, nil, err
		}
		relays, args = append(relays, between), append(args, between.endpoint())
	}
	s.slots += workerSlots
	return &workerProcess{s: s, name: name, args: args, drains: true, routers: s.routers}, relays, nil
}

// settled returns when every router has its workers, each backend serves, and
// nothing waits.
func (s *stage) settled(ctx context.Context) error {
	return poll(ctx, settleLimit, func() error {
		for _, w := range s.workers {
			select {
			case <-w.ended:
				return permanent{fmt.Errorf("%s ended: %v\n%s", w.name, w.cmd.ProcessState, tail(w.log))}
			default:
			}
			if w.ready != nil {
				if err := w.ready(); err != nil {
					return err
				}
			}
		}
		for _, r := range s.routers {
			names := map[string]int{}
			for _, w := range s.workers {
				if slices.Contains(w.routers, r) {
					names[w.name] = 1
				}
			}
			if err := r.settled(names); err != nil {
				return err
			}
		}
		return nil
	})
}

// serve puts load on the stage, and faults, until the time is up. A first
// short load makes it warm; rested is called when that is over.
func (s *stage) serve(ctx context.Context, seed uint64, rate float64, fronts []*front, faults []fault, duration time.Duration, rested func() error) ([]*row, error) {
	rows := []*row{{fault: quiet.name}}
	for i := range faults {
		rows = append(rows, &row{fault: faults[i].name})
	}
	s.load = &load{seed: seed, rate: rate, fronts: fronts, book: s.book}
	calm := window{fault: &quiet, row: rows[0], mood: mood{hasty: len(s.routers) > 0}}
	s.load.enter(calm)
	warmUp := func(ctx context.Context) error { return sleep(ctx, min(duration/10, 5*time.Second)) }
	if err := errors.Join(s.load.during(ctx, warmUp), rested()); err != nil {
		return rows, err
	}
	return rows, s.load.during(ctx, func(ctx context.Context) error {
		return s.torment(ctx, rand.New(rand.NewPCG(seed, 1<<41)), calm, faults, rows[1:], time.Now().Add(duration))
	})
}

// torment lets one fault after the other have its way, all of them in random
// order, then again.
func (s *stage) torment(ctx context.Context, draw *rand.Rand, calm window, faults []fault, rows []*row, end time.Time) error {
	for {
		for _, i := range draw.Perm(len(faults)) {
			f := &faults[i]
			pause := s.pause + upTo(draw, time.Second)
			if err := sleep(ctx, min(pause, time.Until(end))); err != nil {
				return err
			}
			if !time.Now().Before(end) {
				return nil
			}
			w := window{fault: f, row: rows[i], mood: mood{slow: f.slow, impatient: f.refuses && len(s.routers) > 0, hasty: calm.mood.hasty}}
			if f.overloads {
				w.mood.factor, w.mood.linger = 2, time.Duration(float64(s.slots)/s.load.rate*float64(time.Second))
			}
			began := time.Now()
			s.load.enter(w)
			what, err := f.inject(ctx, s, draw)
			if err == nil {
				s.load.enter(window{fault: f, row: rows[i], mood: calm.mood})
				err = s.settled(ctx)
			}
			if err == nil {
				err = sleep(ctx, 300*time.Millisecond)
			}
			if err != nil {
				return fmt.Errorf("%s (%s): %w", f.name, what, err)
			}
			s.load.enter(calm)
			rows[i].injected++
			fmt.Fprintf(s.report, "%s %-14s %s, settled after %v\n", stamp(began), f.name, what, time.Since(began).Round(10*time.Millisecond))
		}
	}
}

// leave ends the workers, so that their records are whole.
func (s *stage) leave() error {
	var errs []error
	for _, w := range s.workers {
		if w.process == nil {
			continue
		}
		w.thaw()
		if w.drains {
			errs = append(errs, w.stop())
		} else {
			w.kill()
		}
		w.waiter.Wait()
	}
	return errors.Join(errs...)
}

// close ends all that was started, and looks into what it printed.
func (s *stage) close() error {
	var errs []error
	for _, w := range s.workers {
		if w.process != nil {
			w.kill()
		}
		for _, between := range w.relays {
			between.close()
		}
	}
	for _, r := range s.routers {
		if r.process != nil {
			r.kill()
		}
	}
	if s.proxy != nil {
		s.proxy.kill()
	}
	logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
	for _, log := range logs {
		if line := confessed(log); line != "" {
			errs = append(errs, fmt.Errorf("%s has printed %q:\n%s", filepath.Base(log), line, tail(log)))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
