package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/dialmux/dialmux/router"
	"github.com/dialmux/dialmux/worker"
)

// announced is what a file of --apps-dir says of one app. Its keys are the
// flags' names, or those of scrimplb.
type announced struct {
	forwarding
	worker worker.Worker // of which only what a file may say is set
	sticky sticking

	port, protocol string // scrimplb's, which says no more of where the app is
}

// lineError is what is wrong with a file, and where.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

// parseApp reads a file. defaults are what the flags say.
func parseApp(text []byte, defaults forwarding) (*announced, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // which some editors put there
	a := &announced{forwarding: defaults}
	keys := a.keys()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	line := func() int { return 1 + bytes.Count(text[:min(int(d.InputOffset()), len(text))], []byte("\n")) }
	fail := func(err error) (*announced, error) {
		at := line()
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
		} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			at, err = 1+bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n")), errors.New("the file ends before the JSON object does")
		}
		return nil, &lineError{at, err}
	}
	if t, err := d.Token(); err != nil {
		return fail(err)
	} else if t != json.Delim('{') {
		return fail(errors.New("want one JSON object, as in {\"name\": \"app1\", \"to\": \"http://127.0.0.1:3000\"}"))
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return fail(err)
		}
		key, _ := t.(string) // nothing else stands there
		set := keys[key]
		switch {
		case set == nil:
			return fail(unknownKey(key, keys))
		case seen[key]:
			return fail(fmt.Errorf("%q stands there twice", key))
		}
		seen[key] = true
		var value any
		if err := d.Decode(&value); err != nil {
			return fail(err)
		}
		texts, err := textsOf(value)
		if err == nil {
			err = set(texts)
		}
		if err != nil {
			return fail(fmt.Errorf("%q: %w", key, err))
		}
	}
	if _, err := d.Token(); err != nil {
		return fail(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(errors.New("something stands behind the JSON object: one file is one app"))
	}
	if err := a.settle(seen); err != nil {
		return nil, &lineError{1, err}
	}
	return a, nil
}

func unknownKey(key string, keys map[string]func([]string) error) error {
	known := slices.Sorted(maps.Keys(keys))
	if best := slices.MinFunc(known, func(a, b string) int { return edits(key, a) - edits(key, b) }); 3*edits(key, best) <= len(best) {
		return fmt.Errorf("there is no key %q; did you mean %q?", key, best)
	}
	return fmt.Errorf("there is no key %q; there are %s", key, strings.Join(known, ", "))
}

// edits is how many bytes are to be put in, taken out or changed until a is b.
func edits(a, b string) int {
	row := make([]int, len(b)+1) // for what there is of a so far, and each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			n := min(row[j], row[j+1]) + 1
			if a[i] == b[j] {
				n = min(n, corner)
			} else {
				n = min(n, corner+1)
			}
			corner, row[j+1] = row[j+1], n
		}
	}
	return row[len(b)]
}

// textsOf makes of a value what a flag would be given, and of a list as many.
func textsOf(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case json.Number:
		return []string{v.String()}, nil
	case bool:
		return []string{strconv.FormatBool(v)}, nil
	case []any:
		var all []string
		for _, one := range v {
			texts, err := textsOf(one)
			if _, nested := one.([]any); nested || err != nil {
				return nil, errors.New("want a list of texts")
			}
			all = append(all, texts...)
		}
		return all, nil
	}
	return nil, errors.New("want a text, a number, true, false, or a list of texts")
}

