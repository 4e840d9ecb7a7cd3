package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/dialmux/dialmux/worker"
)

// Fields of an answer.
const (
	numberField   = "X-Chaos-Number"   // whose it is
	sumField      = "X-Chaos-Sum"      // of the body that came
	trailersField = "X-Chaos-Trailers" // "1": endTrailer will come
	endTrailer    = "X-Chaos-End"      // the number again
)

// piece is how much of a body is written at once.
const piece = 16 << 10

// handler answers as the request's target asks, and records that it did. It
// is what Go workers and the backends of other proxies run.
type handler struct {
	record record
	slots  chan struct{} // how many run at once; nil: any number
}

func (h handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	p, err := parseTarget(req.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if h.slots != nil {
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
		case <-req.Context().Done():
			return
		}
	}
	if h.record.note(began, p.number) != nil || h.answer(w, req, p) != nil || h.record.note(ended, p.number) != nil {
		if p.number/2%2 == 0 && req.Context().Err() != nil { // half of them do as most handlers do then
			return
		}
		panic(http.ErrAbortHandler)
	}
}

func (h handler) answer(w http.ResponseWriter, req *http.Request, p plan) error {
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, req.Body); err != nil {
		return err
	}
	if err := p.pause(req.Context(), beforeHead); err != nil {
		return err
	}
	header, flush := w.Header(), http.NewResponseController(w).Flush
	header.Set("Content-Type", "text/plain")
	header.Set(numberField, strconv.FormatUint(uint64(p.number), 10))
	header.Set(sumField, fmt.Sprintf("%08x", sum.Sum32()))
	if p.sized {
		header.Set("Content-Length", strconv.Itoa(p.size))
	}
	if p.phase == trailing {
		header.Set("Trailer", endTrailer)
		header.Set(trailersField, "1")
	}
	if err := writeBody(w, p, 0, p.size/2); err != nil {
		return err
	}
	if p.phase == midBody {
		if err := errors.Join(flush(), p.pause(req.Context(), midBody)); err != nil {
			return err
		}
	}
	if err := writeBody(w, p, p.size/2, p.size); err != nil {
		return err
	}
	if p.phase >= beforeEnd {
		if err := errors.Join(flush(), p.pause(req.Context(), p.phase)); err != nil {
			return err
		}
	}
	if p.phase == trailing {
		header.Set(endTrailer, strconv.FormatUint(uint64(p.number), 10))
	}
	return nil
}

func writeBody(w io.Writer, p plan, from, to int) error {
	b := make([]byte, min(piece, to-from))
	for from < to {
		part := b[:min(len(b), to-from)]
		fill(part, p.number, from)
		if _, err := w.Write(part); err != nil {
			return err
		}
		from += len(part)
	}
	return nil
}

// pause lingers if this is the phase to do it.
func (p *plan) pause(ctx context.Context, at phase) error {
	if p.phase != at || p.linger == 0 {
		return nil
	}
	timer := time.NewTimer(p.linger)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runWorker is a worker on Go's SDK.
func runWorker(ctx context.Context, name string, routers []string) error {
	w := worker.Worker{Name: name, Routers: routers, Concurrency: workerSlots, Handler: handler{record: openRecord()}, Grace: 10 * time.Second}
	return w.Run(ctx)
}

// runBackend is the same behind a proxy that dials: net/http's server.
func runBackend(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/chaos", handler{record: openRecord(), slots: make(chan struct{}, backendSlots)})
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	server := http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() {
		limit, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		_ = server.Shutdown(limit)
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
