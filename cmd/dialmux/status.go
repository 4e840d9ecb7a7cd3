package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/internal/terminal"
	"github.com/dialmux/dialmux/router"
)

func statusCommand() *cli.Command {
	var s statusView
	return &cli.Command{
		Name:  "status",
		Usage: "show a router's services, routes, workers and requests",
		Description: `Example: dialmux status --watch

It reads the router's admin port. Workers and clients choose much of what it
shows: what could act on a terminal is shown escaped, as in \x1b. With --json
it prints what the admin port says, whole: an object of ready, services,
workers and streams, with --watch one on a line each second.`,
		Flags:        s.flags(),
		OnUsageError: usageError,
		ArgValidator: noArguments,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			return s.run(ctx, cmd.Root().Writer)
		},
	}
}

// statusView is what the flags of status say.
type statusView struct {
	admin       string
	watch, json bool
}

func (s *statusView) flags() []cli.Flag {
	return []cli.Flag{
		flag("admin", "the router's admin port, an `ADDRESS`, host:port or :port", &s.admin, "127.0.0.1:9901", parseAddress),
		alias("w", flag("watch", "show it anew each second, until Ctrl-C", &s.watch, false, parseBool)),
		flag("json", "print it as JSON", &s.json, false, parseBool),
	}
}

// standing is what the admin port says at one moment.
type standing struct {
	Ready struct {
		Status  string `json:"status"`
		Workers int    `json:"workers"`
	} `json:"ready"`
	Services []router.ServiceStatus `json:"services"`
	Workers  []router.WorkerStatus  `json:"workers"`
	Streams  router.StreamTable     `json:"streams"`
}

func (s *statusView) run(ctx context.Context, out io.Writer) error {
	transport := &http.Transport{} // no proxy: the admin port is the operator's own
	defer transport.CloseIdleConnections()
	text, err := s.look(ctx, transport)
	if err != nil || !s.watch {
		if ctx.Err() != nil {
			return nil
		}
		return show(out, text, err)
	}
	draw := func(text string) error { return show(out, text, nil) }
	if f, ok := out.(*os.File); ok && isTerminal(f) && !s.json {
		redraw := newScreen(f)
		defer redraw.leave()
		draw = redraw.draw
	}
	each := time.NewTicker(time.Second)
	defer each.Stop()
	for {
		if err := draw(text); err != nil {
			return err
		}
		select {
		case <-each.C:
		case <-ctx.Done():
			return nil
		}
		// A router that restarts is worth waiting for.
		if text, err = s.look(ctx, transport); ctx.Err() != nil {
			return nil
		} else if err != nil && s.json {
			return err
		} else if err != nil {
			text = err.Error() + "\n"
		}
	}
}

func show(out io.Writer, text string, err error) error {
	if err == nil {
		_, err = io.WriteString(out, text)
	}
	return err
}

// look returns what is to be shown now.
func (s *statusView) look(ctx context.Context, transport http.RoundTripper) (string, error) {
	var raw struct {
		Ready    json.RawMessage `json:"ready"`
		Services json.RawMessage `json:"services"`
		Workers  json.RawMessage `json:"workers"`
		Streams  json.RawMessage `json:"streams"`
	}
	for path, to := range map[string]*json.RawMessage{
		"/readyz": &raw.Ready, "/services": &raw.Services, "/workers": &raw.Workers, "/streams": &raw.Streams,
	} {
		var err error
		if *to, err = s.get(ctx, transport, path); err != nil {
			return "", err
		}
	}
	whole, err := json.Marshal(raw)
	if err != nil {
		return "", err
	}
	if s.json {
		if !s.watch {
			var indented bytes.Buffer
			_ = json.Indent(&indented, whole, "", "  ") // it is what Marshal wrote
			whole = indented.Bytes()
		}
		return terminal.JSON(string(whole)) + "\n", nil
	}
	var now standing
	if err := json.Unmarshal(whole, &now); err != nil {
		return "", stranger(s.admin, err.Error())
	}
	return now.table(), nil
}

func (s *statusView) get(ctx context.Context, transport http.RoundTripper, path string) (json.RawMessage, error) {
	status, body, err := askAdmin(ctx, transport, s.admin, path)
	if err == nil && status != http.StatusOK && (status != http.StatusServiceUnavailable || path != "/readyz") {
		err = stranger(s.admin, fmt.Sprintf("GET %s: %d", path, status))
	}
	return body, err
}
