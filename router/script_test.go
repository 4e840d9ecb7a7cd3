package router_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// worker is a worker that does what the test says, frame by frame.
type worker struct {
	t          *testing.T
	w          *world
	conn       *zmtp.Conn
	nc         *gate
	name       string
	instance   string
	connection uint64 // WELCOME's
	inbox      *mailbox[[][]byte]
	done       chan struct{}
}

// connect dials in, and waits for nothing more than the handshake. socket is
// the kind that it claims to be.
func (w *world) connect(socket string, o zmtp.Options) *worker {
	w.t.Helper()
	nc, err := w.workers.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.over(nc, socket, o)
}

func (w *world) over(nc net.Conn, socket string, o zmtp.Options) *worker {
	w.t.Helper()
	k := &worker{t: w.t, w: w, nc: newGate(nc, socket), inbox: newMailbox[[][]byte](), done: make(chan struct{})}
	if o.MaxPart == 0 {
		o.MaxPart = 16 << 20
	}
	conn, err := zmtp.Connect(k.nc, o)
	if err != nil {
		w.t.Fatal(err)
	}
	k.conn = conn
	w.wg.Go(func() {
		defer close(k.done)
		_ = conn.Run(func(parts [][]byte) error {
			k.inbox.put(cloneParts(parts))
			return nil
		})
	})
	w.t.Cleanup(func() { k.die() })
	return k
}

// native connects a full worker, which reads WELCOME and has not joined yet.
func (w *world) native(name string) *worker {
	w.t.Helper()
	k := w.connect("DEALER", zmtp.Options{})
	k.name, k.instance = name, "instance of "+name
	k.welcomed()
	return k
}

// join is native, and joins.
func (w *world) join(name string, concurrency uint64) *worker {
	w.t.Helper()
	k := w.native(name)
	k.join(concurrency)
	w.settle()
	return k
}

func (k *worker) welcomed() frame.WelcomeInfo {
	k.t.Helper()
	f := k.next()
	welcome, err := frame.ParseWelcome(&f)
	if f.Type != frame.Welcome || err != nil {
		k.t.Fatalf("the router began with %v (%v), not WELCOME", f.Type, err)
	}
	k.connection = welcome.Connection
	return welcome
}

func (k *worker) join(concurrency uint64, edit ...func(*frame.JoinInfo)) {
	k.t.Helper()
	info := frame.JoinInfo{Protocol: frame.Protocol, Connection: k.connection, Instance: k.instance, Name: k.name, Concurrency: concurrency}
	for _, e := range edit {
		e(&info)
	}
	k.send(frame.AppendJoin(nil, info))
}

func (k *worker) send(parts ...[]byte) {
	k.t.Helper()
	if _, err := k.conn.Send(0, zmtp.Ordinary, parts...); err != nil {
		k.t.Fatalf("worker %s: %v", k.name, err)
	}
}

// die closes the connection without a word.
func (k *worker) die() {
	_ = k.nc.Close()
	<-k.done
}

// gone waits until the router has closed the connection.
func (k *worker) gone() {
	k.t.Helper()
	select {
	case <-k.done:
	case <-time.After(patience):
		k.t.Fatalf("worker %s still has its connection", k.name)
	}
}

// message waits for the next message.
func (k *worker) message() [][]byte {
	k.t.Helper()
	parts, ok := k.inbox.take(k.done)
	if !ok {
		k.t.Fatalf("worker %s: no message came", k.name)
	}
	return parts
}

func parse(t *testing.T, parts [][]byte) frame.Frame {
	t.Helper()
	var payload []byte
	if len(parts) == 2 {
		payload = parts[1]
	}
	f, err := frame.Parse(parts[0], payload)
	if err != nil || len(parts) > 2 {
		t.Fatalf("the router sent %q: %v", parts, err)
	}
	return f
}

// next waits for the next frame.
func (k *worker) next() frame.Frame {
	k.t.Helper()
	return parse(k.t, k.message())
}

