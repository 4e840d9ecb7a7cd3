package router

import (
	"cmp"
	"slices"
)

// ServiceStatus is a service that workers have announced, as /services shows it.
type ServiceStatus struct {
	Name    string        `json:"name"`    // empty: they called it nothing
	Workers int           `json:"workers"` // that announce it
	Waiting int           `json:"waiting"` // requests
	Routes  []RouteStatus `json:"routes"`  // by host and path
}

// RouteStatus is a host and a path that workers serve.
type RouteStatus struct {
	Host    string `json:"host,omitempty"` // empty: any
	Path    string `json:"path"`
	Workers int    `json:"workers"`          // that announce it
	Sticky  string `json:"sticky,omitempty"` // how each client is kept on one of them; empty: not at all
}

// Services lists what workers have announced, by name.
func (r *Router) Services() []ServiceStatus {
	r.pool.mu.Lock()
	defer r.pool.unlock()
	r.pool.sweep()
	all := make([]ServiceStatus, 0, len(r.pool.services))
	for _, v := range r.pool.services {
		st := ServiceStatus{Name: v.name, Workers: v.members, Waiting: v.waiting, Routes: []RouteStatus{}}
		for at := range v.routes {
			workers := 0
			for _, n := range at.seats {
				workers += n
			}
			one := RouteStatus{Host: at.host, Path: cmp.Or(at.path, "/"), Workers: workers}
			if at.sticky != nil {
				one.Sticky = at.sticky.text
			}
			st.Routes = append(st.Routes, one)
		}
		slices.SortFunc(st.Routes, func(a, b RouteStatus) int {
			return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Path, b.Path))
		})
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b ServiceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
