package router

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// Grant is what workers that show one token may announce. A list that is empty
// allows all.
type Grant struct {
	Token    string   // at most 255 bytes
	Services []string // names
	Hosts    []string // names, or *.name: all below it, wildcards too
	Paths    []string // prefixes: all below them
}

// grant is a Grant in the form that claims are compared with.
type grant struct {
	proof    [sha256.Size]byte // of the token
	services []string
	hosts    []string // as routes have them; empty: all
	paths    []string
	raw      Grant
}

// SetGrants puts others in the place of Config.Grants. A worker that may not
// announce what it has announced any more gets no more requests; those that were refused are
// hung up on, so that they dial in again, or asked once more if they serve what they announced before.
func (r *Router) SetGrants(grants []Grant) error {
	set, err := readGrants(grants)
	if err != nil {
		return err
	}
	r.grants.Store(&set)
	for _, p := range r.pool.snapshot() {
		claim, now, refused := r.pool.claimOf(p)
		switch {
		case refused:
			_ = p.conn.Close()
		case claim == nil:
		default:
			r.judgeAnew(p, claim, now)
		}
		if r.pool.denied(p) {
			p.welcome("")
		}
	}
	return nil
}

// judgeAnew holds a worker that has joined against the grants as they are now. What it
// left out, they say.
func (r *Router) judgeAnew(p *peer, said *claim, now frame.JoinInfo) {
	info := said.info
	why := r.allow(&info, said.proof)
	if why == "" && info.Service == now.Service && slices.Equal(info.Hosts, now.Hosts) && slices.Equal(info.Paths, now.Paths) {
		return
	}
	var at []place
	if why == "" {
		at, _, why = r.judge(&info)
	}
	if why != "" {
		p.park(http2.ErrCodeInadequateSecurity, why, false)
		return
	}
	if err := r.enroll(p, info, at); errors.Is(err, errTooManyRoutes) {
		p.park(http2.ErrCodeEnhanceYourCalm, err.Error(), false)
	}
}

// claim is what a worker announced itself, before what its token allows was put
// in for what it left out.
type claim struct {
	info  frame.JoinInfo // without the token
	proof [sha256.Size]byte
}

func proofOf(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

func readGrants(grants []Grant) (set []grant, err error) {
	for _, g := range grants {
		if g.Token == "" || len(g.Token) > 255 {
			return nil, fmt.Errorf("a token has %d bytes; 1 to 255 fit a PLAIN password", len(g.Token))
		}
		one := grant{proof: proofOf(g.Token), services: g.Services, raw: g}
		for _, name := range g.Services {
			if !ValidName(name) {
				return nil, fmt.Errorf("the service %.140q: 1 to 128 letters, digits, '.', '_' and '-' make one", name)
			}
		}
		at, err := places(g.Hosts, nil)
		if err != nil {
			return nil, err
		}
		for _, a := range at {
			one.hosts = append(one.hosts, a.host)
		}
		if at, err = places(nil, g.Paths); err != nil {
			return nil, err
		}
		for _, a := range at {
			one.paths = append(one.paths, a.path)
		}
		set = append(set, one)
	}
	return set, nil
}

// allow says why a worker with this token may not announce what it does, or
// puts in what the token allows for what it left out.
func (r *Router) allow(info *frame.JoinInfo, proof [sha256.Size]byte) (why string) {
	set := *r.grants.Load()
	if len(set) == 0 {
		return ""
	}
	var found *grant
	for i := range set { // all of them: how long it takes tells nothing
		if subtle.ConstantTimeCompare(set[i].proof[:], proof[:]) == 1 {
			found = &set[i]
		}
	}
	if found == nil {
		return "the token is missing or wrong: set one that the router was given"
	}
	if info.Service == "" && len(found.services) == 1 {
		info.Service = found.services[0]
	}
	if len(info.Hosts) == 0 {
		info.Hosts = found.raw.Hosts
	}
	if len(info.Paths) == 0 {
		info.Paths = found.raw.Paths
	}
	if len(found.services) > 0 && !slices.Contains(found.services, info.Service) {
		return beyond("service", info.Service, found.services)
	}
	at, err := places(info.Hosts, info.Paths)
	if err != nil {
		return "" // which is said of anybody
	}
	for _, a := range at {
		if !slices.ContainsFunc(found.hosts, func(host string) bool { return coversHost(host, a.host) }) {
			return beyond("host", cmp.Or(a.host, "*"), found.raw.Hosts)
		}
		if !slices.ContainsFunc(found.paths, func(path string) bool { return coversPath(path, a.path) }) {
			return beyond("path", cmp.Or(a.path, "/"), found.raw.Paths)
		}
	}
	return ""
}

// beyond says what is announced and not allowed, and what to do.
func beyond(kind, announced string, allowed []string) string {
	remedy := fmt.Sprintf("add %s=%.140s to its token's line, or do not announce it", kind, announced)
	if announced == "" {
		remedy = "announce one of these"
	}
	return fmt.Sprintf("the %s %.140q is not its token's, which is for %s: %s", kind, announced, strings.Join(allowed, ", "), remedy)
}

// coversHost tells whether what is announced lies within what is allowed.
func coversHost(allowed, host string) bool {
	if suffix, wild := strings.CutPrefix(allowed, "*"); wild {
		return host == allowed || strings.HasSuffix(host, suffix)
	}
	return allowed == "" || host == allowed
}

func coversPath(allowed, path string) bool {
	rest, below := strings.CutPrefix(path, allowed)
	return below && (rest == "" || rest[0] == '/')
}

// ParseGrants reads a token file: for each line a token, and what it may
// announce, as in
//
//	s3cret service=shop,blog host=shop.example.com,*.shop.test path=/api/
//
// What is left out is not limited. A # at the beginning of a word ends its line. The error names the line.
func ParseGrants(text []byte) (grants []Grant, err error) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words := strings.Fields(string(line))
		if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
			words = words[:i]
		}
		if len(words) == 0 {
			continue
		}
		g := Grant{Token: words[0]}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			list, known := map[string]*[]string{"service": &g.Services, "host": &g.Hosts, "path": &g.Paths}[key]
			if !known || value == "" {
				return nil, fmt.Errorf("line %d: %.40q behind the token: service=NAME, host=NAME or path=/PREFIX is right, several values with commas between them", n, word)
			}
			*list = append(*list, strings.Split(value, ",")...)
		}
		if slices.ContainsFunc(grants, func(other Grant) bool { return other.Token == g.Token }) {
			return nil, fmt.Errorf("line %d: its token stands on a line before; put all that it is for on one", n)
		}
		if _, err := readGrants([]Grant{g}); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		grants = append(grants, g)
	}
	return grants, nil
}
