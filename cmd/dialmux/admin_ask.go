package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/dialmux/dialmux/internal/terminal"
)

// maxStatus is far above what a router with all of its workers and streams says.
const maxStatus = 64 << 20

// askAdmin returns what the admin port at an address answers to GET, which is JSON.
func askAdmin(ctx context.Context, transport http.RoundTripper, admin, path string) (status int, body json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address := admin
	if host, port, _ := net.SplitHostPort(address); host == "" { // parseAddress has seen it
		address = net.JoinHostPort("127.0.0.1", port)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("--admin: %w", err)
	}
	req.Host = "localhost" // what guard wants to hear, by whichever name the operator knows the machine
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer within 5s")
		}
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return 0, nil, fmt.Errorf("no router at %s: %w; start `dialmux router`, or say by --admin (%s) where its admin port is", admin, err, twin("admin"))
	}
	defer func() { _ = resp.Body.Close() }()
	path, _, _ = strings.Cut(path, "?")
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	switch {
	case err != nil:
		return 0, nil, stranger(admin, fmt.Sprintf("GET %s: %v", path, err))
	case !json.Valid(body) && resp.StatusCode != http.StatusOK:
		return 0, nil, stranger(admin, fmt.Sprintf("GET %s: %s", path, terminal.Printable(resp.Status)))
	case !json.Valid(body):
		return 0, nil, stranger(admin, fmt.Sprintf("GET %s: no JSON", path))
	}
	return resp.StatusCode, body, nil
}

func stranger(admin, why string) error {
	return fmt.Errorf("what answers at %s is no admin port of a router of this version (%s); say by --admin (%s) where that is",
		admin, strings.TrimSpace(why), twin("admin"))
}