// keys are what a file may say, and how it is read.
func (a *announced) keys() map[string]func([]string) error {
	w, h := &a.worker, &a.health
	keys := map[string]func([]string) error{
		"to":              one(&a.to, parseTarget),
		"name":            one(&w.Service, parseName),
		"service":         one(&w.Service, parseName),
		"host":            many(&w.Hosts, parseHost),
		"hosts":           many(&w.Hosts, parseHost),
		"path":            many(&w.Paths, parsePath),
		"paths":           many(&w.Paths, parsePath),
		"strip-prefix":    one(&a.strip, parseBool),
		"weight":          one(&w.Weight, parseWeight),
		"balance":         one(&w.Balance, parseOptionalBalance),
		"concurrency":     one(&w.Concurrency, parseConcurrency),
		"health":          one(&h.Health, parseHealth),
		"health-interval": one(&h.Interval, parseAbove0),
		"health-timeout":  one(&h.Timeout, parseAbove0),
		"health-down":     one(&h.Down, parsePositive),
		"health-up":       one(&h.Up, parsePositive),

		"listen-port":      one(new(int), parsePort), // the router's is the one that counts
		"application-port": one(&a.port, parseAppPort),
		"protocol":         one(&a.protocol, parseProtocol),
		"domain":           many(&w.Hosts, parseHost), // its older spelling
		"domains":          many(&w.Hosts, parseHost),
	}
	a.sticky.keys(keys)
	return keys
}

func one[T any](to *T, parse func(string) (T, error)) func([]string) error {
	return func(texts []string) (err error) {
		if len(texts) != 1 {
			return errors.New("want one value, no list")
		}
		if *to, err = parse(texts[0]); err != nil {
			return fmt.Errorf("invalid value %q: %w", texts[0], err)
		}
		return nil
	}
}

func many[T any](to *[]T, parse func(string) (T, error)) func([]string) error {
	return func(texts []string) error {
		if len(texts) == 0 {
			return errors.New("want one value or more")
		}
		for _, text := range texts {
			v, err := parse(text)
			if err != nil {
				return fmt.Errorf("invalid value %q: %w", text, err)
			}
			*to = append(*to, v)
		}
		return nil
	}
}

func parseAppPort(s string) (string, error) {
	if n, err := parsePort(s); err != nil || n == 0 {
		return "", errors.New("want a number from 1 to 65535")
	}
	return s, nil
}

func parseProtocol(s string) (string, error) {
	if s != "http" && s != "h2c" {
		return "", errors.New("want http, or h2c")
	}
	return s, nil
}

// settle says where the app is, and what is missing.
func (a *announced) settle(seen map[string]bool) error {
	scheme := a.protocol
	if scheme == "" {
		scheme = "http"
	}
	switch {
	case a.to != "" && a.port != "":
		return errors.New(`"to" and "application-port" say the same thing; keep one of them`)
	case a.to != "" && a.protocol != "":
		return errors.New(`"protocol" goes with "application-port"; "to" says it in its URL`)
	case a.to == "" && a.port == "":
		return errors.New(`where does the app listen? want "to", as in "to": "http://127.0.0.1:3000", or "application-port"`)
	case a.port != "":
		a.to = scheme + "://" + net.JoinHostPort("127.0.0.1", a.port)
	}
	switch {
	case seen["name"] && seen["service"]:
		return errors.New(`"name" and "service" say the same thing; keep one of them`)
	case a.port != "" && len(a.worker.Hosts) == 0:
		return errors.New(`want one of "domains" or more`)
	case a.strip && len(a.worker.Paths) == 0:
		return errors.New(`"strip-prefix" is there, but no "path"; give the prefix there`)
	}
	var err error
	a.worker.Sticky, err = a.sticky.policy(func(name string) bool { return seen[name] }, strconv.Quote)
	return err
}

// nameOf makes a worker's name of what all names of a process begin with and the file's name: another one for each file. One that may not
// stand in it, or is too long, has what tells it from others at its end.
func nameOf(process, file string) string {
	room := maxName - len(process) - len("-")
	if !router.ValidName(file) || len(file) > room || strings.Contains(file, apart) {
		sum := sha256.Sum256([]byte(file))
		digest := apart + hex.EncodeToString(sum[:8])
		clean := strings.Map(func(c rune) rune {
			if c >= 0x80 || !router.ValidName(string(c)) {
				return '-'
			}
			return c
		}, file)
		file = clean[:min(len(clean), room-len(digest))] + digest
	}
	return process + "-" + file
}

const (
	maxName    = 128
	maxProcess = 109 // leaves room for a digest
	apart      = ".."
)
