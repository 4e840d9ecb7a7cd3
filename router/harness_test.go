package router_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

// world is a router between clients and workers, in a synctest bubble: its
// network is memory, and its clock goes forward when nobody has anything to do.
type world struct {
	t       *testing.T
	front   string // netHTTP or engine
	r       *router.Router
	workers *testpipe.Listener
	clients *testpipe.Listener
	log     journal
	wg      sync.WaitGroup // what the test itself has started
	stop    func()         // ends the router's Run
	ran     error          // what Run returned
	ended   chan struct{}  // Run has
}

// The two fronts. What a client notices is the same behind both.
const (
	netHTTP = "net/http"
	engine  = "http1"
)

// fronts runs a test behind each front, as a subtest whose name begins with name.
func fronts(t *testing.T, name string, run func(t *testing.T, front string)) {
	t.Helper()
	for _, front := range []string{netHTTP, engine} {
		t.Run(strings.TrimSpace(name+" "+front), func(t *testing.T) { run(t, front) })
	}
}

// story runs a test in a world of its own, behind each front. When it is over,
// no request may be left in the router, and no goroutine anywhere.
func story(t *testing.T, cfg router.Config, tell func(w *world)) {
	t.Helper()
	fronts(t, "", func(t *testing.T, front string) { storyBehind(t, cfg, front, nil, tell) })
}

// storyBehind is story behind one front, with a handler before the router: net/http's only.
func storyBehind(t *testing.T, cfg router.Config, front string, around func(http.Handler) http.Handler, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(patience) }) // both fronts linger on connections that they close
		w := newWorld(t, cfg, front, around)
		tell(w)
		if front == engine {
			time.Sleep(notice)
		}
		w.settle()
		if table := w.r.Streams(); table.Open != 0 || table.Waiting != 0 || table.Memory != 0 {
			t.Errorf("the stream table is not empty at the end: %+v", table)
		}
	})
}

// newWorld makes a world that ends with the test. around may stand around the
// router, behind net/http.
func newWorld(t *testing.T, cfg router.Config, front string, around func(http.Handler) http.Handler) *world {
	t.Helper()
	w := &world{t: t, front: front, workers: testpipe.NewListener(), clients: testpipe.NewListener(), ended: make(chan struct{})}
	if cfg.Listeners == nil {
		cfg.Listeners = []net.Listener{w.workers}
	}
	cfg.Logger = slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r, err := router.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.r = r
	ctx, cancel := context.WithCancel(t.Context())
	w.stop = cancel
	var serving sync.WaitGroup
	serving.Go(func() {
		defer close(w.ended)
		w.ran = r.Run(ctx)
	})
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		w.wg.Wait()
		if w.ran != nil {
			t.Errorf("Run: %v", w.ran)
		}
		if strings.Contains(w.log.String(), "panic") {
			t.Error("something panicked")
		}
		if t.Failed() {
			log := w.log.String()
			t.Logf("the end of the router's log:\n%s", log[max(0, len(log)-4000):])
		}
	})
	w.serve(w.clients, around)
	return w
}

// serve serves clients on l until the test ends.
func (w *world) serve(l net.Listener, around func(http.Handler) http.Handler) {
	var serving sync.WaitGroup
	if w.front == engine {
		c := w.r.Clients(router.Port{HeadTimeout: time.Minute, IdleTimeout: -1, BodyTimeout: -1})
		serving.Go(func() { _ = c.Serve(l) })
		w.t.Cleanup(func() {
			_ = l.Close()
			serving.Wait()
			now, cancel := context.WithCancel(context.Background())
			cancel()
			c.Shutdown(now, 0)
		})
		return
	}
	handler := http.Handler(w.r)
	if around != nil {
		handler = around(w.r)
	}
	srv := &http.Server{
		Handler: handler, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute,
		ConnContext: router.ConnContext, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(&w.log, nil), slog.LevelError),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	serving.Go(func() { _ = srv.Serve(l) })
	w.t.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
	})
}

// settle waits until nothing moves but the clock.
func (w *world) settle() { synctest.Wait() }

// journal is what the router logs.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// patience is how long a test waits for what should come at once. In a bubble
// it costs nothing.
const patience = time.Minute

// mailbox is a queue without end.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	arrive chan struct{}
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{arrive: make(chan struct{}, 1)} }

func (m *mailbox[T]) put(item T) {
	m.mu.Lock()
	m.items = append(m.items, item)
	m.mu.Unlock()
	select {
	case m.arrive <- struct{}{}:
	default:
	}
}

