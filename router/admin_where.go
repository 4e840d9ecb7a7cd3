package router

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Where says which route is meant: of a service, with a host and a path as workers
// announce them, or as a request has them. What is empty is left open.
type Where struct{ Service, Host, Path string }

// RouteName is a host and a path that workers serve.
type RouteName struct {
	Host string `json:"host,omitempty"` // empty: any
	Path string `json:"path"`
}

func (r *route) name() RouteName { return RouteName{r.host, cmp.Or(r.path, "/")} }

func (n RouteName) String() string { return cmp.Or(n.Host, "*") + n.Path }

// meant is the route that is meant: of several one, if their workers and their policy are the same.
func (q *pool) meant(where Where) (*route, error) {
	if where.Path != "" && where.Path[0] != '/' {
		return nil, wrong(http.StatusBadRequest, "the path %.140q begins with no /; say path= and one that does", where.Path)
	}
	q.mu.Lock()
	q.sweep()
	all, err := q.candidates(where)
	q.mu.Unlock()
	if err != nil {
		return nil, err
	}
	sortRoutes(all)
	for _, r := range all[1:] {
		q.mu.Lock() // for each anew: there may be many, with many workers each
		same := slices.Equal(r.roster.sites, all[0].roster.sites) && r.sticky.String() == all[0].sticky.String()
		q.mu.Unlock()
		if !same {
			return nil, wrong(http.StatusBadRequest, "several routes%s are meant, and their workers or policies differ: %s; say host= and path=", ofService(where), listed(all, (*route).name))
		}
	}
	return all[0], nil
}

// candidates are the routes that may be meant, one or more. q.mu is held.
func (q *pool) candidates(where Where) (all []*route, err error) {
	v, open := q.services[where.Service], where.Host == "" && where.Path == ""
	switch {
	case v != nil && (open || where.Service != ""):
	case where.Service != "" && len(q.services) > 0:
		return nil, wrong(http.StatusNotFound, "no service here is called %.140q; there are: %s", where.Service, q.serviceNames())
	case len(q.services) == 0:
		return nil, wrong(http.StatusNotFound, "no worker has announced anything yet; start one")
	case !open: // of any service
		v = nil
	case len(q.services) == 1:
		for _, only := range q.services {
			v = only
		}
	default:
		return nil, wrong(http.StatusBadRequest, "there are several services: %s; say service=", q.serviceNames())
	}
	for _, one := range q.services {
		for r := range one.routes {
			if r.isOf(v) {
				all = append(all, r)
			}
		}
	}
	if open && len(all) > 0 {
		return all, nil
	}
	host, path := strings.ToLower(where.Host), strings.TrimRight(where.Path, "/")
	if host == "*" {
		host = ""
	}
	exact := slices.DeleteFunc(slices.Clone(all), func(r *route) bool {
		return where.Host != "" && r.host != host || where.Path != "" && r.path != path
	})
	if len(exact) > 0 {
		return exact, nil
	}
	if r := q.routes.find([]byte(host), []byte(where.Path)); r != nil && r.isOf(v) {
		return []*route{r}, nil
	}
	sortRoutes(all)
	return nil, wrong(http.StatusNotFound, "no route%s serves the host %.260q and the path %.140q; there are: %s", ofService(where), where.Host, where.Path, listed(all, (*route).name))
}

// isOf tells whether workers of a service serve r, or were the last to; nil: of any.
func (r *route) isOf(v *service) bool { return v == nil || r.service == v || r.seats[v] > 0 }

func sortRoutes(all []*route) {
	slices.SortFunc(all, func(a, b *route) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.path, b.path)) })
}

func ofService(where Where) string {
	if where.Service == "" {
		return ""
	}
	return " of service " + where.Service
}

func (q *pool) serviceNames() string {
	names := make([]string, 0, len(q.services))
	for name := range q.services {
		names = append(names, cmp.Or(name, "one without a name"))
	}
	slices.Sort(names)
	return listed(names, func(name string) string { return name })
}

// listed is the first of all, and how many more there are.
func listed[T any, S any](all []T, name func(T) S) string {
	var b strings.Builder
	for i, one := range all[:min(len(all), mostListed)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, name(one))
	}
	if more := len(all) - mostListed; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// mostListed is how much is named of what there would be to choose from.
const mostListed = 20

// adminError is a question that cannot be answered.
type adminError struct {
	status int
	text   string
}

func (e *adminError) Error() string { return e.text }

func wrong(status int, format string, args ...any) error {
	return &adminError{status, fmt.Sprintf(format, args...)}
}
