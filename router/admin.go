package router

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/dialmux/dialmux/internal/terminal"
)

// WorkerStatus is one connection on the worker port, as /workers shows it.
type WorkerStatus struct {
	Name        string    `json:"name"`
	Kind        string    `json:"kind"` // REP, DEALER or ROUTER
	Addr        string    `json:"addr"`
	State       string    `json:"state"` // ready, busy, aside: its answers kept failing, draining, joining or refused
	Why         string    `json:"why,omitempty"`
	Service     string    `json:"service,omitempty"`
	Hosts       []string  `json:"hosts,omitempty"`
	Paths       []string  `json:"paths,omitempty"`
	AppVersion  string    `json:"app_version,omitempty"`
	Zone        string    `json:"zone,omitempty"`
	Concurrency int       `json:"concurrency"`
	Busy        int       `json:"busy"`    // streams open on it
	Ended       uint64    `json:"ended"`   // streams that it has ended
	Refused     uint64    `json:"refused"` // streams that it refused
	Since       time.Time `json:"since"`
}

// StreamStatus is one request, as /streams shows it.
type StreamStatus struct {
	Stream uint64  `json:"stream,omitempty"`
	State  string  `json:"state"` // waiting, gathering: for a REP worker, sent, begun, or cancelled: the client left, and the worker still owes the end
	Method string  `json:"method,omitempty"`
	Target string  `json:"target,omitempty"` // the path, without the query
	Worker string  `json:"worker,omitempty"`
	Age    float64 `json:"age_seconds"`
}

// StreamTable is what /streams shows.
type StreamTable struct {
	Waiting int    `json:"waiting"`
	Open    int    `json:"open"`
	Done    int    `json:"done"`           // answers that are whole here, and go on to slow clients
	Memory  int64  `json:"memory_bytes"`   // taken of MaxMemory
	Dropped uint64 `json:"dropped_frames"` // frames for streams that were not open

	// What became of requests whose workers were lost, since the start.
	Retried     uint64 `json:"retried"`     // sent to another worker
	Quarantined uint64 `json:"quarantined"` // given up: they took two workers down
	Unretried   uint64 `json:"unretried"`   // given up: a fifth of all requests was being sent again

	Streams []StreamStatus `json:"streams"`
}

// Admin is the handler for the admin port:
//
//	GET /healthz   200 while the process serves
//	GET /readyz    200 while a worker is there and the router does not drain, else 503
//	GET /workers   the connections on the worker port, oldest first: []WorkerStatus
//	GET /streams   requests that wait or run: StreamTable
//	GET /services  what workers have announced, by name: []ServiceStatus
//	GET /owner     to whom requests with a key go; service=&host=&path=&key=: OwnerStatus
//	GET /ring      who shares the keys of a route; service=&host=&path=: RingStatus
//	GET /runtime   what the process is made of, after two collections: RuntimeStatus
func (r *Router) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "router": r.id})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		n := r.pool.members()
		switch {
		case r.draining.Load():
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "draining", "workers": n})
		case n == 0:
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "no worker", "workers": 0})
		default:
			writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "workers": n})
		}
	})
	mux.HandleFunc("GET /workers", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, r.Workers())
	})
	mux.HandleFunc("GET /streams", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, r.Streams())
	})
	mux.HandleFunc("GET /services", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, r.Services())
	})
	mux.HandleFunc("GET /owner", r.serveOwner)
	mux.HandleFunc("GET /ring", r.serveRing)
	mux.HandleFunc("GET /runtime", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, readRuntime())
	})
	return mux
}

const cancelled = "cancelled"

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	writeText(w, status, text, err)
}

func writeText(w http.ResponseWriter, status int, text []byte, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err != nil { // of values of ours there is none
		panic(err)
	}
	_, _ = io.WriteString(w, terminal.JSON(string(text))+"\n") // the reader may have gone
}

// Workers lists the connections on the worker port, oldest first.
func (r *Router) Workers() []WorkerStatus {
	peers := r.pool.snapshot()
	out := make([]WorkerStatus, 0, len(peers))
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	for _, p := range peers {
		out = append(out, WorkerStatus{
			Name: p.name(), Kind: p.kind(), Addr: p.addr, State: p.state(), Why: p.parked,
			Service: p.info.Service, Hosts: p.info.Hosts, Paths: p.info.Paths, AppVersion: p.info.AppVersion, Zone: p.info.Zone,
			Concurrency: p.slots, Busy: p.busy, Ended: p.ended, Refused: p.refusals, Since: p.since,
		})
	}
	return out
}

// state is one word for what p is doing. pool.mu is held.
func (p *peer) state() string {
	switch {
	case p.parked != "":
		return "refused"
	case p.draining:
		return "draining"
	case !p.joined:
		return "joining"
	case p.aside:
		return "aside"
	case !p.free():
		return "busy"
	}
	return "ready"
}

// Streams lists the requests that wait or run.
func (r *Router) Streams() StreamTable {
	t := StreamTable{
		Streams: []StreamStatus{}, Dropped: r.dropped.Load(), Memory: r.cfg.MaxMemory - r.memory.left.Load(),
		Retried: r.retries.again.Load(), Quarantined: r.retries.quarantined.Load(), Unretried: r.retries.refused.Load(),
	}
	r.pool.mu.Lock()
	r.pool.rooms(func(at *route) {
		at.each(func(s *stream) { t.Streams = append(t.Streams, s.status("waiting")) })
	})
	for s := range r.pool.gathering {
		t.Streams = append(t.Streams, s.status("gathering"))
	}
	r.pool.mu.Unlock()
	t.Waiting = len(t.Streams)
	slices.SortStableFunc(t.Streams, func(a, b StreamStatus) int { return cmp.Compare(b.Age, a.Age) })
	for _, p := range r.pool.snapshot() {
		t.Streams = append(t.Streams, p.openStreams()...)
	}
	t.Open = len(t.Streams) - t.Waiting
	t.Done = int(r.active.Load()) - t.Waiting
	for i := range t.Streams[t.Waiting:] {
		if t.Streams[t.Waiting+i].State != cancelled {
			t.Done--
		}
	}
	t.Done = max(t.Done, 0) // the counts are of different moments
	slices.SortStableFunc(t.Streams[t.Waiting:], func(a, b StreamStatus) int { return cmp.Compare(a.Stream, b.Stream) })
	return t
}

func (s *stream) status(state string) StreamStatus {
	return StreamStatus{State: state, Method: s.request.method, Target: s.request.target(), Age: time.Since(s.arrived).Seconds()}
}

func (p *peer) openStreams() (out []StreamStatus) {
	p.mu.Lock()
	open := make([]numbered, 0, len(p.streams))
	for id, s := range p.streams {
		open = append(open, numbered{s, id})
	}
	p.mu.Unlock()
	for _, o := range open {
		st := StreamStatus{State: cancelled}
		if o.s != nil {
			o.s.mu.Lock()
			if o.s.id == o.id {
				st = o.s.status(o.s.ledger.phase.String())
			}
			o.s.mu.Unlock()
		}
		st.Stream, st.Worker = o.id, p.name()
		out = append(out, st)
	}
	return out
}

// RuntimeStatus is what /runtime shows.
type RuntimeStatus struct {
	Goroutines int    `json:"goroutines"`
	HeapLive   uint64 `json:"heap_live_bytes"`
}

// readRuntime collects twice: a sync.Pool keeps what it has through one collection.
func readRuntime() RuntimeStatus {
	runtime.GC()
	runtime.GC()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return RuntimeStatus{Goroutines: runtime.NumGoroutine(), HeapLive: live[0].Value.Uint64()}
}
