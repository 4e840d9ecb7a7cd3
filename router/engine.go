package router

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/http1"
)

// engine is the front on internal/http1: one for each connection, which serves
// one request after the other with the same memory.
type engine struct {
	r     *Router
	c     *http1.Conn
	x     exchange
	asked asked

	mu   sync.Mutex
	live *stream // of the request that is served; guarded by mu
	left bool    // the client has gone; guarded by mu
}

// newEngine serves nc. subject is of the client's certificate, most how many
// bytes a body may have; 0: no limit.
func (r *Router) newEngine(nc net.Conn, scheme, subject string, most int64) *engine {
	remote := nc.RemoteAddr().String()
	e := &engine{r: r, asked: asked{scheme: scheme, client: hostOf(remote), subject: subject, trusted: r.trusts(remote)}}
	e.x.r, e.x.c, e.x.most = r, e, most
	return e
}

// Serve carries one request.
func (e *engine) Serve(c *http1.Conn) {
	e.c = c
	s := e.r.newStream()
	e.x.reset(s, version{1, c.Head().Minor})
	f := e.x.enter()
	defer e.x.exit()
	if refused := e.take(&s.request, c.Head()); f == nil {
		f = refused
	}
	var whole bool
	if f != nil {
		whole = e.x.answer(f, true)
	} else {
		whole = e.carry(s)
	}
	s.release()
	e.rest()
	if !whole {
		c.Abort()
	}
}

func (e *engine) carry(s *stream) bool {
	e.set(s)
	defer e.set(nil)
	return e.x.run()
}

// Refuse answers what the parser refused.
func (e *engine) Refuse(c *http1.Conn, why *http1.Error) {
	e.c = c
	s := e.r.newStream()
	e.x.reset(s, version{1, 1})
	if !e.x.answer(&failure{why.Status, why.Reason, false}, true) {
		c.Abort()
	}
	s.release()
	e.rest()
}

// rest lets go of what an idle connection should not hold.
func (e *engine) rest() {
	const most = 1 << 10
	e.asked.method, e.asked.protocol, e.asked.authority, e.asked.path = "", "", nil, nil
	e.x.s = nil // it is another request's by now
	e.x.head.fields.Shrink(most)
	e.x.tail.Shrink(most)
}

// Left ends the stream of a client that has gone.
func (e *engine) Left() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left = true
	if e.live != nil {
		e.live.leave()
	}
}

// set makes s known to Left; nil: it must not be touched any more.
func (e *engine) set(s *stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.live = s; s != nil && e.left {
		s.leave()
	}
}

// take turns the request's head into q.
func (e *engine) take(q *request, h *http1.Head) *failure {
	a := &e.asked
	a.method, a.authority, a.path = methodOf(h.Method), h.Authority, h.Path
	a.version, a.length, a.expect, a.protocol = version{1, h.Minor}, h.Length, h.Expect, ""
	if h.Upgrade && h.Minor == 1 && h.Length == 0 && a.method == "GET" { // else it is passed over (RFC 9110 section 7.8)
		for i := range h.Fields {
			if string(h.Fields[i].Name) == "upgrade" && a.protocol == "" {
				a.protocol = e.r.protocol(h.Fields[i].Value)
			}
		}
	}
	in, f := q.take(a)
	if f != nil {
		return f
	}
	if e.x.most > 0 && h.Length > e.x.most {
		return errBodySize
	}
	for i := range h.Fields {
		if string(h.Fields[i].Name) == "connection" {
			in.connection(h.Fields[i].Value)
		}
	}
	for i := range h.Fields {
		in.field(h.Fields[i].Name, h.Fields[i].Value)
	}
	return in.end()
}

func (e *engine) fields(f frame.Fields) {
	for f.Len() > 0 {
		var name, value []byte
		name, value, f = f.Next()
		e.c.Field(name, value)
	}
}

func (e *engine) inform(h *answerHead) error {
	e.c.Status(h.status)
	e.fields(h.fields)
	return e.c.EndInfo()
}

func (e *engine) begin(h *answerHead) error {
	e.c.Status(h.status)
	e.fields(h.fields)
	if h.close {
		e.c.Close()
	}
	e.c.EndHead(h.length)
	return nil
}

func (e *engine) upgrade(h *answerHead, protocol string) error {
	e.c.Status(h.status)
	e.fields(h.fields)
	return e.c.EndSwitch([]byte(protocol))
}

func (e *engine) write(p []byte, _ bool) error { return e.c.Write(p) }

func (e *engine) flush() error { return e.c.Flush() }

func (e *engine) finish(trailers frame.Fields) error {
	e.fields(trailers)
	return e.c.Finish()
}

func (e *engine) atHand() bool { return e.c.AtHand() }

func (e *engine) read(p []byte) (int, error) {
	n, err := e.c.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if fault, ok := errors.AsType[*http1.Error](err); ok {
		return n, &failure{fault.Status, fault.Reason, false}
	}
	return n, errLeft
}

func (e *engine) trailers(q *request, f *frame.Fields) {
	for _, t := range e.c.Trailers() {
		if q.keeps(t.Name) {
			f.AddBytes(t.Name, t.Value)
		}
	}
}

func (e *engine) halt() { e.c.Halt() }

func (e *engine) gone() func() bool { return nil } // http1 calls Left
