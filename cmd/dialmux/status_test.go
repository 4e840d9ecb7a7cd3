package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/dialmux/dialmux/router"
)

// adminPort says what it is told to.
func adminPort(t *testing.T, now standing) (address string) {
	t.Helper()
	srv := httptest.NewServer(guard(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		said := map[string]any{"/readyz": now.Ready, "/services": now.Services, "/workers": now.Workers, "/streams": now.Streams}
		_ = json.NewEncoder(w).Encode(said[req.URL.Path])
	})))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func printed(t *testing.T, s statusView) string {
	t.Helper()
	var out bytes.Buffer
	if err := s.run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// O3: what workers and clients chose must not act on the operator's terminal.
func TestO3StatusEscapes(t *testing.T) {
	const hostile = "a\x1b[2J\r\nb\tc\u009b2J\u202e\x7f\U000e0001"
	var now standing
	now.Ready.Status = hostile
	now.Services = []router.ServiceStatus{{Name: hostile, Routes: []router.RouteStatus{{Host: hostile, Path: hostile}}}}
	now.Workers = []router.WorkerStatus{{
		Name: hostile, Kind: hostile, Addr: hostile, State: hostile, Why: hostile, Service: hostile,
		Hosts: []string{hostile}, Paths: []string{hostile}, AppVersion: hostile, Zone: hostile, Since: time.Now(),
	}}
	now.Streams.Streams = []router.StreamStatus{{State: hostile, Method: hostile, Target: hostile, Worker: hostile}}
	address := adminPort(t, now)

	table := printed(t, statusView{admin: address})
	if i := strings.IndexFunc(table, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q reached the terminal in %q", table[i:i+3], table)
	}
	if shown := `a\x1b[2J\r\nb\tc\u009b2J\u202e\x7f\U000e0001`; strings.Count(table, shown) < 10 {
		t.Errorf("not shown as %s:\n%s", shown, table)
	}
	lines := strings.Count(table, "\n")
	for _, watch := range []bool{false, true} {
		text, err := (&statusView{admin: address, json: true, watch: watch}).look(t.Context(), http.DefaultTransport)
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q reached the terminal in %q", text[i:i+3], text)
		}
		if watch && strings.Count(text, "\n") != 1 {
			t.Errorf("not one line: %q", text)
		}
		var got standing
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got.Services, now.Services) || !reflect.DeepEqual(got.Streams, now.Streams) {
			t.Errorf("--json says %+v, %v, want %+v", got, err, now)
		}
	}

	// An answer of any size keeps its line.
	now.Workers[0].Why = strings.Repeat("because ", 10000)
	now.Workers[0].Name = strings.Repeat("界", 10000)
	table = printed(t, statusView{admin: adminPort(t, now)})
	if strings.Count(table, "\n") != lines || len(table) > 4000 {
		t.Errorf("%d lines and %d bytes:\n%s", strings.Count(table, "\n"), len(table), table)
	}
}

func TestStatusTable(t *testing.T) {
	var now standing
	now.Ready.Status, now.Ready.Workers = "ready", 2
	now.Services = []router.ServiceStatus{{Name: "shop", Waiting: 3, Routes: []router.RouteStatus{
		{Host: "*.shop.test", Path: "/", Workers: 1}, {Host: "shop.example.com", Path: "/api", Workers: 2},
	}}}
	now.Workers = []router.WorkerStatus{
		{Name: "one", Service: "shop", State: "busy", Kind: "REP", Addr: "10.0.0.1:5", Busy: 1, Concurrency: 1, Ended: 7, Zone: "b", Since: time.Now().Add(-3*time.Hour - 5*time.Minute)},
		{Name: "thief", State: "refused", Why: "the token is wrong", Kind: "DEALER", Addr: "10.0.0.2:5", Since: time.Now().Add(-50 * time.Hour)},
	}
	now.Streams = router.StreamTable{Open: 25, Waiting: 3, Retried: 9}
	for i := range 25 {
		now.Streams.Streams = append(now.Streams.Streams, router.StreamStatus{
			Stream: uint64(i), State: "sent", Method: "GET", Target: fmt.Sprintf("/%d", i), Worker: "one", Age: float64(100 + i),
		})
	}
	want := `ready: 2 ready to work; requests: 25 open, 3 waiting, 9 retried

SERVICE   HOST               PATH   WORKERS   WAITING
shop      *.shop.test        /      1         3
shop      shop.example.com   /api   2

WORKER   SERVICE   STATE     BUSY   ENDED   REFUSED   SINCE   SOCKET   FROM         VERSION   ZONE
one      shop      busy      1/1    7       0         3h5m    REP      10.0.0.1:5   -         b
thief    -         refused   0/0    0       0         2d2h    DEALER   10.0.0.2:5   -         -
thief is refused: the token is wrong

REQUEST   PATH   STATE   WORKER   AGE
GET       /24    sent    one      2m4s
GET       /23    sent    one      2m3s
`
	got := printed(t, statusView{admin: adminPort(t, now)})
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\nand 5 younger ones; --json has them all\n") || strings.Contains(got, "/4 ") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
