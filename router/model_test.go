package router_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// The model: what a user is promised, in plain words of its own. model_play_test.go
// plays histories on a router and on the model at once, and compares them after
// every step. Where the router is free, as in which worker it picks, the model takes
// what it sees, and checks that it was allowed.
//
// An order is a client's request, a hand is a worker, a job is an order at a hand.

// F1, F2, F5, F6, W6, W7, W12, W14: whatever clients, workers and the clock do, in whatever order, the
// router does what the model says. By hand:
//
//	go test ./router -run TestModel -rapid.checks=100000
func TestModel(t *testing.T) {
	fronts(t, "", func(t *testing.T, front string) {
		rapid.Check(t, func(rt *rapid.T) {
			script := deeds.Draw(rt, "deeds")
			wrong := ""
			synctest.Test(t, func(t *testing.T) { wrong = live(t, front, script) })
			if wrong != "" {
				rt.Fatal(wrong)
			}
		})
	})
}

const (
	modelRoom     = 3 // orders that may wait
	modelWait     = 2 * time.Second
	modelResponse = 3 * time.Second // and up to a tenth more
	modelRequest  = 12 * time.Second
	modelPause    = 100 * time.Millisecond // after a refusal
	modelBeat     = 2 * time.Second        // between PINGs; dead after four
)

var modelConfig = router.Config{QueueLimit: modelRoom, QueueWait: modelWait, ResponseTimeout: modelResponse, RequestTimeout: modelRequest, MaxFailures: -1}

// order is a client's request.
type order struct {
	*pending
	number     int
	path       string // tells it from all others
	repeatable bool   // safe to carry out twice
	size       int    // of its body
	large      bool   // that is more than is sent before the worker asks for more
	until      time.Time

	state  string // waiting, sent, begun, over
	at     *job
	wait   time.Time // waiting: until when
	answer time.Time // sent or begun, and not headed: until when
	since  int       // waiting: since which look
	lost   int       // hands that went with it
	moves  int       // hands that went away before they began it
	fed    bool      // large: a worker asked for more of its body than is kept
	headed bool      // the final head has gone to the client
	said   string    // the answer's body so far
	left   time.Time // when its client left; zero: it is there

	want verdict                 // once over
	got  atomic.Pointer[verdict] // by the client's goroutine; nil: more may come
}

// verdict is what a client gets.
type verdict struct {
	status int
	body   string
	whole  bool
	retry  bool // Retry-After is there
	tail   string
}

// hand is a worker's connection.
type hand struct {
	*worker
	rep      bool
	slots    int
	jobs     []*job
	past     []uint64 // streams that it has had
	crossed  []uint64 // those of clients that had left: word of it may cross the answer
	gone     bool     // its connection has ended
	draining bool
	frozen   bool
	paused   time.Time // refused: until when it is passed over
	heard    time.Time // when it last said something
}

// job is a stream that a hand owes the end of.
type job struct {
	call
	hand  *hand
	order *order // nil: it was taken back
	path  string
	size  int    // of the order's body
	got   int    // of that
	tag   []byte // a REP's
	seen  bool   // the hand has got it
	told  bool   // the hand has heard that it was taken back
	began bool   // its final head has been sent
}

// model is all of them.
type model struct {
	orders []*order
	hands  []*hand
	looks  int

	retried, quarantined, dropped uint64
}

// ready tells whether a hand may be given an order.
func (k *hand) ready() bool {
	return !k.gone && !k.draining && k.paused.IsZero() && len(k.jobs) < k.slots
}

func (m *model) anyReady() bool { return slices.ContainsFunc(m.hands, (*hand).ready) }

// busy tells whether any order is not over.
func (m *model) busy() bool {
	return slices.ContainsFunc(m.orders, func(o *order) bool { return o.state != "over" })
}

// room is who waits.
func (m *model) room() (waiting []*order) {
	for _, o := range m.orders {
		if o.state == "waiting" {
			waiting = append(waiting, o)
		}
	}
	return waiting
}

