package router

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// service is what workers announce together: its routes, and the bound of what
// may wait for it. It is known while it has a worker or a route.
type service struct {
	name    string
	members int // workers that are there, ready or not
	routes  map[*route]struct{}
	waiting int  // requests, at its routes
	pace    pace // of those who get a worker after they waited
}

// route is where requests for one host and path meet the workers that announced
// it, whatever they call their service.
type route struct {
	links[route] // in pool.empty

	host    string   // exact, *.suffix, or "": any
	path    string   // prefix without a slash at its end; "": any
	service *service // of a worker that sits here, or was the last to

	balance       Balance          // as who announced it last wanted
	announced     string           // the policy that who did so last wanted to keep requests by
	sticky        *policy          // that holds
	roster        roster           // who may own keys
	ready         [2]turns         // by peer.rep
	room          room             // for whoever comes free
	waiting       int              // here, and at the seats of owners
	natives, reps int              // joined and not draining
	seats         map[*service]int // of whose workers
	left          time.Time        // when the last of them went, if none is there
	aside         int              // workers that are set aside
	grown         int              // what those weigh that are ready, and not fresh
	elders        int              // how many they are
	clock         clock            // what such have had
	gone          bool             // nobody announces it any more: who waits looks anew
}

// room is where requests wait, by stream.only, oldest first.
type room [2]list[stream, *stream]

func (r *room) each(visit func(*stream)) {
	for only := range r {
		for s := r[only].head; s != nil; {
			next := s.after
			visit(s)
			s = next
		}
	}
}

// each calls visit with all who wait at r, who may leave then.
func (r *route) each(visit func(*stream)) {
	if r.waiting == 0 {
		return
	}
	r.room.each(visit)
	for _, s := range r.roster.seats {
		s.room.each(visit)
	}
}

// seat is a worker's place at one of its routes.
type seat struct {
	links[seat]
	p       *peer // nil: it has gone, and its keys wait for it
	at      *route
	label   string    // of p
	seed    uint64    // of the label
	weight  int       // of p
	until   time.Time // they wait, if p has gone
	room    room      // for p alone
	waiting int       // in it
	ticket  uint64
	load    int   // in the ring
	turns   int   // that it has had in a row
	since   clock // the route's, from when it saves up for a request, while it starts slowly
}

// routes finds the route of a request: by host, an exact one before the longest
// *.suffix before any, and there by the longest path.
type routes struct {
	exact, wild map[string]*paths
	any         *paths
	n           int
	only        *route // the one for everything, while there is no other
}

type paths struct {
	byPrefix map[string]*route
	longest  int
}

func newRoutes() routes {
	return routes{exact: map[string]*paths{}, wild: map[string]*paths{}}
}

// at returns the map that a route's host stands in, and its key there.
func (t *routes) at(host string) (map[string]*paths, string) {
	if suffix, wild := strings.CutPrefix(host, "*"); wild {
		return t.wild, suffix
	}
	return t.exact, host
}

func (t *routes) get(host, path string) *route {
	p := t.any
	if host != "" {
		hosts, key := t.at(host)
		p = hosts[key]
	}
	if p == nil {
		return nil
	}
	return p.byPrefix[path]
}

func (t *routes) add(r *route) {
	p := &t.any
	if r.host != "" {
		hosts, key := t.at(r.host)
		found := hosts[key]
		if p = &found; found == nil {
			defer func() { hosts[key] = found }()
		}
	}
	if *p == nil {
		*p = &paths{byPrefix: map[string]*route{}}
	}
	(*p).byPrefix[r.path] = r
	(*p).longest = max((*p).longest, len(r.path))
	t.n++
	t.settle()
}

func (t *routes) remove(r *route) {
	r.gone = true
	t.n--
	p := t.any
	if r.host != "" {
		hosts, key := t.at(r.host)
		if p = hosts[key]; len(p.byPrefix) == 1 {
			delete(hosts, key)
		}
	}
	delete(p.byPrefix, r.path)
	t.settle()
}

func (t *routes) settle() {
	t.only = nil
	if t.n == 1 {
		t.only = t.get("", "")
	}
}

// find returns nil where nobody has announced what serves this.
func (t *routes) find(authority, path []byte) *route {
	var buf [maxHost]byte
	host := hostName(authority)
	if len(host) <= maxHost {
		host = appendHost(buf[:0], host)
		if r := t.exact[string(host)].find(path); r != nil {
			return r
		}
		for len(t.wild) > 0 {
			dot := bytes.IndexByte(host, '.')
			if dot < 0 {
				break
			}
			if r := t.wild[string(host[dot:])].find(path); r != nil {
				return r
			}
			host = host[dot+1:]
		}
	}
	return t.any.find(path)
}

// find takes the longest prefix that ends where a segment does.
func (p *paths) find(path []byte) *route {
	if p == nil {
		return nil
	}
	if q := bytes.IndexByte(path, '?'); q >= 0 {
		path = path[:q]
	}
	if len(path) > p.longest { // a border is where the next segment begins
		if path[p.longest] == '/' {
			path = path[:p.longest]
		} else {
			path = path[:max(bytes.LastIndexByte(path[:p.longest], '/'), 0)]
		}
	}
	for {
		if r := p.byPrefix[string(path)]; r != nil {
			return r
		}
		i := bytes.LastIndexByte(path, '/')
		if i < 0 {
			return nil
		}
		path = path[:i]
	}
}

const (
	maxPath         = 1024 // bytes of a path that is announced
	maxWorkerRoutes = 1024 // hosts times paths of one worker
	maxRoutes       = 16384
)

// place is a host and a path that a worker announces.
type place struct{ host, path string }

// places are what a worker's JOIN announces: each path at each host.
func places(hosts, prefixes []string) ([]place, error) {
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	if len(prefixes) == 0 {
		prefixes = []string{"/"}
	}
	if len(hosts)*len(prefixes) > maxWorkerRoutes {
		return nil, fmt.Errorf("%d hosts with %d paths each: at most %d routes are taken of one worker", len(hosts), len(prefixes), maxWorkerRoutes)
	}
	seen := map[place]bool{}
	var all []place
	for _, host := range hosts {
		name, err := ParseHost(host)
		if err != nil {
			return nil, fmt.Errorf("the host %.140q: %w", host, err)
		}
		for _, path := range prefixes {
			if !isPath(path) {
				return nil, fmt.Errorf("the path %.140q: one that begins with / and is at most %d bytes long is right, without a query", path, maxPath)
			}
			if at := (place{name, strings.TrimRight(path, "/")}); !seen[at] {
				seen[at] = true
				all = append(all, at)
			}
		}
	}
	return all, nil
}

func isPath(s string) bool {
	if !strings.HasPrefix(s, "/") || len(s) > maxPath {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c == '?' || c == '#' || c >= 0x7f {
			return false
		}
	}
	return true
}
