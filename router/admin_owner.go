package router

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dialmux/dialmux/ring"
)

// OwnerStatus is who owns a key, as /owner shows it.
type OwnerStatus struct {
	Service    string    `json:"service"`
	Route      RouteName `json:"route"`
	Sticky     string    `json:"sticky"` // the route's policy; off: requests take turns, and have no owner
	Key        string    `json:"key"`
	Hash       string    `json:"hash"` // ring.Hash of it, in hexadecimal
	Partition  int       `json:"partition"`
	Partitions int       `json:"partitions"`
	Owners     []string  `json:"owners"`  // in order: each gets what those before it cannot have
	Awaited    []string  `json:"awaited"` // those of them that have gone, and may come back
}

// RingStatus is who may own keys of a route, as /ring shows it.
type RingStatus struct {
	Service string         `json:"service"`
	Route   RouteName      `json:"route"`
	Sticky  string         `json:"sticky"`
	Members []MemberStatus `json:"members"` // by name
}

// MemberStatus is a worker, or one that has gone and is waited for.
type MemberStatus struct {
	Name   string  `json:"name"`
	Weight int     `json:"weight"`
	Share  float64 `json:"share"` // of all keys
	State  string  `json:"state"` // as in WorkerStatus, or away
	Busy   int     `json:"busy"`
	Ended  uint64  `json:"ended"`
	Away   bool    `json:"away"`

	site ring.Site
	owns bool // keys are its, now
}

// maxKey is how many bytes a key that is asked for may have.
const maxKey = 64 << 10

// Owner tells to whom requests with a key go.
func (r *Router) Owner(where Where, key string) (st OwnerStatus, err error) {
	switch {
	case key == "":
		return st, wrong(http.StatusBadRequest, "whose key? say key=")
	case len(key) > maxKey:
		return st, wrong(http.StatusBadRequest, "the key has %d bytes; say one of at most %d", len(key), maxKey)
	}
	all, by, err := r.pool.look(where)
	if err != nil {
		return st, err
	}
	if by != nil && by.Issue && !r.pool.keeper.cookies.signed(by.Name, []byte(key)) {
		return st, wrong(http.StatusBadRequest, "a request with this cookie would get another one, as it is none that was issued here (sticky %s); say one that was", by)
	}
	st = OwnerStatus{Service: all.Service, Route: all.Route, Sticky: all.Sticky, Key: by.canonical(key), Partitions: ring.DefaultPartitions, Owners: []string{}, Awaited: []string{}}
	hash := ring.Hash(st.Key)
	st.Hash, st.Partition = fmt.Sprintf("%016x", hash), ring.Partition(st.Key, ring.DefaultPartitions)
	slices.SortStableFunc(all.Members, func(a, b MemberStatus) int {
		return cmp.Compare(ring.Distance(a.site.Seed, hash, a.site.Weight), ring.Distance(b.site.Seed, hash, b.site.Weight))
	})
	for _, m := range all.Members {
		if !m.owns {
			continue
		}
		st.Owners = append(st.Owners, m.Name)
		if m.Away {
			st.Awaited = append(st.Awaited, m.Name)
		}
	}
	return st, nil
}

// canonical is a key in the form that requests have it in.
func (p *policy) canonical(key string) string {
	switch {
	case p == nil:
	case p.By == "ip":
		if addr, ok := parseAddress([]byte(key)); ok {
			return addr.String()
		}
	case p.By == "path":
		return string(segments([]byte(key), p.Segments))
	}
	return key
}

// Ring tells who shares the keys of a route.
func (r *Router) Ring(where Where) (RingStatus, error) {
	st, _, err := r.pool.look(where)
	return st, err
}

// look copies what there is to see of a route.
func (q *pool) look(where Where) (st RingStatus, by *policy, err error) {
	at, err := q.meant(where)
	if err != nil {
		return st, nil, err
	}
	now := time.Now()
	q.mu.Lock()
	defer q.unlock()
	r := &at.roster
	q.expire(r)
	by = at.sticky
	st = RingStatus{Service: at.service.name, Route: at.name(), Sticky: by.String(), Members: make([]MemberStatus, len(r.seats))}
	sum := 0
	for _, s := range r.seats {
		if s.owns(anyWorker, now) {
			sum += s.weight
		}
	}
	for i, s := range r.seats {
		m := MemberStatus{Name: s.label, Weight: s.weight, State: "away", Away: s.p == nil, site: r.sites[i], owns: s.owns(anyWorker, now)}
		if m.owns {
			m.Share = float64(s.weight) / float64(sum)
		}
		if p := s.p; p != nil {
			m.State, m.Busy, m.Ended = p.state(), p.busy, p.ended
		}
		st.Members[i] = m
	}
	return st, by, nil
}

func (r *Router) serveOwner(w http.ResponseWriter, req *http.Request) {
	var st OwnerStatus
	where, key, err := question(req, "service", "host", "path", "key")
	if err == nil {
		st, err = r.Owner(where, key)
	}
	answer(w, st, err)
}

func (r *Router) serveRing(w http.ResponseWriter, req *http.Request) {
	var st RingStatus
	where, _, err := question(req, "service", "host", "path")
	if err == nil {
		st, err = r.Ring(where)
	}
	answer(w, st, err)
}

// question reads one, which may have these parameters.
func question(req *http.Request, known ...string) (where Where, key string, err error) {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return where, "", wrong(http.StatusBadRequest, "the query cannot be read: %v; write %% as %%25 there, and ; as %%3B", err)
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			return where, "", wrong(http.StatusBadRequest, "there is no parameter %.140q; say %s=", name, strings.Join(known, "=, "))
		case len(all) > 1:
			return where, "", wrong(http.StatusBadRequest, "%s= stands there %d times; say it once", name, len(all))
		}
	}
	return Where{values.Get("service"), values.Get("host"), values.Get("path")}, values.Get("key"), nil
}

// answer writes st, or the line that says why not.
func answer(w http.ResponseWriter, st any, err error) {
	if e, ok := errors.AsType[*adminError](err); ok {
		text, err := json.Marshal(map[string]string{"error": e.text})
		writeText(w, e.status, text, err)
		return
	}
	writeJSON(w, http.StatusOK, st)
}