// enter: a new order waits, if only for an instant, unless nobody is ready and the
// room is full.
func (m *model) enter(o *order) {
	full := len(m.room()) >= modelRoom && !m.anyReady()
	if m.orders = append(m.orders, o); full {
		m.over(o, 503, "too many requests wait")
		return
	}
	m.await(o, time.Now().Add(modelWait))
}

func (m *model) await(o *order, until time.Time) {
	o.state, o.at, o.wait, o.since = "waiting", nil, until, m.looks+1
}

// give: the router has given an order to a hand. Was that right?
func (m *model) give(o *order, k *hand, id uint64) string {
	switch {
	case o.state != "waiting":
		return fmt.Sprintf("%s is %s and was given to %s", o.path, o.state, k.name)
	case o.lost >= 2:
		return fmt.Sprintf("%s has lost two workers and was given to %s", o.path, k.name)
	case !k.ready():
		return fmt.Sprintf("%s was given to %s, which is not ready: %d of %d jobs, draining %v", o.path, k.name, len(k.jobs), k.slots, k.draining)
	}
	j := &job{call: call{worker: k.worker, Frame: frame.Frame{Stream: id}}, hand: k, order: o, path: o.path, size: o.size}
	k.jobs = append(k.jobs, j)
	o.state, o.at, o.said, o.fed = "sent", j, "", false
	o.untilAnswer()
	return ""
}

// untilAnswer: a worker that has all of a request is given so long. That is looked at ten
// times within it.
func (o *order) untilAnswer() {
	const look = modelResponse / 10
	o.answer = time.Now().Add(modelResponse + look).Truncate(look)
}

// over: an order ends with an answer of the router's own, or a break where its head is out.
func (m *model) over(o *order, status int, why string) {
	o.want = verdict{status: status, body: why, whole: true}
	if o.headed {
		o.want = verdict{status: 200, body: o.said}
	}
	m.end(o)
}

// whole: the worker has ended its answer.
func (m *model) whole(o *order, tail string) {
	o.want = verdict{status: 200, body: o.said, whole: true, tail: tail}
	o.at = nil
	m.end(o)
}

// end: what a worker still has of an order is taken back.
func (m *model) end(o *order) {
	o.state = "over"
	if o.at != nil {
		o.at.order = nil
		o.at = nil
	}
}

// lose: a worker may have begun an order, and will not end it.
func (m *model) lose(o *order) {
	o.at = nil
	o.lost++
	switch {
	case o.headed:
		m.over(o, 0, "")
	case o.lost == 2:
		m.quarantined++
		m.over(o, 502, "was lost twice")
	case !o.repeatable:
		m.over(o, 502, "may have been carried out")
	case o.fed:
		m.over(o, 502, "more of the body had been sent")
	default:
		m.retried++
		m.await(o, time.Now().Add(modelWait))
	}
}

// free: a hand has a slot again, and is not passed over any more.
func (k *hand) free(j *job) {
	k.jobs = slices.DeleteFunc(k.jobs, func(other *job) bool { return other == j })
	k.past = append(k.past, j.Stream)
	if j.order != nil && !j.order.left.IsZero() {
		k.crossed = append(k.crossed, j.Stream)
	}
	k.paused = time.Time{}
}

// die: a connection has ended.
func (m *model) die(k *hand) {
	k.gone, k.frozen, k.paused = true, false, time.Time{}
	jobs := k.jobs
	for k.jobs = nil; len(jobs) > 0; jobs = jobs[1:] {
		if o := jobs[0].order; o != nil {
			m.lose(o)
		}
	}
}

// goAway: what came after last was not begun, unless something had been heard of it.
func (m *model) goAway(k *hand, last uint64) {
	k.draining = true
	for _, j := range slices.Clone(k.jobs) {
		if j.Stream <= last {
			continue
		}
		k.free(j)
		switch o := j.order; {
		case o == nil:
		case o.state == "begun":
			m.lose(o)
		default:
			if o.moves++; o.moves <= 3 { // it is not to move for ever
				o.wait = time.Now().Add(modelWait)
			}
			m.awaitOn(o)
		}
	}
}

