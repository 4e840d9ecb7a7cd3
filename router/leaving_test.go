package router_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// leaving is a phase that a client may leave in.
type leaving struct {
	name    string
	request string
	worker  string        // DEALER, REP; "": there is none
	says    func(c *call) // of its answer
	state   string        // in /streams
	hidden  bool          // net/http, which notices by reading, cannot in memory
}

const (
	plainGET = "GET /left HTTP/1.1\r\nHost: h\r\n\r\n"
	halfPUT  = "PUT /left HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf"
	putHead  = "PUT /left HTTP/1.1\r\nHost: h\r\n"
)

var leavings = []leaving{
	{name: "in the queue", request: plainGET, state: "waiting"},
	{name: "in the queue, body half sent", request: halfPUT, state: "waiting"},
	{name: "in the queue, body read ahead", request: putHead + "Content-Length: 4\r\n\r\nbody", state: "waiting"},
	{name: "in the queue, body unread", request: putHead + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 100_000), state: "waiting", hidden: true},
	{name: "in the queue behind pipelined bytes", request: plainGET + plainGET, state: "waiting", hidden: true},
	{name: "gathered for a REP", request: halfPUT, worker: "REP", state: "gathering"},
	{name: "gathered for a REP, chunked", request: putHead + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", worker: "REP", state: "gathering"},
	{name: "sent to a REP", request: plainGET, worker: "REP", state: "sent"},
	{name: "sent to a REP, behind pipelined bytes", request: plainGET + plainGET, worker: "REP", state: "sent", hidden: true},
	{name: "sent", request: plainGET, worker: "DEALER", state: "sent"},
	{name: "sent with a body", request: putHead + "Content-Length: 4\r\n\r\nbody", worker: "DEALER", state: "sent"},
	{name: "sent, behind pipelined bytes", request: plainGET + plainGET, worker: "DEALER", state: "sent", hidden: true},
	{name: "sent with a body, behind pipelined bytes", request: putHead + "Content-Length: 4\r\n\r\nbody" + plainGET, worker: "DEALER", state: "sent", hidden: true},
	{name: "body half sent", request: halfPUT, worker: "DEALER", state: "sent"},
	{name: "body half sent in chunks", request: putHead + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n8\r\nha", worker: "DEALER", state: "sent"},
	{name: "body held back", request: putHead + "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n", worker: "DEALER", state: "sent", hidden: true},
	{name: "body unread behind a full window", request: putHead + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 100_000), worker: "DEALER", state: "sent", hidden: true},
	{name: "the answer streams and is idle", request: plainGET, worker: "DEALER", state: "begun", says: func(c *call) {
		c.head(200, "content-type", "text/event-stream")
		c.data("data: 1\n\n")
	}},
	{name: "the answer is idle, behind pipelined bytes", request: plainGET + plainGET, worker: "DEALER", state: "begun", hidden: true, says: func(c *call) {
		c.head(200, "content-type", "text/event-stream")
		c.data("data: 1\n\n")
	}},
	{name: "informed", request: plainGET, worker: "DEALER", state: "begun", says: func(c *call) { c.head(103, "link", "</a>") }},
	{name: "the answer comes while the body does", request: halfPUT, worker: "DEALER", state: "begun", says: func(c *call) {
		c.head(200)
		c.data("data: 1\n\n")
	}},
	{name: "the answer is not read", request: plainGET, worker: "DEALER", state: "begun", says: func(c *call) {
		c.head(200, "content-length", "1000000")
		c.data(strings.Repeat("y", 60<<10))
		c.data(strings.Repeat("y", 60<<10))
	}},
}

// comes waits until requests are in the stream table as is says.
func (w *world) comes(is func(table router.StreamTable, states map[string]int) bool) {
	w.t.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		table, states := w.r.Streams(), map[string]int{}
		for _, s := range table.Streams {
			states[s.State]++
		}
		if is(table, states) {
			return
		}
		if time.Since(begin) > patience {
			w.t.Fatalf("/streams stays %+v", table)
		}
	}
}