// silent checks that nothing has come.
func (k *worker) silent() {
	k.t.Helper()
	k.w.settle()
	if parts, ok := k.inbox.peek(); ok {
		f := parse(k.t, parts)
		k.t.Fatalf("worker %s got %v on stream %d (%s), and should have got nothing", k.name, f.Type, f.Stream, f.Fields.Get(":path"))
	}
}

// call is a request at a worker.
type call struct {
	*worker
	frame.Frame // HEADERS
	total       uint64
}

// request waits for the HEADERS of the next request.
func (k *worker) request() *call {
	k.t.Helper()
	f := k.next()
	if f.Type != frame.Headers || f.Fields.Get(":method") == nil {
		k.t.Fatalf("worker %s got %v on stream %d, want a request", k.name, f.Type, f.Stream)
	}
	return &call{worker: k, Frame: f}
}

// asked reports how many requests have come, and forgets them.
func (k *worker) asked() (paths []string) {
	k.t.Helper()
	k.w.settle()
	for {
		parts, ok := k.inbox.peek()
		if !ok {
			return paths
		}
		if f := parse(k.t, parts); f.Type == frame.Headers {
			paths = append(paths, string(f.Fields.Get(":path")))
		}
	}
}

func (c *call) get(name string) string { return string(c.Fields.Get(name)) }

// values are all values of a field.
func (c *call) values(name string) (values []string) {
	for n, v := range c.Fields.All() {
		if string(n) == name {
			values = append(values, string(v))
		}
	}
	return values
}

