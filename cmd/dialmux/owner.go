package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/internal/terminal"
	"github.com/dialmux/dialmux/router"
)

func ownerCommand() *cli.Command {
	var s routeView
	return &cli.Command{
		Name:      "owner",
		Usage:     "show which worker gets requests with a key",
		ArgsUsage: "KEY",
		Description: `Example: dialmux owner alice --service shop

KEY is what --sticky makes of a request: the header, the cookie, the parameter,
the path, or the client's address. The workers that would have it are printed
in order, one on each line: each gets what those before it cannot have. With
--json there are the key's hash and partition, too.`,
		Flags:        s.flags(),
		OnUsageError: usageError,
		ArgValidator: oneKey,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			return s.owner(ctx, cmd.Args().First(), cmd.Root().Writer, cmd.Root().ErrWriter)
		},
	}
}

func oneKey(_ context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 || cmd.Args().First() == "" {
		return fmt.Errorf("%s wants one key, as in: %s alice (one that begins with -: behind --)", cmd.FullName(), cmd.FullName())
	}
	return nil
}

// routeView is what the flags of owner and ring say: which route of which router.
type routeView struct {
	admin               string
	service, host, path string
	json                bool
}

func (s *routeView) flags() []cli.Flag {
	return []cli.Flag{
		flag("admin", "the router's admin port, an `ADDRESS`, host:port or :port", &s.admin, "127.0.0.1:9901", parseAddress),
		flag("service", "that of this `NAME`; needed where there are several", &s.service, "", anything),
		flag("host", "for this `HOST`, as workers announce it, or a request has it; needed where its workers differ", &s.host, "", anything),
		flag("path", "for this `PATH`, likewise", &s.path, "", anything),
		flag("json", "print it as JSON", &s.json, false, parseBool),
	}
}

// owner prints the owners of a key on out, and what there is to know of them on notes.
func (s *routeView) owner(ctx context.Context, key string, out, notes io.Writer) error {
	var st router.OwnerStatus
	if done, err := s.ask(ctx, "/owner", url.Values{"key": {key}}, &st, out); done || err != nil {
		return err
	}
	if len(st.Owners) == 0 {
		return fmt.Errorf("no worker of %s can have it now; `dialmux ring` shows who is there", routeOf(st.Service, st.Route))
	}
	if st.Sticky == "off" {
		_, _ = fmt.Fprintf(notes, "requests for %s take turns (--sticky is off there); these would have the key\n", routeOf(st.Service, st.Route))
	}
	var b strings.Builder
	for _, name := range st.Owners {
		fmt.Fprintln(&b, terminal.Printable(name))
		if slices.Contains(st.Awaited, name) {
			_, _ = fmt.Fprintf(notes, "%s has gone, and its keys wait for it\n", terminal.Printable(name))
		}
	}
	return show(out, b.String(), nil)
}

// routeOf is what a route is called.
func routeOf(service string, at router.RouteName) string {
	if service == "" {
		service = "-"
	}
	return "service " + clip(service, maxCell) + " at " + clip(at.String(), 2*maxCell)
}

// ask has the router say what path names of a route. With --json that is printed, and all is done.
func (s *routeView) ask(ctx context.Context, path string, query url.Values, into any, out io.Writer) (done bool, err error) {
	for name, value := range map[string]string{"service": s.service, "host": s.host, "path": s.path} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	transport := &http.Transport{} // no proxy: the admin port is the operator's own
	defer transport.CloseIdleConnections()
	status, body, err := askAdmin(ctx, transport, s.admin, path)
	switch {
	case ctx.Err() != nil:
		return true, nil
	case err != nil:
		return false, err
	case status != http.StatusOK:
		return false, s.refused(status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return false, stranger(s.admin, err.Error())
	}
	if !s.json {
		return false, nil
	}
	var indented bytes.Buffer
	_ = json.Indent(&indented, bytes.TrimSpace(body), "", "  ") // it is valid
	return true, show(out, terminal.JSON(indented.String())+"\n", nil)
}

// refused is what the router says, with flags in the place of its parameters.
func (s *routeView) refused(status int, body []byte) error {
	var said struct{ Error string }
	if json.Unmarshal(body, &said) != nil || said.Error == "" {
		return stranger(s.admin, fmt.Sprintf("status %d", status))
	}
	text := terminal.Printable(said.Error)
	if at := strings.LastIndex(text, "; say "); at >= 0 {
		text = text[:at] + strings.NewReplacer("service=", "--service", "host=", "--host", "path=", "--path").Replace(text[at:])
	}
	return errors.New(text)
}
