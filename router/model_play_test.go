package router_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// deed is one thing that happens, to a choice out of what is there.
type deed struct{ What, Whom, How int }

// Each deed takes a millisecond, and between them go multiples of 100 ms. So no two clocks that
// deeds have started run out at once, as long as there are fewer than a hundred.
var deeds = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) deed {
	return deed{spread.Draw(t, "what") % 40, spread.Draw(t, "whom") % 1000, spread.Draw(t, "how") % 1000}
}), 20, 60)

// spread is any number: rapid prefers small ones. 0 stays.
var spread = rapid.Map(rapid.IntRange(0, 1<<24), func(n int) int { return int(uint32(n) * 2654435761 >> 8) })

// history is a world and its model.
type history struct {
	model
	w     *world
	start time.Time
	told  strings.Builder // what has happened
	wrong string
	names int

	stopped bool // the router drains
}

// live plays a script, lets all that goes on end, and says what was wrong.
func live(t *testing.T, front string, script []deed) (wrong string) {
	t.Cleanup(func() { time.Sleep(patience) })
	h := &history{w: newWorld(t, modelConfig, front, nil), start: time.Now()}
	h.join(1)
	h.pass(time.Millisecond)
	h.join(script[0].How)
	for _, d := range script {
		if h.pass(time.Millisecond); h.wrong != "" {
			break
		}
		h.do(d)
	}
	if h.wrong == "" {
		h.pass(time.Millisecond)
		h.finish(len(script)%2 == 0)
	}
	if h.wrong == "" {
		return ""
	}
	return h.wrong + "\n" + h.told.String()
}

func (h *history) say(format string, args ...any) {
	fmt.Fprintf(&h.told, "%8v ", time.Since(h.start).Truncate(time.Millisecond))
	fmt.Fprintf(&h.told, format+"\n", args...)
}

func (h *history) check(wrong string) {
	if h.wrong == "" && wrong != "" {
		h.wrong = wrong
		h.say("WRONG")
	}
}

// pass lets time go by, and looks each time that something should change.
func (h *history) pass(d time.Duration) {
	end := time.Now().Add(d)
	for h.look(); h.wrong == ""; h.look() {
		next := end
		h.clock(func(t time.Time, _ func()) {
			if t.Before(next) {
				next = t
			}
		})
		for _, o := range h.orders {
			if t := o.left.Add(notice); o.state != "over" && !o.left.IsZero() && t.After(time.Now()) && t.Before(next) {
				next = t
			}
		}
		time.Sleep(time.Until(next))
		h.w.settle()
		var due []func()
		h.clock(func(t time.Time, what func()) {
			if !t.After(next) {
				due = append(due, what)
			}
		})
		for _, what := range due {
			what()
		}
		if next.Equal(end) {
			h.look()
			return
		}
	}
}

// look compares the router and the model.
func (h *history) look() {
	h.w.settle()
	h.looks++
	table := h.w.r.Streams()
	shown := map[string]bool{}
	var given []*order
	for _, s := range table.Streams {
		if s.State == "cancelled" {
			continue
		}
		if shown[s.Target] {
			h.check(s.Target + " is there twice")
		}
		shown[s.Target] = true
		for _, o := range h.orders {
			if o.path != s.Target || s.Worker == "" || o.at != nil && o.at.Stream == s.Stream {
				continue
			}
			for _, k := range h.hands {
				if k.name == s.Worker && !k.gone {
					h.say("%s goes to %s as %d", o.path, k.name, s.Stream)
					h.check(h.give(o, k, s.Stream))
					given = append(given, o)
				}
			}
		}
	}
	for _, o := range h.orders {
		if o.state == "over" || o.left.IsZero() {
			continue
		}
		if !shown[o.path] { // the router has noticed
			h.end(o)
		} else if h.w.front == netHTTP || time.Since(o.left) > notice {
			h.check(o.path + ": its client has left, and it is still there")
		}
	}
	if h.stopped && !h.busy() {
		for _, k := range h.hands { // their connections end, whatever they still owe
			h.die(k)
		}
	}
	h.check(h.agrees(table, h.w.r.Workers()))
	h.check(h.fair(given))
	for _, k := range h.hands {
		if !k.gone && !k.frozen {
			h.check(k.read())
		}
	}
	for _, o := range h.orders {
		h.check(o.judge())
	}
}

