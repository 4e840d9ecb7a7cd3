package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
)

// WorkerKit plays the router to one worker. The worker serves the paths of
// frame/CONFORM.md.
type WorkerKit struct {
	// Listen is the endpoint that the worker dials, tcp://127.0.0.1:8000 if
	// empty. A port of 0 is chosen anew, and told in DIALMUX_ROUTER.
	Listen string
	// REP tests a REP worker instead of a native one.
	REP bool
	// Token is what the worker must show, in JOIN or as its PLAIN password.
	Token string
	// Command starts the worker, with DIALMUX_ROUTER (and DIALMUX_TOKEN) in its
	// environment. Without one the kit waits for a worker to dial in, and the
	// cases that send it signals are skipped.
	Command []string
	// Output takes what Command prints. Default: os.Stderr.
	Output io.Writer
	// Only runs the cases that it says true to. Default: all.
	Only func(name string) bool

	ctx        context.Context // of Run
	deadline   time.Time       // of the case
	patience   time.Duration
	endpoint   string
	transcript transcript
	stream     uint64 // the last number given out
	listener   net.Listener
	dialled    chan net.Conn
	accepting  sync.WaitGroup
	readers    sync.WaitGroup
	process    *process
	current    *link
	away       atomic.Bool // there is no router now
	absent     bool        // the case could not get a worker at all
	met        bool        // one has joined before
}

// caseLimit bounds a case in all: a worker that always says something is not
// waited for for ever.
const caseLimit = time.Minute

// workerCase is one case. The kit gives it a link that has joined, and no open
// streams.
type workerCase struct {
	name   string
	checks string // a sentence of SPEC.md
	may    bool   // the worker may do otherwise
	run    func(k *WorkerKit)
}

// Run runs every case and calls each with its result. The error is why the kit
// itself could not work.
func (k *WorkerKit) Run(ctx context.Context, each func(Result)) error {
	k.ctx = ctx
	if k.patience == 0 {
		k.patience = patience
	}
	k.stream = uint64(time.Now().UnixMicro())
	k.endpoint = k.Listen
	if k.endpoint == "" {
		k.endpoint = "tcp://127.0.0.1:8000"
	}
	if k.Output == nil {
		k.Output = os.Stderr
	}
	defer k.stop()
	if err := k.bind(); err != nil {
		return err
	}
	cases := nativeCases
	if k.REP {
		cases = repCases
	}
	for _, c := range cases {
		if k.Only != nil && !k.Only(c.name) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r := run(c.name, c.checks, !c.may, &k.transcript, func() {
			defer k.tidy()
			k.deadline = time.Now().Add(caseLimit)
			c.run(k)
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		each(r)
		if k.absent { // no other case would fare better
			return errors.New(r.Why)
		}
	}
	return nil
}

// bind opens the endpoint. Whoever dials in is kept for the case that asks.
func (k *WorkerKit) bind() error {
	l, err := zmtp.Listen(k.endpoint)
	if err != nil {
		return err
	}
	k.listener, k.endpoint = l, zmtp.Bound(l)
	k.dialled = make(chan net.Conn, 64)
	k.accepting.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			if k.away.Load() {
				_ = nc.Close()
				continue
			}
			select {
			case k.dialled <- nc:
			default:
				_ = nc.Close()
			}
		}
	})
	return nil
}

// vanish ends every connection, and each that comes until appear: there is no
// router. The port stays open, lest another program take it.
func (k *WorkerKit) vanish() {
	k.away.Store(true)
	k.hangUp()
}

func (k *WorkerKit) appear() { k.away.Store(false) }

func (k *WorkerKit) hangUp() {
	for len(k.dialled) > 0 {
		_ = (<-k.dialled).Close()
	}
	k.leave()
}

// leave ends the current connection.
func (k *WorkerKit) leave() {
	if k.current != nil {
		k.current.close()
		k.current = nil
	}
}

func (k *WorkerKit) stop() {
	if k.listener != nil {
		_ = k.listener.Close()
		k.accepting.Wait()
		k.hangUp()
	}
	if k.process != nil {
		k.process.kill()
	}
	k.readers.Wait()
}

