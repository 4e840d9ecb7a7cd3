package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dialmux/dialmux/router"
)

// tokens are what workers must show, from a file that is read again when it
// changes. What cannot be used leaves the old ones in place.
type tokens struct {
	source *source
	grants []router.Grant
}

func newTokens(file string) *tokens {
	t := new(tokens)
	t.source = &source{
		files: []string{file}, flags: "--token-file " + file, remedy: "write a token on each line, and what it is for behind it",
		take: func(texts [][]byte) error {
			grants, err := router.ParseGrants(texts[0])
			if err == nil && len(grants) == 0 {
				err = errors.New("there is no token in it")
			}
			if err == nil {
				t.grants = grants
			}
			return err
		},
	}
	return t
}

// firstToken is one that the demo's workers may show; "": none is wanted.
func (s *settings) firstToken() string {
	if len(s.router.Grants) > 0 {
		return s.router.Grants[0].Token
	}
	return s.router.Token
}

// watch hands changes to r until ctx ends, and says once of each what became of it.
func (t *tokens) watch(ctx context.Context, r *router.Router, log *slog.Logger) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		changed, err := t.source.read()
		if changed && err == nil {
			err = r.SetGrants(t.grants)
		}
		switch {
		case err != nil:
			log.Warn("the changed token file is of no use; the old tokens go on", "err", err)
		case changed:
			log.Info("tokens read again", "file", t.source.files[0], "tokens", len(t.grants))
		}
	}
}

// readToken takes the first line of a file: a worker shows one token.
func readToken(file string) (string, error) {
	text, err := readRegular(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w; name a file that this user may read", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("--token-file: the first line of %s is empty; write the token there", file)
	}
	return line, nil
}
