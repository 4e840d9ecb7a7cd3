package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// sticking is what flags, or an app's file, say of one client's worker: a policy, and
// what they want otherwise than its text has it.
type sticking struct {
	by       frame.Sticky
	fallback string
	bound    float64
	wait     time.Duration
	issue    bool
}

// flags are those of the router and of workers. usage is what --sticky does there.
func (k *sticking) flags(usage string, def frame.Sticky) []cli.Flag {
	return []cli.Flag{
		flag("sticky", usage, &k.by, def, frame.ParseSticky),
		flag("sticky-fallback", "for requests without that key, take the client's address, or let them take turns: this `WAY`, ip or round-robin", &k.fallback, stickyByIP, parseStickyFallback),
		flag("sticky-bound", "let a key's owner have this `NUMBER` of times the mean of requests at once, as 1.25, and give the next in the key's list what is more; 0: any, and they wait for it (default: 0)",
			&k.bound, 0, parseStickyBound),
		flag("sticky-wait", "let keys of a worker that is lost wait for it for this `DURATION` before they move", &k.wait, 0, parseStickyWait),
		flag("sticky-issue", "give clients the cookie of cookie:NAME that show none, signed", &k.issue, false, parseBool),
	}
}

const (
	// stickyPolicies are what --sticky takes.
	stickyPolicies = "ip, header:NAME, cookie:NAME, query:NAME, path or path:SEGMENTS (options may follow: cookie:sid; issue; wait=2s)"

	stickyByIP  = "ip"
	stickyTurns = "round-robin"
)

// keys are what an app's file may say of it.
func (k *sticking) keys(into map[string]func([]string) error) {
	into["sticky"] = one(&k.by, frame.ParseSticky)
	into["sticky-fallback"] = one(&k.fallback, parseStickyFallback)
	into["sticky-bound"] = one(&k.bound, parseStickyBound)
	into["sticky-wait"] = one(&k.wait, parseStickyWait)
	into["sticky-issue"] = one(&k.issue, parseBool)
}

// policy is the text of it all. What stands for itself outranks what stands in
// --sticky. called is how the user calls what has a name.
func (k *sticking) policy(said func(name string) bool, called func(name string) string) (string, error) {
	by := k.by
	if said("sticky-issue") {
		by.Issue = k.issue
	}
	if by.Issue && by.By != "cookie" {
		return "", fmt.Errorf("%s is there, but no cookie in %s; say cookie:NAME there", called("sticky-issue"), called("sticky"))
	}
	for _, o := range []struct {
		name string
		set  func()
	}{
		{"sticky-fallback", func() { by.Turns = k.fallback == stickyTurns }},
		{"sticky-bound", func() { by.Bound = k.bound }},
		{"sticky-wait", func() { by.Wait = k.wait }},
	} {
		switch {
		case !said(o.name):
			continue
		case by.By == "" || by.By == "off":
			return "", fmt.Errorf("%s is there, but no policy in %s; say there what the key is, such as ip or cookie:NAME", called(o.name), called("sticky"))
		}
		o.set()
	}
	return by.String(), nil
}

// dashedTwin is how a flag is called beside its twin.
func dashedTwin(name string) string { return fmt.Sprintf("--%s (%s)", name, twin(name)) }

func parseStickyFallback(s string) (string, error) {
	if s != stickyByIP && s != stickyTurns {
		return "", errors.New("want ip or round-robin")
	}
	return s, nil
}

func parseStickyBound(s string) (float64, error) {
	by, err := frame.ParseSticky("ip; bound=" + s)
	if err != nil || strings.Contains(s, ";") {
		return 0, errors.New("want 0 for any number, or 1 to 100 times the mean, such as 1.25")
	}
	return by.Bound, nil
}

func parseStickyWait(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d > frame.MaxStickyWait {
		err = fmt.Errorf("want at most %v", frame.MaxStickyWait)
	}
	return d, err
}

// readSecrets takes a secret from each line of a file. They are read once: who
// has a new one in front, and the old one behind it, restarts in peace.
func readSecrets(file string) (secrets []string, err error) {
	const remedy = "write one on each line, such as `openssl rand -base64 32` makes"
	text, err := readRegular(file)
	if err != nil {
		return nil, fmt.Errorf("--sticky-secret: %w; name a file that this user may read", err)
	}
	for i, line := range bytes.Split(text, []byte("\n")) {
		switch line = bytes.TrimSpace(line); {
		case len(line) == 0:
		case len(line) < router.MinStickySecret:
			return nil, fmt.Errorf("--sticky-secret: line %d of %s has %d bytes, and a secret has %d or more; %s", i+1, file, len(line), router.MinStickySecret, remedy)
		default:
			secrets = append(secrets, string(line))
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("--sticky-secret: there is no secret in %s; %s", file, remedy)
	}
	return secrets, nil
}
