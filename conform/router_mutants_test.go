package conform

import (
	"bytes"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// hook changes what crosses one connection of a worker: it returns the messages
// that take the place of m.
type hook func(l *spoiled, m received) []received

// spoiled is one connection of a worker through a proxy that spoils a router.
type spoiled struct {
	router, worker *zmtp.Conn
	shared         *sync.Map // of all connections: stream to *spoiled
	state          map[string]bool
	held           []received
}

// mutation is a defect of a router.
type mutation struct {
	down, up hook // towards the worker, and from it
	front    func(http.Handler) http.Handler
	fails    []string
}

func routerMutations() map[string]mutation {
	fields := []string{"wrong/field/crlf-in-a-value", "wrong/field/nul-in-a-value", "wrong/field/space-in-a-name", "wrong/field/status-again", `wrong/content-length/"-1"`}
	return map[string]mutation{
		"gives no credit":          {down: dropped(frame.WindowUpdate), fails: []string{"body/5000000", "upgrade/windows", "window/response-cost", "window/slow-client"}},
		"gives too much credit":    {down: edited(func(f *frame.Frame) { f.Credit *= 2 }), fails: []string{"window/response-cost"}},
		"forgets to cancel":        {down: dropped(frame.RSTStream), fails: []string{"cancel/before", "cancel/during", "cancel/slot", "upgrade/client-leaves", "wrong/no-status", "wrong/response-window", "wrong/credit-overflow"}},
		"cancels with INTERNAL":    {down: edited(func(f *frame.Frame) { f.Code = http2.ErrCodeInternal }), fails: []string{"cancel/before", "wrong/status-twice"}},
		"counts bodies wrong":      {down: edited(func(f *frame.Frame) { f.Total++ }), fails: []string{"body/0", "body/1"}},
		"parks in silence":         {down: dropped(frame.GoAway), fails: []string{"join/bad-name", "join/wrong-token"}},
		"names in upper case":      {down: fieldsEdited(func(n, v string) (string, string) { return strings.ToUpper(n), v }), fails: []string{"request/fields"}},
		"makes values UTF-8":       {down: fieldsEdited(func(n, v string) (string, string) { return n, strings.ToValidUTF8(v, "?") }), fails: []string{"request/not-utf8"}},
		"answers made UTF-8":       {up: fieldsEdited(func(n, v string) (string, string) { return n, strings.ToValidUTF8(v, "?") }), fails: []string{"request/not-utf8"}},
		"one of each field":        {down: oneOfEach, fails: []string{"request/fields"}},
		"one of each in answers":   {up: oneOfEach, fails: []string{"answer/fields"}},
		"passes connection":        {down: fieldsAdded("connection", "close"), fails: []string{"request/hop-by-hop"}},
		"host first":               {down: reversed, fails: []string{"request/fields", "join"}},
		"numbers descend":          {down: renumbered, up: renumbered, fails: []string{"request/numbers"}},
		"drops request trailers":   {down: withoutTrailers, fails: []string{"request/trailers"}},
		"drops answers' trailers":  {up: withoutTrailers, fails: []string{"answer/trailers"}},
		"drops 1xx":                {up: withoutInfos, fails: []string{"answer/informational", "expect/100"}},
		"honours any JOIN":         {down: welcomed, up: joinsEdited(func(l *spoiled, j *frame.JoinInfo) { j.Connection = l.connection() }), fails: []string{"join/other-connection"}},
		"one stream too many":      {up: joinsEdited(func(_ *spoiled, j *frame.JoinInfo) { j.Concurrency = max(j.Concurrency, 1) + 1 }), fails: []string{"concurrency", "join/minimal", "join/again", "cancel/slot"}},
		"takes the token as read":  {up: joinsEdited(func(_ *spoiled, j *frame.JoinInfo) { j.Token = mirrorToken }), fails: []string{"join/wrong-token"}},
		"takes any name":           {up: joinsEdited(func(_ *spoiled, j *frame.JoinInfo) { j.Name = "good" }), fails: []string{"join/bad-name"}},
		"JOIN counts only once":    {up: onlyFirstJoin, fails: []string{"join/again", "join/other-connection"}},
		"heeds what is before":     {up: afterJoin, fails: []string{"join/nothing-before"}},
		"ignores GOAWAY":           {up: dropped(frame.GoAway), fails: []string{"goaway"}},
		"fails what is refused":    {up: edited(func(f *frame.Frame) { f.Code = http2.ErrCodeInternal }), fails: []string{"refused"}},
		"sends past the window":    {up: edited(func(f *frame.Frame) { f.Credit *= 4 }), fails: []string{"window/request"}},
		"ignores the window":       {down: generous, fails: []string{"window/request", "upgrade/windows", "expect/100", "expect/refused"}},
		"dies of unknown types":    {up: strict, fails: []string{"unknown/types-and-keys"}},
		"holds bodies back":        {up: gathered, fails: []string{"answer/first-bytes", "cancel/during", "answer/reset"}},
		"mixes workers up":         {down: owned, up: disowned, fails: []string{"wrong/another-worker's-stream"}},
		"mends totals":             {up: edited(func(f *frame.Frame) { f.Total = uint64(len(f.Payload)) }), fails: []string{"wrong/total/too-large", "wrong/total/too-small"}},
		"mends statuses":           {up: fieldsEdited(mendStatus), fails: []string{`wrong/status/"999"`, `wrong/status/"099"`, `wrong/status/"abc"-without-end`, `wrong/status/"101"`}},
		"drops bad fields":         {up: fieldsKept(func(n, v string) bool { return (n == ":status" && v == "200" || token(n)) && clean(v) && v != "-1" }), fails: fields},
		"ignores the second head":  {up: onceBegun, fails: []string{"wrong/status-twice", "wrong/informational/after-the-head", "wrong/upgrade/second-head"}},
		"mends DATA first":         {up: headFirst, fails: []string{"wrong/data-first"}},
		"drops malformed frames":   {up: wellFormed, fails: []string{"wrong/message/empty", "wrong/message/odd-fields", "wrong/message/three-parts"}},
		"500 for 502":              {front: otherStatus, fails: []string{"wrong/data-first", "vanish/post", "answer/reset", "wrong/rep/forms"}},
		"ends cleanly":             {front: orderly, fails: []string{"vanish/amid-the-answer", "wrong/status-twice", "wrong/total/at-the-end", "answer/reset"}},
		"repeats POST":             {down: idempotent, front: putForPost, fails: []string{"vanish/post"}},
		"sends DATA before 101":    {down: impatient, fails: []string{"upgrade/early-bytes"}},
		"hides the handshake":      {up: fieldsKept(func(n, _ string) bool { return n != "sec-websocket-accept" }), fails: []string{"upgrade", "upgrade/windows"}},
		"upgrades what is refused": {up: edited(upgraded), fails: []string{"upgrade/refused"}},
		"hides a half-close":       {down: edited(func(f *frame.Frame) { f.Flags &^= frame.EndStream }), fails: []string{"upgrade/half-close"}},
		"hides the worker's end":   {up: withoutEnd, fails: []string{"upgrade/worker-ends"}},
		"injects":                  {front: injecting, fails: []string{"join"}},
	}
}

// Each mutant fails where it should, and a case that it does not touch passes.
func TestRouterMutants(t *testing.T) {
	names := map[string]bool{}
	for _, c := range routerCases() {
		names[c.name] = true
	}
	var group sync.WaitGroup // a case waits more than it works, so all run at once
	for defect, m := range routerMutations() {
		test := func(t *testing.T) {
			for _, name := range m.fails {
				if !names[name] {
					t.Fatalf("there is no case %s", name)
				}
			}
			url, workers := serveRouter(t, m.front)
			if m.up != nil || m.down != nil {
				workers = spoil(t, workers, m)
			}
			kit := RouterKit{HTTP: url, Workers: workers, Token: mirrorToken, patience: time.Second}
			kit.Only = func(name string) bool { return slices.Contains(m.fails, name) || name == "welcome" }
			err := kit.Run(t.Context(), func(r Result) {
				if want := r.Case != "welcome"; want != (r.Verdict == Fail) {
					t.Errorf("%s: %s %s\n\t%s", r.Case, r.Verdict, r.Why, strings.Join(r.Frames, "\n\t"))
				}
				t.Logf("%s: %s", r.Case, r.Why)
			})
			if err != nil {
				t.Error(err)
			}
		}
		group.Go(func() { t.Run(defect, test) })
	}
	group.Wait()
}

// spoil stands between workers and a router.
func spoil(t *testing.T, workers string, m mutation) string {
	t.Helper()
	l, err := zmtp.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	shared := new(sync.Map)
	conns.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { relay(t, nc, workers, m, shared) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return zmtp.Bound(l)
}

func relay(t *testing.T, nc net.Conn, workers string, m mutation, shared *sync.Map) {
	o := zmtp.Options{MaxPart: 16 << 20, QueueLimit: 64 << 20}
	worker, err := zmtp.Accept(nc, o)
	if err != nil {
		return // the kit has given up
	}
	defer func() { _ = worker.Close() }()
	out, err := zmtp.Dial(t.Context(), workers)
	if err != nil {
		return // the router has stopped
	}
	o.User, o.Password = worker.Peer().User, worker.Peer().Password
	conn, err := zmtp.Connect(&mask{Conn: out, socket: worker.Peer().Socket}, o)
	if err != nil {
		return // likewise
	}
	s := &spoiled{router: conn, worker: worker, shared: shared, state: map[string]bool{}}
	var mu sync.Mutex
	pump := func(from, to *zmtp.Conn, h hook) {
		_ = from.Run(func(parts [][]byte) error {
			mu.Lock()
			defer mu.Unlock()
			msg := make(received, len(parts))
			for i, p := range parts {
				msg[i] = bytes.Clone(p)
			}
			all := []received{msg}
			if h != nil {
				all = h(s, msg)
			}
			for _, m := range all {
				_, _ = to.Send(0, zmtp.Ordinary, m...) // it may have ended
			}
			return nil
		})
		to.CloseAfterFlush(time.Second)
	}
	var both sync.WaitGroup
	both.Go(func() { pump(conn, worker, m.down) })
	pump(worker, conn, m.up)
	both.Wait()
}