// awaitOn: it waits for what is left of its time to.
func (m *model) awaitOn(o *order) {
	if m.await(o, o.wait); time.Now().After(o.wait) {
		m.over(o, 503, "no worker became ready")
	}
}

// refuse: not begun, unless something had been heard of it. Its wait goes on.
func (m *model) refuse(j *job) {
	j.hand.free(j)
	j.hand.paused = time.Now().Add(modelPause)
	switch o := j.order; {
	case o == nil:
	case o.state == "begun":
		m.lose(o)
	default:
		m.awaitOn(o)
	}
}

// begin: something was heard of an order.
func (j *job) begin() {
	if j.order != nil {
		j.order.state = "begun"
	}
}

// dies is when a frozen hand is given up: it has answered the last PING before it froze,
// and of the next four ticks the last finds three unanswered.
func (k *hand) dies() time.Time { return k.heard.Add(4 * modelBeat) }

// lastHeard moves heard to when k last answered a PING.
func (k *hand) lastHeard() {
	k.heard = k.heard.Add(time.Since(k.heard).Truncate(modelBeat))
}

// clock calls at for each time at which the model changes by itself, with what
// happens then.
func (m *model) clock(at func(t time.Time, what func())) {
	for _, o := range m.orders {
		if o.state == "over" {
			continue
		}
		if o.state == "waiting" {
			at(o.wait, func() { m.over(o, 503, "no worker became ready") })
			at(o.until, func() { m.over(o, 504, "before a worker became ready") })
			continue
		}
		at(o.until, func() { m.over(o, 504, "before its answer was whole") })
		if !o.headed {
			at(o.answer, func() { m.over(o, 504, "did not begin its answer in time") })
		}
	}
	for _, k := range m.hands {
		if !k.paused.IsZero() {
			at(k.paused, func() { k.paused = time.Time{} })
		}
		if k.frozen {
			at(k.dies(), func() { m.die(k) })
		}
	}
}

// judge says what is wrong with what a client has got.
func (o *order) judge() string {
	headHere := false
	select {
	case <-o.done:
		headHere = true
	default:
	}
	switch g, w := o.got.Load(), o.want; {
	case !o.left.IsZero():
		return ""
	case (g != nil) != (o.state == "over"):
		return fmt.Sprintf("%s is %s; its client got %+v", o.path, o.state, g)
	case headHere != (o.headed || o.state == "over"):
		return fmt.Sprintf("%s: headed %v; its client has the head: %v", o.path, o.headed, headHere)
	case g == nil:
		return ""
	case g.status != w.status, g.whole != w.whole, g.tail != w.tail, g.retry != (w.status == 503),
		w.status == 200 && w.whole && g.body != w.body,
		w.status == 200 && !w.whole && !strings.HasPrefix(w.body, g.body),
		w.status != 200 && !strings.Contains(g.body, w.body):
		return fmt.Sprintf("%s: its client got %+v, want %+v", o.path, *g, w)
	}
	return ""
}

