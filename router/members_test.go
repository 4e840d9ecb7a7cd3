package router

import (
	"fmt"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// namesake joins another worker called w to q.
func namesake(t testing.TB, q *pool, instance string) *peer {
	t.Helper()
	p := &peer{conn: new(zmtp.Conn)}
	q.add(p)
	if old, err := q.join(p, frame.JoinInfo{Name: "w", Instance: instance, Concurrency: 1}, everything); err != nil || old != nil {
		t.Fatalf("%s did not join beside the others", instance)
	}
	return p
}

// With a look at each of the others, and at each number, this would not end.
func TestManyWorkersOfOneName(t *testing.T) {
	const n = 20_000
	q := newPool(&Config{QueueLimit: 1, QueueWait: time.Second, Forget: time.Hour})
	seen := map[string]bool{}
	var all []*peer
	for i := range n {
		instance := fmt.Sprint(i)
		if i%2 == 0 {
			instance = "" // such as REP workers have
		}
		p := namesake(t, q, instance)
		want := "w"
		if i > 0 {
			want = fmt.Sprint("w;", i+1)
		}
		if p.name() != want || seen[want] {
			t.Fatalf("worker %d is called %s, want %s", i+1, p.name(), want)
		}
		seen[want] = true
		all = append(all, p)
	}
	for _, i := range []int{4000, 1, 7, 0} { // the numbers that are free again
		q.remove(all[i])
	}
	for _, want := range []string{"w", "w;2", "w;8", "w;4001", "w;20001"} {
		if p := namesake(t, q, "new "+want); p.name() != want {
			t.Errorf("the next worker is called %s, want %s", p.name(), want)
		}
	}
	for p := range q.peers {
		q.remove(p)
	}
	if len(q.names) != 0 || q.workers != 0 {
		t.Errorf("%d names and %d workers are left of none", len(q.names), q.workers)
	}
	if p := namesake(t, q, "again"); p.name() != "w" {
		t.Errorf("the first is called %s", p.name())
	}
}

// The same process keeps its number, and takes nobody's.
func TestATakeoverKeepsTheNumber(t *testing.T) {
	q := newPool(&Config{QueueLimit: 1, QueueWait: time.Second, Forget: time.Hour})
	namesake(t, q, "a")
	b := namesake(t, q, "b")
	namesake(t, q, "c")
	p := &peer{conn: new(zmtp.Conn)}
	q.add(p)
	if old, err := q.join(p, frame.JoinInfo{Name: "w", Instance: "b"}, everything); err != nil || old != b || p.name() != "w;2" {
		t.Errorf("the second connection of w;2 is called %s", p.name())
	}
	q.remove(b) // its read loop ends late
	if next := namesake(t, q, "d"); next.name() != "w;4" {
		t.Errorf("another worker is called %s; w;2 is taken", next.name())
	}
}

// The two may happen in one moment: the JOIN comes, and its time is up.
func TestAWorkerThatHasJoinedIsNotLate(t *testing.T) {
	q := newPool(&Config{QueueLimit: 1, QueueWait: time.Second, Forget: time.Hour})
	p := namesake(t, q, "i")
	if _, ok := q.park(p, "late", true); ok || q.turn(q.routes.only, anyWorker) != p {
		t.Error("a worker that had joined was parked for not joining")
	}
	q.remove(p)
	if _, ok := q.park(p, "wrong", false); ok || len(q.parked) != 0 {
		t.Error("a connection that has ended was parked")
	}
}

func TestWhatConnectionNames(t *testing.T) {
	var named nominated
	for _, value := range []string{"close, X-A ,x-a", "", "keep-alive,,x-B"} {
		named.add([]byte(value))
	}
	if !named.has([]byte("x-a")) || !named.has([]byte("x-b")) || named.has([]byte("close")) || named.has(nil) {
		t.Errorf("nominated: %v", named)
	}
}
