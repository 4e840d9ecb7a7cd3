package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/dialmux/dialmux/router"
)

// keysPort is an admin port that says these.
func keysPort(t *testing.T, owner router.OwnerStatus, ring router.RingStatus) (address string) {
	t.Helper()
	srv := httptest.NewServer(guard(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"/owner": owner, "/ring": ring}[req.URL.Path])
	})))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// drawn is what owner, if there is a key, or ring prints.
func drawn(t *testing.T, s routeView, key string) (out, notes string) {
	t.Helper()
	var o, n bytes.Buffer
	run := func() error { return s.ring(t.Context(), &o) }
	if key != "" {
		run = func() error { return s.owner(t.Context(), key, &o, &n) }
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	return o.String(), n.String()
}

func TestRingIsDrawn(t *testing.T) {
	ring := router.RingStatus{Service: "shop", Route: router.RouteName{Host: "*.shop.test", Path: "/api"}, Sticky: "cookie:sid; wait=10s", Members: []router.MemberStatus{
		{Name: "one", Weight: 80, Share: 0.8, State: "ready", Busy: 3, Ended: 1234},
		{Name: "two", Weight: 19, Share: 0.19, State: "away", Away: true},
		{Name: "two;2", Weight: 1, Share: 0.001, State: "aside"},
	}}
	want := `service shop at *.shop.test/api, sticky cookie:sid; wait=10s: 3 in the ring

WORKER   WEIGHT   STATE   BUSY   ENDED   SHARE
one      80       ready   3      1234     80.0% ████████████████████████████████
two      19       away    0      0        19.0% ███████▋
two;2    1        aside   0      0         0.1% ▏
`
	if got, _ := drawn(t, routeView{admin: keysPort(t, router.OwnerStatus{}, ring)}, ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = "service - at */, sticky off: 0 in the ring\n\nWORKER   WEIGHT   STATE   BUSY   ENDED   SHARE\nnone is there\n"
	if got, _ := drawn(t, routeView{admin: keysPort(t, router.OwnerStatus{}, router.RingStatus{Route: router.RouteName{Path: "/"}})}, ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Owners are lines for a program, and what a person should know is not among them.
func TestOwnerPrintsNames(t *testing.T) {
	owner := router.OwnerStatus{Service: "shop", Route: router.RouteName{Path: "/"}, Sticky: "ip; wait=1s", Owners: []string{"b", "a"}, Awaited: []string{"b"}}
	out, notes := drawn(t, routeView{admin: keysPort(t, owner, router.RingStatus{})}, "k")
	if out != "b\na\n" || notes != "b has gone, and its keys wait for it\n" {
		t.Errorf("%q %q", out, notes)
	}
	owner.Sticky, owner.Awaited = "off", nil
	out, notes = drawn(t, routeView{admin: keysPort(t, owner, router.RingStatus{})}, "k")
	if out != "b\na\n" || notes != "requests for service shop at */ take turns (--sticky is off there); these would have the key\n" {
		t.Errorf("%q %q", out, notes)
	}
	owner.Owners = nil
	s := routeView{admin: keysPort(t, owner, router.RingStatus{})}
	if err := s.owner(t.Context(), "k", io.Discard, io.Discard); err == nil || err.Error() != "no worker of service shop at */ can have it now; `dialmux ring` shows who is there" {
		t.Error(err)
	}
}

// O3: what workers and whoever answers chose must not act on the operator's terminal.
func TestO3OwnerAndRingEscape(t *testing.T) {
	const hostile = "a\x1b[2J\r\nb\tc\u009b2J\u202e\x7f\U000e0001"
	owner := router.OwnerStatus{Service: hostile, Route: router.RouteName{Host: hostile, Path: hostile}, Sticky: "off", Key: hostile, Owners: []string{hostile}, Awaited: []string{hostile}}
	ring := router.RingStatus{Service: hostile, Route: owner.Route, Sticky: hostile, Members: []router.MemberStatus{{Name: hostile, State: hostile, Weight: 1, Share: 1}}}
	for _, asJSON := range []bool{false, true} {
		s := routeView{admin: keysPort(t, owner, ring), json: asJSON}
		names, notes := drawn(t, s, hostile)
		table, _ := drawn(t, s, "")
		for _, text := range []string{names, notes, table} {
			if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%q reached the terminal in %q", text[i:i+3], text)
			}
		}
		if !asJSON {
			continue
		}
		var own router.OwnerStatus
		var all router.RingStatus
		if json.Unmarshal([]byte(names), &own) != nil || json.Unmarshal([]byte(table), &all) != nil || !reflect.DeepEqual(own, owner) || !reflect.DeepEqual(all, ring) {
			t.Errorf("--json says %+v and %+v", own, all)
		}
	}
}

// What the router wants to be said is said by flags here.
func TestOwnerSaysWhatTheRouterWants(t *testing.T) {
	for _, tc := range []struct {
		status     int
		body, want string
	}{
		{400, `{"error": "several: a.test/host=; say host= and path="}`, "several: a.test/host=; say --host and --path"},
		{400, `{"error": "several: a\u001b, b; say service="}`, `several: a\x1b, b; say --service`},
		{404, `{"error": "no worker has announced anything yet; start one"}`, "no worker has announced anything yet; start one"},
		{404, `404 page not found`, "is no admin port of a router of this version (GET /owner: 404 Not Found); say by --admin (DIALMUX_ADMIN) where that is"},
		{500, `{}`, "is no admin port of a router of this version (status 500)"},
		{200, `[]`, "is no admin port of a router of this version (json: "},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if got := req.URL.Query().Encode(); got != "host=H&key=%26k&path=%2FP&service=S" {
				t.Errorf("asked for %s", got)
			}
			w.WriteHeader(tc.status)
			_, _ = fmt.Fprint(w, tc.body)
		}))
		s := routeView{admin: srv.Listener.Addr().String(), service: "S", host: "H", path: "/P"}
		err := s.owner(t.Context(), "&k", io.Discard, io.Discard)
		srv.Close()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.body, err, tc.want)
		}
	}
}