// agrees compares the model with what /streams and /workers show.
func (m *model) agrees(table router.StreamTable, workers []router.WorkerStatus) string {
	if table.Retried != m.retried || table.Quarantined != m.quarantined || table.Unretried != 0 || table.Dropped != m.dropped {
		return fmt.Sprintf("/streams: %+v; want %d retried, %d quarantined, %d dropped", table, m.retried, m.quarantined, m.dropped)
	}
	show := func(state, path, worker string, id uint64) string { return fmt.Sprint(state, path, " ", worker, id) }
	var shown, want []string
	for _, s := range table.Streams {
		shown = append(shown, show(s.State, s.Target, s.Worker, s.Stream))
	}
	for _, o := range m.room() {
		want = append(want, show("waiting", o.path, "", 0))
	}
	waiting := len(want)
	for _, k := range m.hands {
		for _, j := range k.jobs {
			if j.order == nil {
				want = append(want, show("cancelled", "", k.name, j.Stream))
			} else {
				want = append(want, show(j.order.state, j.path, k.name, j.Stream))
			}
		}
	}
	slices.Sort(shown)
	slices.Sort(want)
	if !slices.Equal(shown, want) || table.Waiting != waiting || table.Open != len(want)-waiting || table.Done != 0 {
		return fmt.Sprintf("/streams: %d waiting, %d open, %d done: %q; want %d waiting: %q", table.Waiting, table.Open, table.Done, shown, waiting, want)
	}
	for _, k := range m.hands {
		if k.gone {
			continue
		}
		state := "busy"
		switch {
		case k.draining:
			state = "draining"
		case k.ready():
			state = "ready"
		}
		if !slices.ContainsFunc(workers, func(s router.WorkerStatus) bool {
			return s.Name == k.name && s.Busy == len(k.jobs) && s.Busy <= s.Concurrency && s.Concurrency == k.slots && s.State == state
		}) {
			return fmt.Sprintf("/workers: %+v; want %s %s with %d of %d", workers, k.name, state, len(k.jobs), k.slots)
		}
	}
	return ""
}

// fair: nobody waits while a worker is ready, and nobody is passed over: given are
// the orders that got a worker since the last look.
func (m *model) fair(given []*order) string {
	for _, o := range m.room() {
		if m.anyReady() {
			return o.path + " waits, and a worker is ready"
		}
		for _, other := range given {
			if o.since < m.looks && o.number < other.number {
				return fmt.Sprintf("%s waits, and %s, which came later, was served", o.path, other.path)
			}
		}
	}
	return ""
}

// read takes what has come to a hand: exactly the jobs that it should have, and word of
// those that were taken back.
func (k *hand) read() string {
	for parts, ok := k.inbox.peek(); ok; parts, ok = k.inbox.peek() {
		if wrong := k.take(parts); wrong != "" {
			return wrong
		}
	}
	for _, j := range k.jobs {
		if !j.seen || j.order == nil && !j.told && !k.rep {
			return fmt.Sprintf("%s on %s: got %v, taken back %v and told so %v", j.path, k.name, j.seen, j.order == nil, j.told)
		}
	}
	return ""
}

func (k *hand) job(id uint64) *job {
	for _, j := range k.jobs {
		if j.Stream == id {
			return j
		}
	}
	return nil
}

func (k *hand) take(parts [][]byte) string {
	if k.rep {
		tag := task{worker: k.worker, tag: parts[0]}
		j := k.job(tag.stream())
		if j == nil || j.seen || !strings.Contains(string(parts[2]), j.path) || len(parts[3]) != j.size {
			return fmt.Sprintf("%s got %q, which is not for it", k.name, parts)
		}
		j.seen, j.tag = true, parts[0]
		return ""
	}
	f := parse(k.t, parts)
	j := k.job(f.Stream)
	switch {
	case f.Type == frame.GoAway:
	case f.Type == frame.RSTStream && j == nil && slices.Contains(k.crossed, f.Stream):
	case f.Type == frame.Headers && j != nil && !j.seen && string(f.Fields.Get(":path")) == j.path:
		j.seen = true
	case f.Type == frame.RSTStream && j != nil && j.seen && j.order == nil && !j.told:
		j.told = true
	case (f.Type == frame.Data || f.Type == frame.WindowUpdate) && j != nil && j.seen && !j.told:
	default:
		return fmt.Sprintf("%s got %v on stream %d %s, which is not for it", k.name, f.Type, f.Stream, f.Fields.Get(":path"))
	}
	if j == nil {
		return ""
	}
	if j.got += len(f.Payload); j.got > j.size || f.End() && j.got != j.size {
		return fmt.Sprintf("%s got %d bytes of %s, which has %d; end %v", k.name, j.got, j.path, j.size, f.End())
	}
	return ""
}
