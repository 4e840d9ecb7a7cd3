package conform

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// rewritten is m with f for its head.
func rewritten(m received, f *frame.Frame) []received {
	out := slices.Clone(m)
	out[0] = f.Append(nil)
	return []received{out}
}

func dropped(what frame.Type) hook {
	return func(_ *spoiled, m received) []received {
		if f, err := m.parse(); err == nil && f.Type == what {
			return nil
		}
		return []received{m}
	}
}

func edited(edit func(f *frame.Frame)) hook {
	return func(_ *spoiled, m received) []received {
		f, err := m.parse()
		if err != nil {
			return []received{m}
		}
		edit(&f)
		return rewritten(m, &f)
	}
}

func fieldsChanged(change func(pairs [][2]string) [][2]string) hook {
	return edited(func(f *frame.Frame) {
		if f.Type != frame.Headers {
			return
		}
		var pairs [][2]string
		for n, v := range f.Fields.All() {
			pairs = append(pairs, [2]string{string(n), string(v)})
		}
		f.Fields = frame.Fields{}
		for _, p := range change(pairs) {
			f.Fields.Add(p[0], p[1])
		}
	})
}

func fieldsEdited(edit func(n, v string) (string, string)) hook {
	return fieldsChanged(func(pairs [][2]string) [][2]string {
		for i, p := range pairs {
			pairs[i][0], pairs[i][1] = edit(p[0], p[1])
		}
		return pairs
	})
}

func fieldsKept(keep func(n, v string) bool) hook {
	return fieldsChanged(func(pairs [][2]string) (kept [][2]string) {
		for _, p := range pairs {
			if keep(p[0], p[1]) {
				kept = append(kept, p)
			}
		}
		return kept
	})
}

func fieldsAdded(name, value string) hook {
	return fieldsChanged(func(pairs [][2]string) [][2]string { return append(pairs, [2]string{name, value}) })
}

var oneOfEach = fieldsChanged(func(pairs [][2]string) (kept [][2]string) {
	for _, p := range pairs {
		if !slices.ContainsFunc(kept, func(o [2]string) bool { return o[0] == p[0] }) {
			kept = append(kept, p)
		}
	}
	return kept
})

var reversed = fieldsChanged(func(pairs [][2]string) [][2]string {
	slices.Reverse(pairs)
	return pairs
})

var renumbered = edited(func(f *frame.Frame) {
	if f.Stream != 0 {
		f.Stream = 1<<52 - f.Stream
	}
})

func mendStatus(n, v string) (string, string) {
	if n == ":status" && v != "204" {
		return n, "200"
	}
	return n, v
}

// withoutTrailers makes DATA of HEADERS that end.
func withoutTrailers(_ *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Headers && f.End() && f.Fields.Get(":status") == nil && f.Fields.Get(":method") == nil {
		f.Type = frame.Data
		return rewritten(m, &f)
	}
	return []received{m}
}

func withoutInfos(_ *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Headers && bytes.HasPrefix(f.Fields.Get(":status"), []byte("1")) {
		return nil
	}
	return []received{m}
}

// welcomed keeps WELCOME for connection.
func welcomed(l *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Welcome {
		l.held = append(l.held, m)
	}
	return []received{m}
}

// connection is what the router's WELCOME said.
func (l *spoiled) connection() uint64 {
	for _, m := range l.held {
		if f, err := m.parse(); err == nil && f.Type == frame.Welcome {
			w, _ := frame.ParseWelcome(&f)
			return w.Connection
		}
	}
	return 0
}

func joinsEdited(edit func(l *spoiled, j *frame.JoinInfo)) hook {
	return func(l *spoiled, m received) []received {
		f, err := m.parse()
		if err != nil || f.Type != frame.Join {
			return []received{m}
		}
		j, err := frame.ParseJoin(&f)
		if err != nil {
			return []received{m}
		}
		edit(l, &j)
		return []received{{frame.AppendJoin(nil, j)}}
	}
}

func onlyFirstJoin(l *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Join {
		if l.state["joined"] {
			return nil
		}
		l.state["joined"] = true
	}
	return []received{m}
}

// afterJoin delivers what comes before JOIN behind it.
func afterJoin(l *spoiled, m received) []received {
	if l.state["joined"] {
		return []received{m}
	}
	if f, err := m.parse(); err == nil && f.Type == frame.Join {
		l.state["joined"] = true
		return append([]received{m}, l.held...)
	}
	l.held = append(l.held, m)
	return nil
}