func (h *history) do(d deed) {
	switch what := d.What; {
	case what == 0:
	case what < 10:
		h.send(d.How)
	case what == 10:
		h.leave(d.Whom)
	case what == 11:
		h.join(d.How)
	case what < 14:
		passing := []time.Duration{100, 200, 500, 1000, 2500, 4000, 9000}
		h.pass(passing[d.How%len(passing)] * time.Millisecond)
	case what < 19:
		h.manage(what, d)
	default:
		h.work(what, d)
	}
}

// send: a client sends a request.
func (h *history) send(how int) {
	o := &order{number: len(h.orders), path: fmt.Sprintf("/o%d", len(h.orders))}
	var edits []func(*http.Request)
	method := []string{"GET", "PUT", "POST", "POST"}[how%4]
	o.repeatable = how%4 != 2
	if how%4 == 3 {
		edits = append(edits, key)
	}
	limit := modelRequest
	if how /= 4; how%4 == 0 {
		limit = []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 5 * time.Second}[how/4%3]
		edits = append(edits, timeout("Request-Timeout", fmt.Sprint(limit.Seconds())))
	}
	var body io.Reader
	if method != "GET" {
		o.size = 10
		if how/16%2 == 0 && !slices.ContainsFunc(h.hands, func(k *hand) bool { return k.frozen || k.rep && !k.gone }) {
			o.large, o.size = true, 100<<10 // gathering has stories of its own, and so has a full pipe
		}
		body = strings.NewReader(strings.Repeat("x", o.size))
	}
	h.say("%s %s: repeatable %v, large %v, at most %v", method, o.path, o.repeatable, o.large, limit)
	o.until = time.Now().Add(limit)
	o.pending = h.w.send(method, o.path, body, edits...)
	h.w.wg.Go(o.listen)
	h.enter(o)
}

// listen is the client, which reads as fast as it can.
func (o *order) listen() {
	<-o.done
	var v verdict
	if o.err == nil {
		b, err := io.ReadAll(o.resp.Body)
		v = verdict{o.resp.StatusCode, string(b), err == nil, o.resp.Header.Get("Retry-After") != "", o.resp.Trailer.Get("X-Path")}
	}
	o.got.Store(&v)
}

func pick[T any](from []T, which int, fit func(T) bool) (picked T, ok bool) {
	fits := slices.DeleteFunc(slices.Clone(from), func(x T) bool { return !fit(x) })
	if len(fits) == 0 {
		return picked, false
	}
	return fits[which%len(fits)], true
}

func (h *history) leave(whom int) {
	o, ok := pick(h.orders, whom, func(o *order) bool {
		return o.state != "over" && o.left.IsZero() && (!o.large || h.w.front == engine) // net/http notices by reading
	})
	if !ok {
		return
	}
	h.say("the client of %s leaves", o.path)
	o.left = time.Now()
	o.pending.left()
}

// join: a worker dials in.
func (h *history) join(how int) {
	there, large := 0, false
	for _, k := range h.hands {
		if !k.gone && !k.draining {
			there++
		}
	}
	for _, o := range h.orders {
		large = large || o.large && o.state != "over"
	}
	if there >= 4 {
		return
	}
	name := fmt.Sprintf("w%d", h.names)
	h.names++
	if how%4 == 0 && !large {
		h.say("REP %s joins", name)
		k := &hand{worker: h.w.connect("REP", zmtp.Options{User: name, Heartbeat: time.Hour}), rep: true, slots: 1, heard: time.Now()}
		k.name = name
		h.hands = append(h.hands, k)
		return
	}
	h.native(name, 1+how%3)
}

func (h *history) native(name string, slots int) {
	h.say("%s joins with %d slots", name, slots)
	k := &hand{worker: h.w.connect("DEALER", zmtp.Options{Heartbeat: time.Hour}), slots: slots, heard: time.Now()}
	k.name, k.instance = name, "instance of "+name
	k.welcomed()
	k.join(uint64(slots))
	h.hands = append(h.hands, k)
}