// peek takes what is there.
func (m *mailbox[T]) peek() (item T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.items) == 0 {
		return item, false
	}
	item = m.items[0]
	m.items = m.items[1:]
	return item, true
}

// take waits for the next.
func (m *mailbox[T]) take(ended <-chan struct{}) (item T, ok bool) {
	late := time.After(patience)
	for {
		if item, ok := m.peek(); ok {
			return item, true
		}
		select {
		case <-m.arrive:
		case <-ended:
			return m.peek()
		case <-late:
			return item, false
		}
	}
}

// pending is a request on its way through net/http's client.
type pending struct {
	w    *world
	done chan struct{} // the head of the answer is there, or err
	resp *http.Response
	err  error
	left context.CancelFunc
	body io.Reader
}

// send starts a request. Each has a connection of its own.
func (w *world) send(method, path string, body io.Reader, edit ...func(*http.Request)) *pending {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	req, err := http.NewRequestWithContext(ctx, method, "http://example.com"+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range edit {
		e(req)
	}
	p := &pending{w: w, done: make(chan struct{}), left: cancel, body: body}
	client := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return w.clients.Dial(ctx) },
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	client.Protocols.SetHTTP1(req.ProtoMajor == 1)
	client.Protocols.SetUnencryptedHTTP2(req.ProtoMajor == 2)
	w.wg.Go(func() {
		defer close(p.done)
		p.resp, p.err = client.RoundTrip(req)
	})
	w.t.Cleanup(func() {
		p.leave()
		client.CloseIdleConnections()
	})
	return p
}

func (w *world) get(path string, edit ...func(*http.Request)) *pending {
	w.t.Helper()
	return w.send(http.MethodGet, path, nil, edit...)
}

// over is an edit for send: the version of HTTP.
func over(proto string) func(*http.Request) {
	return func(req *http.Request) {
		if proto == "HTTP/2" {
			req.ProtoMajor = 2
		}
	}
}

// contentLength is an edit for send.
func contentLength(n int64) func(*http.Request) {
	return func(req *http.Request) { req.ContentLength = n }
}

// notice is how long the engine may take to notice that a client has left.
const notice = 150 * time.Millisecond

// leave closes the client's connection.
func (p *pending) leave() {
	if c, ok := p.body.(io.Closer); ok {
		_ = c.Close() // net/http waits for a Read that it has begun
	}
	p.left()
	<-p.done
	if p.w.front == engine {
		time.Sleep(notice)
	}
	if p.resp != nil {
		_ = p.resp.Body.Close()
	}
}

// head waits for the head of the answer.
func (p *pending) head() *http.Response {
	p.w.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.w.t.Fatal("no answer came")
	}
	if p.err != nil {
		p.w.t.Fatalf("no answer: %v", p.err)
	}
	return p.resp
}

// whole waits for the whole answer.
func (p *pending) whole() (resp *http.Response, body string) {
	p.w.t.Helper()
	resp = p.head()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.w.t.Fatalf("the answer broke off after %d bytes: %v", len(b), err)
	}
	return resp, string(b)
}

// wants checks the whole answer.
func (p *pending) wants(status int, body string) *http.Response {
	p.w.t.Helper()
	resp, got := p.whole()
	if resp.StatusCode != status || !strings.Contains(got, body) {
		p.w.t.Fatalf("got %d %.200q, want %d and %.200q in it", resp.StatusCode, got, status, body)
	}
	return resp
}

// breaks expects an answer whose head came and whose body broke off visibly.
func (p *pending) breaks() (body string) {
	p.w.t.Helper()
	resp := p.head()
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		p.w.t.Fatalf("the answer ended cleanly after %q; it should break off", b)
	}
	return string(b)
}

// waiting reports whether the answer has not begun, once nothing moves.
func (p *pending) waiting() bool {
	p.w.settle()
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// raw is a client that shows and sees bytes.
type raw struct {
	t  *testing.T
	nc net.Conn
}

func (w *world) raw(request string) *raw {
	w.t.Helper()
	nc, err := w.clients.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	c := &raw{w.t, nc}
	w.t.Cleanup(func() { _ = nc.Close() })
	if request != "" { // the router may close one that it does not want at once
		c.write(request)
	}
	return c
}

func (c *raw) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal(err)
	}
}

// seen reads what has come, once nothing moves, and whether the end is there.
func (c *raw) seen() (got string, closed bool) {
	c.t.Helper()
	synctest.Wait()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Nanosecond))
	b, err := io.ReadAll(c.nc)
	_ = c.nc.SetReadDeadline(time.Time{})
	return string(b), err == nil
}

// all reads until the router closes.
func (c *raw) all() string {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c.nc)
	if err != nil {
		c.t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}
