package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	eventsPath = "/events"
	eventPause = 10 * time.Millisecond // between two events
)

// sendEvents is a stream of server-sent events, each of which says when it was written, until the client leaves.
func sendEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	for pause(r.Context(), eventPause) {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixNano()); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

// readEvents is the load of one client that reads events: how long each took from the worker's Write to the client.
func readEvents(ctx context.Context, _ *stage, on running, duration time.Duration) (turn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+on.address+eventsPath, nil)
	if err != nil {
		return turn{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return turn{}, err
	}
	defer resp.Body.Close()
	var took []time.Duration
	for lines, end := bufio.NewScanner(resp.Body), time.Now().Add(duration); time.Now().Before(end); {
		if !lines.Scan() {
			return turn{}, fmt.Errorf("the events ended after %d: %w", len(took), lines.Err())
		}
		text, isEvent := strings.CutPrefix(lines.Text(), "data: ")
		if !isEvent {
			continue
		}
		written, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return turn{}, fmt.Errorf("event %q: %w", text, err)
		}
		took = append(took, time.Since(time.Unix(0, written)))
	}
	if len(took) == 0 {
		return turn{}, fmt.Errorf("no event came within %v", duration)
	}
	slices.Sort(took)
	return turn{p50: took[len(took)/2], p99: took[len(took)*99/100]}, nil
}