// manage: something befalls a worker as a whole.
func (h *history) manage(what int, d deed) {
	k, ok := pick(h.hands, d.Whom, func(k *hand) bool { return !k.gone })
	if !ok {
		return
	}
	switch {
	case what == 14:
		h.say("%s dies", k.name)
		k.die()
		h.die(k)
	case what == 15 && !k.rep:
		h.say("%s has a new connection", k.name)
		h.native(k.name, k.slots)
		h.die(k)
	case what == 16 && !k.frozen && !k.rep:
		last := uint64(0)
		if n := len(k.jobs); n > 0 {
			last = k.jobs[d.How%n].Stream - uint64(d.How%2)
		}
		h.say("%s goes away after %d", k.name, last)
		k.heard = time.Now()
		k.goAway(last)
		h.goAway(k, last)
	case what == 17 && !k.frozen:
		if slices.ContainsFunc(h.orders, func(o *order) bool { return o.large && o.state != "over" }) {
			return // its pipe must not be full: what is in it must be known
		}
		h.say("%s freezes", k.name)
		k.lastHeard()
		k.frozen = true
		k.nc.freeze(true)
	case k.frozen:
		h.say("%s thaws", k.name)
		if time.Since(k.heard) > modelBeat {
			k.heard = time.Now() // it answers the PINGs that it finds
		}
		k.frozen = false
		k.nc.freeze(false)
	case d.How%3 == 0:
		h.say("%s says what is no frame", k.name)
		if k.send([]byte("\xc1"), []byte("?")); !k.rep { // a REP's lacks the tag
			h.die(k)
			return
		}
		k.heard = time.Now()
		h.dropped++
	}
}

// work: a worker says something about a request that it has.
func (h *history) work(what int, d deed) {
	var jobs []*job
	for _, k := range h.hands {
		if !k.frozen {
			jobs = append(jobs, k.jobs...)
		}
	}
	if what == 39 {
		h.stray(d)
		return
	}
	if len(jobs) == 0 {
		return
	}
	j := jobs[d.Whom%len(jobs)]
	if j.hand.rep && what < 33 {
		return // it has one thing to say, and takes its time
	}
	j.hand.heard = time.Now()
	said := fmt.Sprintf("%s by %s;", j.path, j.hand.name)
	switch {
	case j.hand.rep:
		h.reply(j, said, d.How)
	case what < 22:
		h.say("%s asks for the body of %s", j.hand.name, j.path)
		j.credit(64 << 10)
		if j.begin(); j.order != nil && j.order.large && !j.order.fed {
			j.order.fed = true
			j.order.untilAnswer()
		}
	case what < 24 && !j.began:
		h.say("%s informs about %s", j.hand.name, j.path)
		j.headers(":status", "103", "link", "</a>")
		j.begin()
	case what < 27 && !j.began:
		h.say("%s begins to answer %s", j.hand.name, j.path)
		h.head(j)
	case what < 29 && j.began:
		h.say("%s sends a piece of %s", j.hand.name, j.path)
		h.piece(j, said)
	case what < 34:
		h.complete(j, said, d.How%2 == 0)
	case what == 34, what == 35:
		h.say("%s refuses %s", j.hand.name, j.path)
		j.reset(http2.ErrCodeRefusedStream)
		h.refuse(j)
	case what == 36:
		h.say("%s gives %s up", j.hand.name, j.path)
		j.reset(http2.ErrCodeInternal)
		j.hand.free(j)
		if o := j.order; o != nil {
			o.at = nil
			h.over(o, 502, "the worker gave the request up")
		}
	case what == 37, what == 38:
		h.misspeak(j, d.How)
	}
}

func (h *history) head(j *job) {
	j.head(200)
	j.began = true
	if j.begin(); j.order != nil {
		j.order.headed = true
	}
}

func (h *history) piece(j *job, said string) {
	j.data(said)
	if j.order != nil {
		j.order.said += said
	}
}

// complete ends an answer as it should: at once, or with a last frame, which may be trailers.
func (h *history) complete(j *job, said string, trailers bool) {
	h.say("%s answers %s", j.hand.name, j.path)
	tail := ""
	switch {
	case !j.began && !trailers:
		j.answer(200, said)
		if j.order != nil {
			j.order.said = said
		}
	default:
		if !j.began {
			h.head(j)
		}
		h.piece(j, said)
		if trailers {
			tail = j.path
			j.trailers("x-path", tail)
		} else {
			j.end()
		}
	}
	j.hand.free(j)
	if j.order != nil {
		h.whole(j.order, tail)
	}
}

// reply is what a REP does.
func (h *history) reply(j *job, said string, how int) {
	o := j.order
	j.hand.free(j)
	if how%8 == 0 {
		h.say("%s replies to %s with what is no map", j.hand.name, j.path)
		j.send(j.tag, nil, []byte("\xc1"), nil)
		if o != nil {
			o.at = nil
			h.over(o, 502, "broke the protocol")
		}
		return
	}
	h.say("%s replies to %s", j.hand.name, j.path)
	j.send(j.tag, nil, nil, []byte(said))
	if o != nil {
		o.said = said
		h.whole(o, "")
	}
}

