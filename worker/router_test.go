package worker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/internal/zmtp"
)

func TestMain(m *testing.M) {
	if os.Getenv(benchRouter) != "" {
		if err := routerProcess(); err != nil {
			fmt.Fprintln(os.Stderr, "router's process:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// router is the other side: a test says frame by frame what it does.
type router struct {
	t      testing.TB
	listen *testpipe.Listener
	heard  func(l *routerLink, f frame.Frame) // if set, called with each frame before anything behind it is read
}

func newRouter(t testing.TB) *router {
	return &router{t: t, listen: testpipe.NewListener()}
}

func (r *router) dial(ctx context.Context, _ string) (net.Conn, error) { return r.listen.Dial(ctx) }

// routerLink is one connection that a worker made.
type routerLink struct {
	*zmtp.Conn
	t    testing.TB
	got  chan frame.Frame // copies
	done chan struct{}
	err  error // of Run, after done
}

// accept waits for a worker.
func (r *router) accept() *routerLink {
	r.t.Helper()
	nc, err := r.listen.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	return serveLink(r.t, nc, zmtp.Options{}, r.heard)
}

func serveLink(t testing.TB, nc net.Conn, o zmtp.Options, heard func(l *routerLink, f frame.Frame)) *routerLink {
	t.Helper()
	conn, err := zmtp.Accept(nc, o)
	if err != nil {
		t.Fatal(err)
	}
	l := &routerLink{Conn: conn, t: t, got: make(chan frame.Frame, 1<<11), done: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(l.done)
		l.err = conn.Run(func(parts [][]byte) error {
			copied := [2][]byte{bytes.Clone(parts[0])}
			if len(parts) > 1 {
				copied[1] = bytes.Clone(parts[1])
			}
			f, err := frame.Parse(copied[0], copied[1])
			if heard != nil {
				heard(l, f)
			}
			l.got <- f
			return err
		})
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l
}

// join accepts a worker and lets it join.
func (r *router) join() *routerLink {
	r.t.Helper()
	l := r.accept()
	l.welcome(welcome1)
	l.wantJoin(1)
	return l
}

func (l *routerLink) welcome(w frame.WelcomeInfo) {
	w.Protocol, w.Router = frame.Protocol, "router-1"
	l.send(frame.AppendWelcome(nil, w), nil)
}

func (l *routerLink) wantJoin(connection uint64) frame.JoinInfo {
	l.t.Helper()
	f := l.next()
	if f.Type != frame.Join {
		l.t.Fatalf("got %s, want JOIN", show(f))
	}
	j, err := frame.ParseJoin(&f)
	if err != nil {
		l.t.Fatal(err)
	}
	if j.Connection != connection {
		l.t.Fatalf("JOIN echoes connection %d, want %d", j.Connection, connection)
	}
	return j
}

func (l *routerLink) send(head, payload []byte) {
	l.t.Helper()
	parts := [][]byte{head}
	if payload != nil {
		parts = append(parts, payload)
	}
	if _, err := l.Send(0, zmtp.Ordinary, parts...); err != nil {
		l.t.Fatalf("the worker's connection is gone: %v", err)
	}
}

// say sends what comes ahead of the answer to a PING that is read later.
func (l *routerLink) say(head []byte) {
	l.t.Helper()
	if _, err := l.Send(0, zmtp.Urgent, head); err != nil {
		l.t.Fatalf("the worker's connection is gone: %v", err)
	}
}

// refuses has r refuse JOINs for which it has a reason: those that come first on their connection by GOAWAY, others by WELCOME.
func (r *router) refuses(why func(frame.JoinInfo) string) {
	taken := map[*routerLink]bool{}
	r.heard = func(l *routerLink, f frame.Frame) {
		if f.Type != frame.Join {
			return
		}
		j, err := frame.ParseJoin(&f)
		if err != nil {
			r.t.Error(err)
		}
		switch why := why(j); {
		case why == "":
			taken[l] = true
		case taken[l]:
			l.say(frame.AppendWelcome(nil, frame.WelcomeInfo{Protocol: frame.Protocol, Router: "router-1", Connection: j.Connection, Refused: why}))
		default:
			l.say(frame.AppendGoAway(nil, 0, http2.ErrCodeInadequateSecurity, why))
		}
	}
}

func fieldsOf(pairs ...string) (f frame.Fields) {
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

// get opens a stream without a body.
func (l *routerLink) get(id uint64, path string, fields ...string) {
	l.t.Helper()
	l.send(frame.AppendHeaders(nil, id, requestFields("GET", path, fields...), true, 0), nil)
}

// post opens a stream that a body follows.
func (l *routerLink) post(id uint64, path string, fields ...string) {
	l.t.Helper()
	l.send(frame.AppendHeaders(nil, id, requestFields("POST", path, fields...), false, 0), nil)
}

func requestFields(method, path string, fields ...string) frame.Fields {
	return fieldsOf(append([]string{":method", method, ":scheme", "http", ":authority", "example.com", ":path", path}, fields...)...)
}

func (l *routerLink) data(id uint64, payload string) {
	l.t.Helper()
	l.send(frame.AppendData(nil, id, false, 0), []byte(payload))
}

func (l *routerLink) end(id, total uint64, payload string) {
	l.t.Helper()
	l.send(frame.AppendData(nil, id, true, total), []byte(payload))
}

func (l *routerLink) credit(id, n uint64) {
	l.t.Helper()
	l.send(frame.AppendWindowUpdate(nil, id, n), nil)
}

func (l *routerLink) cancel(id uint64) {
	l.t.Helper()
	l.send(frame.AppendRSTStream(nil, id, 8, "client left"), nil)
}

// next waits for a frame.
func (l *routerLink) next() frame.Frame {
	l.t.Helper()
	select {
	case f := <-l.got:
		return f
	case <-l.done:
		select {
		case f := <-l.got:
			return f
		default:
		}
		l.t.Fatalf("the connection ended: %v", l.err)
		return frame.Frame{}
	}
}

// want compares the next frames, in the form of show.
func (l *routerLink) want(frames ...string) {
	l.t.Helper()
	for _, want := range frames {
		if got := show(l.next()); got != want {
			l.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

// wantQuiet says that the worker sends nothing, in a bubble.
func (l *routerLink) wantQuiet() {
	l.t.Helper()
	synctest.Wait()
	select {
	case f := <-l.got:
		l.t.Fatalf("got %s, want nothing", show(f))
	default:
	}
}

// wantClosed waits for the worker to close.
func (l *routerLink) wantClosed() {
	l.t.Helper()
	<-l.done
	select {
	case f := <-l.got:
		l.t.Fatalf("got %s, want the end", show(f))
	default:
	}
}

// show writes a frame as text: type, stream, what the type has, the total after END, the payload, long ones by their length.
func show(f frame.Frame) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %d", f.Type, f.Stream)
	switch f.Type {
	case frame.Headers:
		var fields []string
		for name, value := range f.Fields.All() {
			fields = append(fields, fmt.Sprintf("%s: %s", name, value))
		}
		fmt.Fprintf(&b, " [%s]", strings.Join(fields, ", "))
	case frame.RSTStream:
		fmt.Fprintf(&b, " %v %s", f.Code, f.Reason)
	case frame.GoAway:
		fmt.Fprintf(&b, " last %d %v %s", f.Last, f.Code, f.Reason)
	case frame.WindowUpdate:
		fmt.Fprintf(&b, " +%d", f.Credit)
	}
	if f.End() {
		fmt.Fprintf(&b, " END %d", f.Total)
	}
	switch n := len(f.Payload); {
	case n > 100:
		fmt.Fprintf(&b, " (%d bytes)", n)
	case n > 0:
		fmt.Fprintf(&b, " %q", f.Payload)
	}
	return b.String()
}

// running is a Worker whose Run a test has started.
type running struct {
	t      testing.TB
	logs   *logBook
	cancel context.CancelFunc
	done   chan struct{}
	err    error // after done
}

// start runs w, over r's pipe unless w has its own Dial.
func (r *router) start(w Worker) *running {
	r.t.Helper()
	run := &running{t: r.t, logs: &logBook{}, done: make(chan struct{})}
	if w.Name == "" {
		w.Name = "worker-1"
	}
	if w.Dial == nil {
		w.Dial = r.dial
	}
	w.Logger = slog.New(slog.NewTextHandler(run.logs, nil))
	var ctx context.Context
	ctx, run.cancel = context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(run.done)
		run.err = w.Run(ctx)
	})
	r.t.Cleanup(func() {
		run.cancel()
		wg.Wait()
	})
	return run
}

// serve starts a worker with a handler and lets it join.
func serve(t testing.TB, h http.HandlerFunc) (*running, *routerLink) {
	t.Helper()
	r := newRouter(t)
	run := r.start(Worker{Handler: h})
	return run, r.join()
}

// stop ends Run's context and waits.
func (run *running) stop() error {
	run.cancel()
	<-run.done
	return run.err
}

// logBook is what was logged.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// count is how many records contain s.
func (b *logBook) count(s string) (n int) {
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, s) {
			n++
		}
	}
	return n
}

// bubble runs a story in a synctest bubble.
func bubble(t *testing.T, story func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, story)
}

var welcome1 = frame.WelcomeInfo{Connection: 1}

func dataHead(id uint64) []byte { return frame.AppendData(nil, id, false, 0) }

var zmtpDefaults zmtp.Options

// once dials nc, and then nothing more.
func once(nc net.Conn) func(context.Context, string) (net.Conn, error) {
	var dialed atomic.Bool
	return func(ctx context.Context, _ string) (net.Conn, error) {
		if dialed.Swap(true) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nc, nil
	}
}

// newGate returns the worker's and the router's end of a connection that holds 16 KiB, and whose router can stop reading.
func newGate() (net.Conn, *gate) {
	a, b := testpipe.NewSize(16 << 10)
	return a, &gate{Conn: b}
}

// gate is a connection whose reader can be stopped.
type gate struct {
	net.Conn
	mu     sync.Mutex
	closed chan struct{} // nil while open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
	return g.Conn.Read(p)
}
