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
	path := strings.TrimRight(where.Path, "/")
	host, err := ParseHost(where.Host)
	if err != nil {
		host = where.Host // which may have a port, as a request's
	}
	all, asked, services := q.candidates(where, host)
	switch {
	case len(all) > 0:
	case len(services) == 0:
		return nil, wrong(http.StatusNotFound, "no worker has announced anything yet; start one")
	case where.Service == "":
		return nil, wrong(http.StatusBadRequest, "there are several services: %s; say service=", listed(services))
	default:
		return nil, wrong(http.StatusNotFound, "no service here is called %.140q; there are: %s", where.Service, listed(services))
	}
	exact := slices.DeleteFunc(slices.Clone(all), func(r *route) bool {
		return where.Host != "" && r.host != host || where.Path != "" && r.path != path
	})
	if len(exact) == 0 && asked != nil {
		return asked, nil
	}
	if len(exact) == 0 {
		return nil, wrong(http.StatusNotFound, "no route%s serves the host %.260q and the path %.140q; there are: %s", ofService(where), where.Host, where.Path, listed(names(all)))
	}
	first := slices.MinFunc(exact, func(a, b *route) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.path, b.path)) })
	for _, r := range exact {
		q.mu.Lock() // for each anew: there may be many, with many workers each
		same := slices.Equal(r.roster.sites, first.roster.sites) && r.sticky.String() == first.sticky.String()
		q.mu.Unlock()
		if !same {
			return nil, wrong(http.StatusBadRequest, "several routes%s are meant, and their workers or policies differ: %s; say host= and path=", ofService(where), listed(names(exact)))
		}
	}
	return first, nil
}

// candidates are the routes of the service that is meant, and the one among them that a request with
// that host and path would take; without any, the services there are.
func (q *pool) candidates(where Where, host string) (all []*route, asked *route, services []string) {
	q.mu.Lock()
	defer q.unlock()
	q.sweep()
	v, found := q.services[where.Service]
	open := where.Host == "" && where.Path == ""
	switch {
	case found && (open || where.Service != ""):
	case where.Service == "" && (!open || len(q.services) == 1): // of any service
		v = nil
	default:
		for name := range q.services {
			services = append(services, cmp.Or(name, "one without a name"))
		}
		return nil, nil, services
	}
	for _, one := range q.services {
		for r := range one.routes {
			if r.isOf(v) {
				all = append(all, r)
			}
		}
	}
	if r := q.routes.find([]byte(host), []byte(where.Path)); r != nil && r.isOf(v) {
		asked = r
	}
	return all, asked, nil
}

// isOf tells whether workers of a service serve r, or were the last to; nil: of any.
func (r *route) isOf(v *service) bool { return v == nil || r.service == v || r.seats[v] > 0 }

func ofService(where Where) string {
	if where.Service == "" {
		return ""
	}
	return " of service " + where.Service
}

func names(all []*route) (names []string) {
	for _, r := range all {
		names = append(names, r.name().String())
	}
	return names
}

// listed is the first of all, and how many more there are.
func listed(all []string) string {
	slices.Sort(all)
	text := strings.Join(all[:min(len(all), mostListed)], ", ")
	if more := len(all) - mostListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
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
