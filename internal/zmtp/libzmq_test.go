package zmtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Each test here holds a fact of libzmq, through Debian's python3-zmq.

const python = "/usr/bin/python3"

// worker is a running testdata/worker.py.
type worker struct {
	t     *testing.T
	stdin io.Writer
	lines *bufio.Scanner
}

func startWorker(t *testing.T, args ...string) *worker {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), python, "-c", "import zmq").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s: %v\n%s\ninstall Debian's python3-zmq", python, err, output)
		}
		t.Skipf("%s: %v: install Debian's python3-zmq to run this test", python, err)
	}
	cmd := exec.CommandContext(t.Context(), python, append([]string{"testdata/worker.py"}, args...)...)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	w := &worker{t, stdin, bufio.NewScanner(stdout)}
	w.want("connected")
	return w
}

func (w *worker) do(command string) {
	w.t.Helper()
	if _, err := fmt.Fprintln(w.stdin, command); err != nil {
		w.t.Fatal(err)
	}
}

func (w *worker) want(line string) {
	w.t.Helper()
	if !w.lines.Scan() || w.lines.Text() != line {
		w.t.Fatalf("the worker said %q, want %q", w.lines.Text(), line)
	}
}

func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, Bound(l)
}

func acceptFrom(t *testing.T, l net.Listener, o Options) *Conn {
	t.Helper()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Accept(nc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestLibzmqSocketsAndMechanisms(t *testing.T) {
	for _, kind := range []string{"REP", "DEALER", "ROUTER"} {
		for mechanism, options := range map[string][]string{"NULL": nil, "PLAIN": {"PLAIN_USERNAME=svc/worker", "PLAIN_PASSWORD=secret"}} {
			t.Run(kind+" "+mechanism, func(t *testing.T) {
				l, endpoint := listen(t)
				w := startWorker(t, append([]string{kind, endpoint}, options...)...)
				w.do("echo")
				c := acceptFrom(t, l, Options{})
				p := c.Peer()
				if p.Socket != kind || p.Mechanism != mechanism || len(p.Identity) != 0 || !strings.HasPrefix(p.Addr, "127.0.0.1:") {
					t.Errorf("got %+v", p)
				}
				if mechanism == "PLAIN" && (p.User != "svc/worker" || p.Password != "secret") {
					t.Errorf("got %+v", p)
				}
				r := run(t, c)
				big := strings.Repeat("x", 1<<20)
				for _, message := range [][]string{{"tag", "", "hello"}, {"tag", "", "", big}} {
					send(t, c, message...)
					wantMessage(t, r, message...)
				}
			})
		}
	}
}

func TestLibzmqOverIPC(t *testing.T) {
	endpoint := "ipc://" + t.TempDir() + "/s"
	l, err := Listen(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	startWorker(t, "DEALER", endpoint).do("echo")
	c := acceptFrom(t, l, Options{})
	r := run(t, c)
	send(t, c, "hello")
	wantMessage(t, r, "hello")
}

// A REP shows no Identity at all; the others show an empty one.
func TestLibzmqIdentities(t *testing.T) {
	for kind, want := range map[string]bool{"REP": false, "DEALER": true, "ROUTER": true} {
		l, endpoint := listen(t)
		startWorker(t, kind, endpoint)
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f := &fence{Conn: nc}
		if err := f.open(); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, nc, concat(nullGreeting[12:], ourReady))
		if err := f.readFrame(); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(f.in, []byte("Identity")); got != want {
			t.Errorf("%s: %q", kind, f.in)
		}
		_ = nc.Close()
	}
}

// libzmq shows its mechanism only once it has our version.
func TestLibzmqWaitsForOurVersion(t *testing.T) {
	l, endpoint := listen(t)
	startWorker(t, "REP", endpoint)
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	mustRead(t, nc, 10)
	mustWrite(t, nc, opening[:10])
	if got := mustRead(t, nc, 1); got[0] != 3 {
		t.Errorf("major version %d", got[0])
	}
	mustWrite(t, nc, opening[10:])
	if got := mustRead(t, nc, 53); !bytes.HasPrefix(got[1:], []byte("NULL\x00")) {
		t.Errorf("got %q", got)
	}
}

func TestLibzmqAnswersPINGWithItsContext(t *testing.T) {
	for _, kind := range []string{"REP", "DEALER", "ROUTER"} {
		l, endpoint := listen(t)
		startWorker(t, kind, endpoint)
		c := acceptFrom(t, l, Options{})
		mustWrite(t, c.nc, []byte("\x04\x0b\x04PING\x00\x00abcd"))
		if got := mustRead(t, c.nc, 11); string(got) != "\x04\x09\x04PONGabcd" {
			t.Errorf("%s: got %q", kind, got)
		}
	}
}

// The TTL tells the peer when to hang up, which is why ours is 0.
func TestLibzmqHangsUpAfterTheTTL(t *testing.T) {
	l, endpoint := listen(t)
	startWorker(t, "DEALER", endpoint)
	c := acceptFrom(t, l, Options{})
	mustWrite(t, c.nc, []byte("\x04\x07\x04PING\x00\x01")) // tenths of a second
	if got, _ := io.ReadAll(c.nc); string(got) != "\x04\x05\x04PONG" {
		t.Errorf("got %q", got)
	}
}

// libzmq's own heartbeats are answered: without a PONG it would hang up.
func TestLibzmqHeartbeatsAreAnswered(t *testing.T) {
	l, endpoint := listen(t)
	w := startWorker(t, "DEALER", endpoint, "HEARTBEAT_IVL=100", "HEARTBEAT_TIMEOUT=2000")
	c := acceptFrom(t, l, Options{})
	seen := make(chan struct{})
	nc := &pingWatcher{Conn: c.nc, seen: seen}
	c.nc = nc
	r := run(t, c)
	<-seen // for half as long again as it would wait for an answer
	send(t, c, "still")
	w.do("recv")
	w.want("received still")
	select {
	case <-r.done:
		t.Errorf("Run: %v", r.err)
	default:
	}
}

// pingWatcher closes seen at the thirtieth PING that is read.
type pingWatcher struct {
	net.Conn
	seen chan struct{}
	n    int
}

func (p *pingWatcher) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	before := p.n
	p.n += bytes.Count(b[:n], []byte("\x04PING"))
	if before < 30 && p.n >= 30 {
		close(p.seen)
	}
	return n, err
}

func TestLibzmqRedials(t *testing.T) {
	l, endpoint := listen(t)
	w := startWorker(t, "DEALER", endpoint)
	for i := range 3 {
		c := acceptFrom(t, l, Options{})
		r := run(t, c)
		send(t, c, fmt.Sprint(i))
		w.do("recv")
		w.want(fmt.Sprint("received ", i))
		_ = c.Close()
		_ = r.wait()
	}
}

// A ZMTP ERROR is for ever, which is why none is sent: libzmq does not dial that endpoint again. The endpoint beside
// it closes at the same point of the handshake, is dialled again and again, and so measures the time.
func TestLibzmqNeverRedialsAfterERROR(t *testing.T) {
	for mechanism, test := range map[string]struct {
		options  []string
		greeting []byte
		then     int // bytes that the worker sends after its greeting
	}{
		"NULL":  {nil, nullGreeting, len(dealerReady)},
		"PLAIN": {[]string{"PLAIN_USERNAME=svc/worker", "PLAIN_PASSWORD=secret"}, plainGreeting, len(plainHello)},
	} {
		t.Run(mechanism, func(t *testing.T) {
			shake := func(l net.Listener) net.Conn {
				nc, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				greeting := bytes.Clone(test.greeting)
				if mechanism == "PLAIN" {
					greeting[32] = 1 // as-server
				}
				mustWrite(t, nc, greeting)
				mustRead(t, nc, greetingSize+test.then)
				return nc
			}
			refusing, endpoint := listen(t)
			closing, beside := listen(t)
			w := startWorker(t, append([]string{"DEALER", endpoint}, test.options...)...)
			refused := shake(refusing)
			mustWrite(t, refused, []byte("\x04\x0a\x05ERROR\x03400"))
			if got, err := io.ReadAll(refused); len(got) != 0 || err != nil {
				t.Errorf("got %q, %v; want a hang-up", got, err)
			}
			_ = refused.Close()

			redialled := make(chan bool, 1)
			var wg sync.WaitGroup
			wg.Go(func() {
				nc, err := refusing.Accept()
				if err == nil {
					_ = nc.Close()
				}
				redialled <- err == nil
			})
			w.do("connect " + beside)
			w.want("connected")
			for range 6 {
				_ = shake(closing).Close()
			}
			_ = refusing.Close()
			wg.Wait()
			if <-redialled {
				t.Error("the worker dialled again")
			}
		})
	}
}

// Of two connections that show one identity to one ROUTER the second is never heard, though it is open and answers
// PINGs.
func TestLibzmqRouterHearsAnIdentityOnce(t *testing.T) {
	l, endpoint := listen(t)
	w := startWorker(t, "ROUTER", endpoint)
	const ping, pong = "\x04\x0b\x04PING\x00\x00abcd", "\x04\x09\x04PONGabcd"
	accept := func() net.Conn {
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		shakeRaw(t, nc, concat(nullGreeting, dealerMeReady))
		return nc
	}
	ask := func(nc net.Conn, question, answer string) {
		t.Helper()
		mustWrite(t, nc, []byte(question))
		if got := mustRead(t, nc, len(answer)); string(got) != answer {
			t.Errorf("got %q, want %q", got, answer)
		}
	}
	first := accept()
	l, endpoint = listen(t)
	w.do("connect " + endpoint)
	w.want("connected")
	w.do("echo")
	ask(first, "\x00\x01a", "\x00\x01a")
	second := accept()
	ask(second, "\x00\x01b"+ping, pong) // the message has been read by now
	for range 3 {                       // queued fairly, it would be heard between these
		ask(first, "\x00\x01a", "\x00\x01a")
	}
	ask(second, ping, pong)
}

// An empty identity may be shown twice, so ours is empty.
func TestLibzmqRouterHearsEveryEmptyIdentity(t *testing.T) {
	l, endpoint := listen(t)
	w := startWorker(t, "ROUTER", endpoint)
	first := acceptFrom(t, l, Options{})
	l, endpoint = listen(t)
	w.do("connect " + endpoint)
	w.want("connected")
	w.do("echo")
	second := acceptFrom(t, l, Options{})
	a, b := run(t, first), run(t, second)
	for range 3 {
		send(t, first, "a")
		send(t, second, "b")
		wantMessage(t, a, "a")
		wantMessage(t, b, "b")
	}
}

// What a DEALER or a REP sends while nobody is there leaves on the next connection, so nothing may mean anything
// else there.
func TestLibzmqKeepsItsMessagesForTheNextConnection(t *testing.T) {
	for _, kind := range []string{"DEALER", "REP"} {
		t.Run(kind, func(t *testing.T) {
			l, endpoint := listen(t)
			w := startWorker(t, kind, endpoint)
			first := acceptFrom(t, l, Options{})
			r := run(t, first)
			send(t, first, "tag", "", "question")
			w.do("recv")
			if kind == "REP" {
				w.want("received question")
			} else {
				w.want("received tag,,question")
			}
			_ = first.Close()
			_ = r.wait()

			// libzmq has seen the end of the first connection when it dials again.
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			w.do("send answer")
			w.want("sent")
			second, err := Accept(nc, Options{})
			if err != nil {
				t.Fatal(err)
			}
			r = run(t, second)
			if kind == "REP" {
				wantMessage(t, r, "tag", "", "answer")
			} else {
				wantMessage(t, r, "answer")
			}
		})
	}
}

// Past some thousand unread messages libzmq reads no further, PINGs included: a live worker looks dead. With
// ZMQ_RCVHWM 0 it reads on.
func TestLibzmqStopsReadingAtItsHighWaterMark(t *testing.T) {
	for _, test := range []struct {
		options []string
		dead    bool
	}{{nil, true}, {[]string{"RCVHWM=0"}, false}} {
		t.Run(fmt.Sprint(test.options), func(t *testing.T) {
			l, endpoint := listen(t)
			w := startWorker(t, append([]string{"DEALER", endpoint}, test.options...)...)
			c := acceptFrom(t, l, Options{Heartbeat: 100 * 1e6}) // 100 ms
			const n = 5000
			mustWrite(t, c.nc, bytes.Repeat([]byte("\x00\x01x"), n))
			if test.dead {
				if err := c.Run(nil); !errors.Is(err, ErrDead) {
					t.Errorf("Run: %v", err)
				}
				return
			}
			mustWrite(t, c.nc, []byte("\x04\x0b\x04PING\x00\x00abcd"))
			if got := mustRead(t, c.nc, 11); string(got) != "\x04\x09\x04PONGabcd" {
				t.Errorf("got %q", got)
			}
			w.do(fmt.Sprint("count ", n))
			w.want("counted")
		})
	}
}

// A ROUTER whose peer does not read drops what is past its high-water mark, and tells nobody. With ZMQ_SNDHWM 0 it
// keeps everything.
func TestLibzmqRouterDropsPastItsHighWaterMark(t *testing.T) {
	const n = 5000 // of 4 KiB: more than the kernel and the default mark hold
	for _, test := range []struct {
		options []string
		drops   bool
	}{{nil, true}, {[]string{"SNDHWM=0"}, false}} {
		t.Run(fmt.Sprint(test.options), func(t *testing.T) {
			l, endpoint := listen(t)
			w := startWorker(t, append([]string{"ROUTER", endpoint}, test.options...)...)
			c := acceptFrom(t, l, Options{})
			w.do(fmt.Sprint("flood ", n))
			mustWrite(t, c.nc, []byte("\x00\x02go"))
			w.want("flooded") // every send went well
			came := 0
			last := errors.New("that was the last")
			if err := c.Run(func(parts [][]byte) error {
				if string(parts[0]) == "last" {
					return last
				}
				came++
				return nil
			}); !errors.Is(err, last) {
				t.Fatalf("Run: %v", err)
			}
			if drops := came < n; came == 0 || drops != test.drops {
				t.Errorf("%d of %d messages came", came, n)
			}
		})
	}
}