func (w *world) ready(name string, socket string) *worker {
	w.t.Helper()
	k := w.connect(socket, zmtp.Options{User: name})
	if socket == "DEALER" {
		k.name, k.instance = name, "instance of "+name
		k.welcomed()
		k.join(1)
	}
	for all := w.r.Workers(); len(all) != 1 || all[0].State != "ready"; all = w.r.Workers() {
		time.Sleep(time.Millisecond)
	}
	return k
}

// play has a client leave after it has stayed a while, and returns after how
// long that was noticed.
func (l leaving) play(w *world, dial func(request string) net.Conn, stays time.Duration) (took time.Duration) {
	t := w.t
	var k *worker
	if l.worker != "" {
		k = w.ready("w1", l.worker)
	}
	client := dial(l.request)
	var c *call
	var j *task
	switch {
	case l.worker == "DEALER":
		c = k.request()
		if l.says != nil {
			l.says(c)
		}
	case l.state == "sent":
		j = k.task()
	}
	w.comes(func(_ router.StreamTable, states map[string]int) bool { return states[l.state] == 1 })
	time.Sleep(stays)
	if table := w.r.Streams(); len(table.Streams) != 1 || table.Streams[0].State != l.state || table.Streams[0].Target != "/left" {
		t.Errorf("/streams before the client left: %+v", table)
	}
	_ = client.Close()
	begin := time.Now()
	if c != nil {
		f := k.next()
		for f.Type == frame.Data || f.Type == frame.WindowUpdate { // what had come of the bodies
			f = k.next()
		}
		if f.Type != frame.RSTStream || f.Code != http2.ErrCodeCancel || f.Stream != c.Stream {
			t.Fatalf("the worker got %v %v on %d, want RST_STREAM CANCEL on %d", f.Type, f.Code, f.Stream, c.Stream)
		}
	} else {
		w.comes(func(_ router.StreamTable, states map[string]int) bool { return states[l.state] == 0 })
	}
	took = time.Since(begin)
	switch {
	case c != nil:
		c.reset(http2.ErrCodeCancel)
	case j != nil:
		j.reply("", "too late")
	}
	w.comes(func(table router.StreamTable, _ map[string]int) bool {
		return len(table.Streams) == 0 && table.Open == 0 && table.Waiting == 0
	})

	if k == nil {
		k = w.ready("w1", "DEALER")
	}
	next := dial("GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
	if l.worker == "REP" {
		if j := k.task(); pathOf(t, j) != "/next" {
			t.Errorf("the REP got %s", pathOf(t, j))
		} else {
			j.reply("", "served")
		}
	} else {
		c := k.request()
		if c.get(":path") != "/next" {
			t.Errorf("the worker got %s", c.get(":path"))
		}
		c.answer(200, "served")
	}
	got := make([]byte, len("HTTP/1.1 200 OK"))
	if _, err := io.ReadFull(next, got); err != nil || string(got) != "HTTP/1.1 200 OK" {
		t.Errorf("the next client got %q, %v", got, err)
	}
	_ = next.Close()
	return took
}

func TestH15AClientThatLeavesIsNoticedWithin150ms(t *testing.T) {
	for _, l := range leavings {
		fronts(t, l.name, func(t *testing.T, front string) {
			if front == netHTTP && l.hidden {
				t.Skip("net/http notices by reading: what is unread hides the end of a connection in memory from it")
			}
			for _, stays := range []time.Duration{0, 49 * time.Millisecond, 117*time.Millisecond + 1, 3 * time.Second} {
				storyBehind(t, router.Config{}, front, nil, func(w *world) {
					if took := l.play(w, func(request string) net.Conn { return w.raw(request).nc }, stays); took > notice {
						w.t.Errorf("who had stayed %v was missed after %v, want at most %v", stays, took, notice)
					}
				})
			}
		})
	}
}
