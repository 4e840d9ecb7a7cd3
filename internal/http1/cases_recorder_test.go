package http1_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/dialmux/dialmux/internal/http1"
	"github.com/dialmux/dialmux/internal/testpipe"
)

// request is one as the engine, or net/http, has understood it.
type request struct {
	method, path, authority, body string
	minor                         int
	chunked                       bool
	fields, trailers              []string // "name: value"
	failed                        int      // the status that its body was refused with; -1: by another error

	wanted []string // of a case: to be among fields
}

// recorder is a handler that keeps what it was given.
type recorder struct {
	requests []request
	refused  *http1.Error
}

func (r *recorder) Serve(c *http1.Conn) {
	h := c.Head()
	got := request{
		method: string(h.Method), path: string(h.Path), authority: string(h.Authority), minor: h.Minor,
		chunked: h.Length < 0, fields: lines(h.Fields),
	}
	body, err := io.ReadAll(c)
	got.body, got.trailers = string(body), lines(c.Trailers())
	status := 200
	if err != nil {
		status, got.failed, got.trailers = 500, -1, nil
		if why, ok := errors.AsType[*http1.Error](err); ok {
			status, got.failed = why.Status, why.Status
		}
	}
	r.requests = append(r.requests, got)
	c.Status(status)
	c.EndHead(2)
	_ = c.Write([]byte("ok"))
	_ = c.Finish()
}

func (r *recorder) Refuse(c *http1.Conn, why *http1.Error) {
	r.refused = why
	c.Status(why.Status)
	c.EndHead(0)
	_ = c.Finish()
}

func (r *recorder) Left() {}

func lines(fields []http1.Field) (all []string) {
	for _, f := range fields {
		all = append(all, string(f.Name)+": "+string(f.Value))
	}
	return all
}

// pieces is a connection whose Read never reads past one of the cuts, and never more than most bytes.
type pieces struct {
	*testpipe.Conn
	cuts    []int
	most    int
	at      int
	waiting []byte
	buf     [4096]byte
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.waiting) == 0 {
		n, err := p.Conn.Read(p.buf[:])
		if err != nil {
			return n, err
		}
		p.waiting = p.buf[:n]
	}
	n := min(len(b), len(p.waiting), p.most)
	for _, cut := range p.cuts {
		if cut > p.at {
			n = min(n, cut-p.at)
		}
	}
	copy(b, p.waiting[:n])
	p.waiting, p.at = p.waiting[n:], p.at+n
	return n, nil
}

// converse sends everything, closes the sending half, and returns what the handler got and what came back. most is how much
// one Read yields; none goes past a cut.
func converse(tb testing.TB, s *http1.Server, sent []byte, most int, cuts ...int) (r *recorder, answers []byte) {
	tb.Helper()
	client, server := testpipe.NewSize(4 << 20) // so large that nobody waits: one goroutine is enough
	if _, err := client.Write(sent); err != nil {
		tb.Fatal(err)
	}
	if err := client.(*testpipe.Conn).CloseWrite(); err != nil {
		tb.Fatal(err)
	}
	r = &recorder{}
	s.ServeConn(&pieces{Conn: server.(*testpipe.Conn), cuts: cuts, most: most}, r)
	answers, err := io.ReadAll(client)
	if err != nil {
		tb.Fatalf("the connection was left open: %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		tb.Fatalf("the server's end was left open: %v", err)
	}
	return r, answers
}

func (r *request) same(other *request) bool {
	return r.method == other.method && r.path == other.path && r.authority == other.authority && r.body == other.body &&
		r.failed == other.failed && slices.Equal(r.trailers, other.trailers)
}