// generous opens the window of each request as soon as it comes.
func generous(l *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Headers && !f.End() {
		_, _ = l.router.Send(0, zmtp.Ordinary, frame.AppendWindowUpdate(nil, f.Stream, 1<<30))
	}
	return []received{m}
}

// impatient has a byte come with each request for an upgrade.
func impatient(_ *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Headers && f.Fields.Get(":protocol") != nil {
		return []received{m, {frame.AppendData(nil, f.Stream, false, 0), []byte("x")}}
	}
	return []received{m}
}

// upgraded is 101 for 403.
func upgraded(f *frame.Frame) {
	if f.Type == frame.Headers && string(f.Fields.Get(":status")) == "403" {
		f.Fields = fieldsOf([]string{":status", "101"})
	}
}

// withoutEnd drops the last frame of a stream, if it is DATA.
func withoutEnd(_ *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Data && f.End() {
		return nil
	}
	return []received{m}
}

func strict(l *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type > 8 && f.Type != frame.Join {
		_ = l.worker.Close()
	}
	return []received{m}
}

// gathered holds an answer back until its end.
func gathered(l *spoiled, m received) []received {
	f, err := m.parse()
	if err != nil || f.Type != frame.Data && f.Type != frame.Headers {
		return []received{m}
	}
	l.held = append(l.held, m)
	if !f.End() {
		return nil
	}
	all := l.held
	l.held = nil
	return all
}

func owned(l *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Stream != 0 {
		l.shared.Store(f.Stream, l)
	}
	return []received{m}
}

// disowned sends a worker's frame where its stream is, whoever's it is.
func disowned(l *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Stream != 0 {
		if owner, ok := l.shared.Load(f.Stream); ok {
			_, _ = owner.(*spoiled).router.Send(0, zmtp.Ordinary, m...)
			return nil
		}
	}
	return []received{m}
}

func onceBegun(l *spoiled, m received) []received {
	if f, err := m.parse(); err == nil && f.Type == frame.Headers {
		key := fmt.Sprint(f.Stream)
		if l.state[key] && f.Fields.Get(":status") != nil {
			return nil
		}
		l.state[key] = true
	}
	return []received{m}
}

func headFirst(l *spoiled, m received) []received {
	f, err := m.parse()
	if err != nil || f.Type != frame.Data && f.Type != frame.Headers {
		return []received{m}
	}
	key := fmt.Sprint(f.Stream)
	before := l.state[key]
	l.state[key] = true
	if f.Type == frame.Headers || before {
		return []received{m}
	}
	return []received{{frame.AppendHeaders(nil, f.Stream, fieldsOf([]string{":status", "200"}), false, 0)}, m}
}

func wellFormed(_ *spoiled, m received) []received {
	if _, err := m.parse(); err != nil {
		return nil
	}
	return []received{m}
}

// idempotent and putForPost make a POST into what a router may repeat.
var idempotent = fieldsEdited(func(n, v string) (string, string) {
	if n == ":method" && v == "PUT" {
		return n, "POST"
	}
	return n, v
})

func putForPost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			req.Method = http.MethodPut
		}
		next.ServeHTTP(w, req)
	})
}

// writer is a ResponseWriter that a mutant has in its hands.
type writer struct {
	http.ResponseWriter
	status func(int) int
}

func (w *writer) WriteHeader(status int) { w.ResponseWriter.WriteHeader(w.status(status)) }

func (w *writer) FlushError() error { return http.NewResponseController(w.ResponseWriter).Flush() }

func (w *writer) EnableFullDuplex() error {
	return http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
}

func (w *writer) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

func otherStatus(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		next.ServeHTTP(&writer{w, func(status int) int {
			if status == http.StatusBadGateway {
				return http.StatusInternalServerError
			}
			return status
		}}, req)
	})
}

// orderly ends an answer that breaks off as if it were whole.
func orderly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() {
			if p := recover(); p != nil && fmt.Sprint(p) != http.ErrAbortHandler.Error() {
				panic(p)
			}
		}()
		next.ServeHTTP(&writer{w, func(status int) int { return status }}, req) // cannot be hijacked
	})
}

func injecting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Injected", "injected")
		next.ServeHTTP(w, req)
	})
}