// dial waits for a connection, and starts the worker if it does not run.
func (k *WorkerKit) dial(o zmtp.Options) *link {
	k.appear()
	if len(k.Command) > 0 && (k.process == nil || k.process.ended()) {
		k.start()
	}
	timer := time.NewTimer(k.startPatience())
	defer timer.Stop()
	var ended chan struct{}
	if k.process != nil {
		ended = k.process.done
	}
	select {
	case nc := <-k.dialled:
		l, err := k.serve(nc, o)
		if err != nil {
			failf("expected a ZMTP handshake; %v", err)
		}
		return l
	case <-ended:
		k.absent = !k.met
		failf("expected a worker to dial %s; the command ended: %v", k.endpoint, k.process.cmd.ProcessState)
	case <-timer.C:
		k.absent = !k.met
		failf("expected a worker to dial %s; none came", k.endpoint)
	case <-k.ctx.Done():
		failf("interrupted")
	}
	return nil
}

// startPatience is longer without a command: a person starts the worker.
func (k *WorkerKit) startPatience() time.Duration {
	if len(k.Command) == 0 && k.current == nil {
		return 12 * k.patience
	}
	return 4 * k.patience
}

// link is the case's connection, whose worker has joined.
func (k *WorkerKit) link() *link {
	if k.current != nil && !k.current.usable() {
		k.leave()
	}
	if k.current == nil {
		k.current = k.joined(k.dial(zmtp.Options{}))
	}
	return k.current
}

func (k *WorkerKit) joined(l *link) *link {
	k.current = l // so that it is closed if it does not join
	want := "DEALER or ROUTER"
	if k.REP {
		want = "REP"
	}
	if socket := l.conn.Peer().Socket; (socket == "REP") != k.REP {
		k.absent = true
		failf("expected a %s socket; the worker's is a %s: choose the other --mode", want, socket)
	}
	if !k.REP {
		l.welcome(newConnection())
		l.awaitJoin()
	}
	k.met = true
	return l
}

// usable tells whether the worker is there and takes streams.
func (l *link) usable() bool {
	select {
	case <-l.ended:
		return false
	default:
	}
	return l.away == nil
}

// tidy ends what a case left open; a link that is not clean then is closed.
func (k *WorkerKit) tidy() {
	p := recover()
	if l := k.current; l != nil {
		if p != nil || !l.clean() {
			k.leave()
		} else {
			l.calls = map[uint64]*call{}
		}
	}
	if p != nil {
		panic(p)
	}
}

func (l *link) clean() bool {
	for _, c := range l.calls {
		if !c.done() {
			return false
		}
	}
	return true
}

// process is the worker that Command started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	wait sync.WaitGroup
}

func (k *WorkerKit) start() {
	cmd := exec.Command(k.Command[0], k.Command[1:]...) //nolint:gosec // the command that the user gave
	cmd.Env = append(os.Environ(), "DIALMUX_ROUTER="+k.endpoint)
	if k.Token != "" {
		cmd.Env = append(cmd.Env, "DIALMUX_TOKEN="+k.Token)
	}
	cmd.Stdout, cmd.Stderr = k.Output, k.Output
	ownGroup(cmd)
	cmd.WaitDelay = time.Second // what it started may hold its output open
	if err := cmd.Start(); err != nil {
		k.absent = true
		failf("the worker did not start: %v", err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	p.wait.Go(func() {
		p.err = cmd.Wait()
		close(p.done)
	})
	k.process = p
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) signal(s os.Signal) {
	if err := signalGroup(p.cmd, s); err != nil {
		failf("the worker cannot be signalled: %v", err)
	}
}

// awaitExit waits for the worker to end by itself.
func (p *process) awaitExit(within time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("it still runs after %v", within)
	}
}

// retire ends the worker for good: the next case starts another.
func (k *WorkerKit) retire() {
	k.leave()
	k.process.kill()
	k.process = nil
}

func (p *process) kill() {
	_ = signalGroup(p.cmd, syscall.SIGKILL) // it may have ended
	p.wait.Wait()
}