// misspeak: a worker breaks the protocol on a stream.
func (h *history) misspeak(j *job, how int) {
	last := how%2 == 0
	h.say("%s breaks the protocol on %s, last %v, kind %d", j.hand.name, j.path, last, how/2%3)
	switch {
	case how/2%3 == 0: // HEADERS of a name without a value
		b := binary.BigEndian.AppendUint64([]byte{0x94, byte(frame.Headers), 0xcf}, j.Stream)
		if last {
			b[0]++
			b = append(b, 1, 0x91, 0xa1, 'x', 0)
		} else {
			b = append(b, 0, 0x91, 0xa1, 'x')
		}
		j.send(b)
	case !j.began: // a body before its head
		j.send(frame.AppendData(nil, j.Stream, last, 1), []byte("x"))
	case last: // another length than was sent
		j.send(frame.AppendData(nil, j.Stream, true, j.total+1))
	default: // a second head
		j.head(200)
	}
	o := j.order
	if last {
		if j.hand.free(j); o != nil {
			o.at = nil
		}
	}
	if o != nil {
		h.over(o, 502, "broke the protocol")
	}
}

// stray: a worker speaks about a stream that it has no more, or never had.
func (h *history) stray(d deed) {
	k, ok := pick(h.hands, d.Whom, func(k *hand) bool { return !k.gone && !k.frozen })
	if !ok {
		return
	}
	ids := slices.Clone(k.past)
	for _, other := range h.hands {
		if other != k {
			for _, j := range other.jobs {
				ids = append(ids, j.Stream)
			}
		}
	}
	if len(ids) == 0 {
		return
	}
	c := call{worker: k.worker, Frame: frame.Frame{Stream: ids[d.How%len(ids)]}}
	h.say("%s speaks about stream %d", k.name, c.Stream)
	k.heard = time.Now()
	h.dropped++
	switch kind := d.How / 7 % 5; {
	case k.rep:
		k.send(binary.BigEndian.AppendUint64(make([]byte, 8), c.Stream), nil, nil, []byte("stray"))
	case kind == 0:
		c.answer(200, "stray")
	case kind == 1:
		c.data("stray")
	case kind == 2:
		c.reset(http2.ErrCodeRefusedStream)
	case kind == 3:
		c.reset(http2.ErrCodeInternal)
	default:
		c.credit(1 << 20)
	}
}

// finish: now everybody does what is right, and in the end nothing is left.
func (h *history) finish(stop bool) {
	for _, k := range h.hands {
		if k.frozen && h.wrong == "" {
			h.manage(18, deed{Whom: slices.Index(slices.DeleteFunc(slices.Clone(h.hands), func(k *hand) bool { return k.gone }), k)})
			h.pass(time.Millisecond)
		}
	}
	if stop && h.wrong == "" {
		h.say("the router drains")
		h.stopped = true
		h.w.stop()
		h.look()
	}
	for h.wrong == "" && (h.busy() || slices.ContainsFunc(h.hands, func(k *hand) bool { return len(k.jobs) > 0 })) {
		for _, k := range h.hands {
			i := slices.IndexFunc(k.jobs, func(j *job) bool {
				return !stop || j.order != nil && j.order.left.IsZero() // that a client has left may be noticed amid the answer, and be the end
			})
			if i < 0 {
				continue
			}
			j := k.jobs[i]
			if k.heard = time.Now(); k.rep {
				h.reply(j, "end of "+j.path, 1)
			} else {
				h.complete(j, "end of "+j.path, true)
			}
			h.pass(time.Millisecond)
		}
		h.pass(100 * time.Millisecond)
	}
	if h.wrong != "" {
		return
	}
	if stop { // nothing is left to do: it ends
		<-h.w.ended
	}
	h.w.settle()
	if table := h.w.r.Streams(); table.Waiting+table.Open+table.Done != 0 || table.Memory != 0 {
		h.check(fmt.Sprintf("in the end /streams shows %+v", table))
	}
	for _, o := range h.orders {
		if h.check(o.judge()); o.got.Load() == nil {
			h.check(o.path + ": its client got no end")
		}
	}
}