// fields makes a list of name, value, name, value.
func fields(pairs ...string) (f frame.Fields) {
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

// answer is a whole answer in one frame.
func (c *call) answer(status int, body string, pairs ...string) {
	c.t.Helper()
	f := fields(append([]string{":status", strconv.Itoa(status)}, pairs...)...)
	c.send(frame.AppendHeaders(nil, c.Stream, f, true, uint64(len(body))), []byte(body))
}

// head begins an answer.
func (c *call) head(status int, pairs ...string) {
	c.t.Helper()
	c.headers(append([]string{":status", strconv.Itoa(status)}, pairs...)...)
}

func (c *call) headers(pairs ...string) {
	c.t.Helper()
	c.send(frame.AppendHeaders(nil, c.Stream, fields(pairs...), false, 0))
}

func (c *call) data(body string) {
	c.t.Helper()
	c.total += uint64(len(body))
	c.send(frame.AppendData(nil, c.Stream, false, 0), []byte(body))
}

func (c *call) end() {
	c.t.Helper()
	c.send(frame.AppendData(nil, c.Stream, true, c.total))
}

func (c *call) trailers(pairs ...string) {
	c.t.Helper()
	c.send(frame.AppendHeaders(nil, c.Stream, fields(pairs...), true, c.total))
}

func (c *call) reset(code frame.Code) {
	c.t.Helper()
	c.send(frame.AppendRSTStream(nil, c.Stream, code, "says the test"))
}

func (c *call) credit(n uint64) {
	c.t.Helper()
	c.send(frame.AppendWindowUpdate(nil, c.Stream, n))
}

func (k *worker) goAway(last uint64) {
	k.t.Helper()
	k.send(frame.AppendGoAway(nil, last, http2.ErrCodeNo, "the worker stops"))
}

// cancelled expects RST_STREAM for the call.
func (c *call) cancelled(code frame.Code) {
	c.t.Helper()
	if f := c.next(); f.Type != frame.RSTStream || f.Stream != c.Stream || f.Code != code {
		c.t.Fatalf("worker %s got %v %v on stream %d, want RST_STREAM %v on %d", c.name, f.Type, f.Code, f.Stream, code, c.Stream)
	}
}

// body reads the request's body to its end, and gives credit back.
func (c *call) body() string {
	c.t.Helper()
	body := string(c.Payload)
	for f := c.Frame; !f.End(); {
		if len(f.Payload) > 0 {
			c.credit(uint64(frame.Cost(len(f.Payload))))
		}
		if f = c.next(); f.Stream != c.Stream || f.Type != frame.Data {
			c.t.Fatalf("worker %s got %v on stream %d amid the body of %d", c.name, f.Type, f.Stream, c.Stream)
		}
		body += string(f.Payload)
		if f.End() && f.Total != uint64(len(body)) {
			c.t.Fatalf("the total is said to be %d, %d bytes came", f.Total, len(body))
		}
	}
	return body
}

// requests reads n requests, whose bodies may come interleaved, in the order in
// which they end.
func (k *worker) requests(n int) (whole []*call, bodies []string) {
	k.t.Helper()
	calls, got := map[uint64]*call{}, map[uint64]string{}
	for len(whole) < n {
		f := k.next()
		if f.Type == frame.Headers {
			calls[f.Stream] = &call{worker: k, Frame: f}
		}
		c := calls[f.Stream]
		if c == nil {
			k.t.Fatalf("worker %s got %v on stream %d, which is not open", k.name, f.Type, f.Stream)
		}
		got[f.Stream] += string(f.Payload)
		if f.End() {
			whole, bodies = append(whole, c), append(bodies, got[f.Stream])
		} else if len(f.Payload) > 0 {
			c.credit(uint64(frame.Cost(len(f.Payload))))
		}
	}
	return whole, bodies
}

func cloneParts(parts [][]byte) [][]byte {
	c := make([][]byte, len(parts))
	for i, p := range parts {
		c[i] = bytes.Clone(p)
	}
	return c
}

// gate is a worker's network. Frozen it reads nothing, and so answers no PING,
// as a stopped process does. It makes another kind of socket out of the DEALER
// that Connect shows.
type gate struct {
	net.Conn
	socket string

	mu     sync.Mutex
	thawed sync.Cond
	frozen bool
	closed bool
}

func newGate(nc net.Conn, socket string) *gate {
	g := &gate{Conn: nc, socket: socket}
	g.thawed.L = &g.mu
	return g
}

func (g *gate) freeze(frozen bool) {
	g.mu.Lock()
	g.frozen = frozen
	g.mu.Unlock()
	g.thawed.Broadcast()
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.frozen && !g.closed {
		g.thawed.Wait()
	}
}

func (g *gate) Close() error {
	err := g.Conn.Close() // first: what waits must not read what is there
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.thawed.Broadcast()
	return err
}

func (g *gate) Read(p []byte) (int, error) {
	g.wait()
	n, err := g.Conn.Read(p)
	g.wait()
	return n, err
}

const dealer = "Socket-Type\x00\x00\x00\x06DEALER"

func (g *gate) Write(p []byte) (int, error) {
	if g.socket == "DEALER" || !bytes.Contains(p, []byte(dealer)) {
		return g.Conn.Write(p)
	}
	out := strings.Replace(string(p), dealer, fmt.Sprintf("Socket-Type\x00\x00\x00%c%s", len(g.socket), g.socket), 1)
	for _, command := range []string{"\x05READY", "\x08INITIATE"} {
		if at := strings.Index(out, command); at > 0 { // the byte before is the size of the command
			out = out[:at-1] + string([]byte{out[at-1] - byte(len("DEALER")-len(g.socket))}) + out[at:]
		}
	}
	if _, err := g.Conn.Write([]byte(out)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// rep is a REP worker. Its envelope is in the hands of the test.
func (w *world) rep(o zmtp.Options) *worker {
	w.t.Helper()
	k := w.connect("REP", o)
	w.settle()
	return k
}

// task is a request at a REP worker.
type task struct {
	*worker
	tag  []byte
	head []byte
	body string
}

func (k *worker) task() *task {
	k.t.Helper()
	parts := k.message()
	if len(parts) != 4 || len(parts[0]) != 16 || len(parts[1]) != 0 {
		k.t.Fatalf("a REP got %d parts: %q; tag, empty, head and body are right", len(parts), parts)
	}
	return &task{worker: k, tag: parts[0], head: parts[2], body: string(parts[3])}
}

func (j *task) stream() uint64 { return binary.BigEndian.Uint64(j.tag[8:]) }

func (j *task) reply(head, body string) {
	j.t.Helper()
	j.send(j.tag, nil, []byte(head), []byte(body))
}
