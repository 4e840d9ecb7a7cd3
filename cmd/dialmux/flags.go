package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// settings is what the flags of a command say.
type settings struct {
	listen    string
	number    int // of the port, instead of listen
	tls       tlsFiles
	certs     *certificates // nil: no TLS
	redirect  string        // empty: nowhere
	port      router.Port
	admin     string // empty: off
	insecure  bool   // admin may be reached from other machines
	tokenFile string
	tokens    *tokens // of it; nil: there is none
	sticky    sticking
	secrets   string // the file with those of sticky cookies
	router    router.Config
	log       logging
	inherited inherited
}

// tlsFiles are named by flags.
type tlsFiles struct{ certs, keys, authorities []string }

// flags are those that router and demo share. They log from level on unless
// told otherwise.
func (s *settings) flags(level string) []cli.Flag {
	c, p := &s.router, &s.port
	flags := []cli.Flag{
		flag("listen", "serve HTTP at this `ADDRESS`, host:port or :port", &s.listen, ":9000", parseAddress),
		alias("p", flag("port", "serve HTTP on this `PORT`: -p 9000 is --listen :9000", &s.number, 0, parsePort)),
		list("tls-cert", "serve HTTPS with the certificates in this `FILE`, PEM, the server's own first (may be repeated: clients choose by name, and get the first if none is theirs; read again when it changes)",
			&s.tls.certs, nil, parseFile),
		list("tls-key", "take the certificate's private key from this `FILE`, PEM (one for each --tls-cert, in the same order)", &s.tls.keys, nil, parseFile),
		list("client-ca", "let only clients in whose certificates are signed by one in this `FILE`, PEM; their subject reaches workers as X-Client-Cert-Subject (may be repeated)",
			&s.tls.authorities, nil, parseFile),
		flag("redirect-http", "answer HTTP at this `ADDRESS` with 308 to HTTPS; empty: nowhere", &s.redirect, "", parseAdmin),
		list("proxy-protocol", "want a PROXY protocol header, version 1 or 2, at the start of connections from these proxies, each an address or a `CIDR` (may be repeated; default: from nobody)",
			&p.ProxyProtocol, nil, parsePrefix),
		flag("max-connections", "let this `NUMBER` of connections be open, then answer 503 (over TLS: just close); 0: any", &p.MaxConnections, router.DefaultMaxConnections, parseCount),
		flag("max-connections-per-address", "let this `NUMBER` of them come from one address, an IPv6 /64 counting as one, and trusted proxies not at all; 0: any (default: 0)",
			&p.MaxConnectionsPerAddress, 0, parseCount),
		flag("max-requests", "let this `NUMBER` of requests run or wait at once, then answer 503; 0: any", &c.MaxRequests, router.DefaultMaxRequests, parseCount),
		flag("max-memory", "let bodies that wait for slow clients, or are gathered for REP workers, take this number of `BYTES` in all beyond 68KiB each, then break off the slowest, or answer 503", &c.MaxMemory, router.DefaultMaxMemory, parseMemory),
		flag("max-header", "let a request's head have this number of `BYTES`, at most 64KiB, then answer 431", &p.MaxHeader, router.DefaultMaxHeader, parseHeadSize),
		flag("max-target", "let a request's target have this number of `BYTES`, then answer 414", &p.MaxTarget, router.DefaultMaxTarget, parseHeadSize),
		flag("max-body", "let a request's body have this number of `BYTES`, then answer 413; 0: any (default: 0)", &p.MaxBody, 0, parseSize),
		flag("head-timeout", "let a request's head take this `DURATION`, then answer 408; 0: any", &p.HeadTimeout, router.DefaultHeadTimeout, parseDuration),
		flag("idle-timeout", "keep a connection without a request for this `DURATION`; 0: for ever", &p.IdleTimeout, router.DefaultIdleTimeout, parseDuration),
		flag("body-timeout", "let a request's body pause for this `DURATION`, then answer 408; 0: any", &p.BodyTimeout, router.DefaultBodyTimeout, parseDuration),
		flag("write-timeout", "let a client take nothing of an answer for this `DURATION`, then reset its connection; 0: any", &p.WriteTimeout, router.DefaultWriteTimeout, parseDuration),
		flag("response-timeout", "let a worker take this `DURATION` to begin its answer, then answer 504; 0: any", &c.ResponseTimeout, router.DefaultResponseTimeout, parseDuration),
		flag("request-timeout", "let a whole request take this `DURATION`, then answer 504; clients may ask for less by Request-Timeout or grpc-timeout; 0: any (default: 0)", &c.RequestTimeout, 0, parseDuration),
		list("upgrade", "let clients upgrade to this protocol `NAME` (may be repeated; empty: to none)", &c.Upgrades, []string{"websocket"}, anything),
		list("workers", "let workers dial in at this `ENDPOINT`: tcp://host:port, tcp://*:port or ipc:///path (may be repeated)",
			&c.Workers, []string{router.DefaultWorkers}, parseEndpoint),
		flag("max-workers", "let the worker port have this `NUMBER` of connections; 0: any", &c.MaxWorkers, router.DefaultMaxWorkers, parseCount),
		flag("max-workers-per-address", "let this `NUMBER` of them come from one address, an IPv6 /64 counting as one; 0: any (default: 0)", &c.MaxWorkersPerAddress, 0, parseCount),
		flag("admin", "serve /healthz, /readyz, /workers, /streams, /services, /owner, /ring and /runtime at this `ADDRESS`; empty: nowhere", &s.admin, "127.0.0.1:9901", parseAdmin),
		flag("insecure-admin", "open the admin port beyond loopback: who reaches it can read the names of workers and the paths that are asked for", &s.insecure, false, parseBool),
		flag("token", "let only workers join that show this `TOKEN` (others can read a command line: --token-file is safer)", &c.Token, "", anything),
		flag("token-file", "take tokens from this `FILE`: for each line one, and perhaps what workers that show it may announce, as in TOKEN service=shop host=*.shop.test path=/api/ (read again when it changes)", &s.tokenFile, "", anything),
		flag("insecure-workers", "open worker ports beyond loopback without a token: who reaches them gets requests", &c.InsecureWorkers, false, parseBool),
		flag("queue-limit", "let this `NUMBER` of requests wait for a worker; 0: none", &c.QueueLimit, router.DefaultQueueLimit, parseCount),
		flag("queue-wait", "let each wait for this `DURATION`, then answer 503", &c.QueueWait, router.DefaultQueueWait, parseWait),
		flag("balance", "choose among ready workers by this `POLICY`, where they announce none: round-robin, or least (the fewest requests against their weight)", &c.Balance, router.RoundRobin, parseBalance),
		flag("slow-start", "give a worker that has just joined less than its share for this `DURATION`; 0: at once (default: 0)", &c.SlowStart, 0, parseDuration),
		flag("max-failures", "let this `NUMBER` of a worker's answers fail in a row (reset, never begun, nonsense), then set it aside for a second and longer, if others are there; 0: any", &c.MaxFailures, router.DefaultMaxFailures, parseCount),
		flag("forget", "keep what workers have announced for this `DURATION` after the last of them went: until then requests for it wait, and get 503; then 404", &c.Forget, router.DefaultForget, parseForget),
		flag("drain", "let requests go on for this `DURATION` after SIGTERM", &c.Drain, router.DefaultDrain, parseDuration),
		flag("hide-worker", "leave the Dialmux-Worker and Dialmux-Router fields out of responses", &c.HideWorker, false, parseBool),
		flag("sticky-secret", "sign the cookies of --sticky-issue with the first line of this `FILE`, and accept those signed with any of its lines, each of 16 bytes or more; the same file for all routers (default: a secret that ends with this process)",
			&s.secrets, "", parseFile),
		flag("compat-ringpop-headers", "say what Dialmux-Worker and Dialmux-Router do in X-Ringpop-Handled-By and X-Ringpop-Received-By, too", &c.RingpopHeaders, false, parseBool),
		list("trusted-proxies", "believe what these clients say of theirs in Forwarded, X-Forwarded-* and X-Client-Cert-Subject, each an address or a `CIDR` (may be repeated; default: nobody's)",
			&c.TrustedProxies, nil, parsePrefix),
		flag("log-level", "log lines of this `LEVEL` and above: debug, info, warn, error", &s.log.level, level, parseLevel),
		flag("log-format", "log in this `FORMAT`: text, json, or auto (text on a terminal, else json)", &s.log.format, "auto", parseFormat),
	}
	at := slices.IndexFunc(flags, func(f cli.Flag) bool { return f.Names()[0] == "slow-start" })
	return slices.Insert(flags, at, s.sticky.flags("keep each client on one worker, by what this `POLICY` says of requests, where workers announce none: "+stickyPolicies+"; or off", frame.Sticky{By: "off"})...)
}

// finish settles what several flags say about one thing.
func (s *settings) finish(cmd *cli.Command) error {
	switch {
	case cmd.IsSet("port") && cmd.IsSet("listen"):
		return both("port", "listen")
	case cmd.IsSet("port"):
		s.listen = ":" + strconv.Itoa(s.number)
	}
	switch {
	case s.tokenFile != "" && s.router.Token != "":
		return both("token-file", "token")
	case s.tokenFile != "":
		s.tokens = newTokens(s.tokenFile)
		if _, err := s.tokens.source.read(); err != nil {
			return err
		}
		s.router.Grants = s.tokens.grants
	}
	p, c := &s.port, &s.router
	for _, limit := range []*time.Duration{&p.HeadTimeout, &p.IdleTimeout, &p.BodyTimeout, &p.WriteTimeout, &c.ResponseTimeout, &c.Drain} {
		noLimit(limit)
	}
	for _, limit := range []*int{&p.MaxConnections, &c.MaxRequests, &c.MaxWorkers, &c.QueueLimit, &c.MaxFailures} {
		noLimit(limit)
	}
	if len(c.Upgrades) == 1 && c.Upgrades[0] == "" {
		c.Upgrades = []string{} // none, in a router.Config
	}
	if err := s.stick(cmd); err != nil {
		return err
	}
	return s.loadCertificates()
}

// stick settles what keeps clients on workers.
func (s *settings) stick(cmd *cli.Command) (err error) {
	if s.router.Sticky, err = s.sticky.policy(cmd.IsSet, dashedTwin); err != nil || s.secrets == "" {
		return err
	}
	s.router.StickySecrets, err = readSecrets(s.secrets)
	return err
}

// noLimit makes 0 what it is in a router.Port or a router.Config.
func noLimit[T int | time.Duration](limit *T) {
	if *limit == 0 {
		*limit = -1
	}
}

func (s *settings) loadCertificates() (err error) {
	f := &s.tls
	switch {
	case len(f.certs) == 0 && len(f.keys) == 0 && len(f.authorities) > 0:
		return needsTLS("client-ca")
	case len(f.certs) == 0 && len(f.keys) == 0 && s.redirect != "":
		return needsTLS("redirect-http")
	case len(f.certs) == 0 && len(f.keys) == 0:
		return nil
	case len(f.certs) == 0:
		return fmt.Errorf("--tls-key (%s) is there, but no --tls-cert (%s); give both", twin("tls-key"), twin("tls-cert"))
	case len(f.keys) == 0:
		return fmt.Errorf("--tls-cert (%s) is there, but no --tls-key (%s); give both", twin("tls-cert"), twin("tls-key"))
	case len(f.certs) != len(f.keys):
		return fmt.Errorf("--tls-cert (%s) is there %d times, and --tls-key (%s) %d times; give a key for each certificate, in the same order",
			twin("tls-cert"), len(f.certs), twin("tls-key"), len(f.keys))
	}
	if s.certs, err = loadCertificates(f.certs, f.keys, f.authorities); err == nil {
		s.port.TLS = s.certs.config()
	}
	return err
}

func needsTLS(name string) error {
	return fmt.Errorf("--%s (%s) is there, but no --tls-cert (%s); give that and --tls-key", name, twin(name), twin("tls-cert"))
}

// What flags take. An error says what would be right; which flag has which
// value stands before it.

func anything(s string) (string, error) { return s, nil }

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, errors.New("want true or false")
	}
	return b, nil
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, errors.New("want a number from 0 up")
	}
	return n, nil
}

// parseSize takes 65536 and 64KiB.
func parseSize(s string) (int64, error) {
	digits, unit := strings.TrimSuffix(s, "B"), 0
	if digits != s {
		digits, unit = strings.TrimSuffix(digits, "i"), -1
		for i, prefix := range []string{"K", "M", "G", "T"} {
			if rest, ok := strings.CutSuffix(digits, prefix); ok {
				digits, unit = rest, 10*(i+1)
			}
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || unit < 0 || n > math.MaxInt64>>unit {
		return 0, errors.New("want a number of bytes, as in 65536, 64KiB or 1GiB")
	}
	return int64(n) << unit, nil
}

func parseMemory(s string) (int64, error) {
	n, err := parseSize(s)
	if err == nil && n < router.MaxGather {
		err = errors.New("want 8MiB or more: what one REP worker may get or answer")
	}
	return n, err
}

func parseHeadSize(s string) (int, error) {
	n, err := parseSize(s)
	if err == nil && (n == 0 || n > router.DefaultMaxHeader) {
		err = errors.New("want 1 to 65536 bytes: that is what goes to a worker in one piece")
	}
	return int(n), err
}

func parseFile(s string) (string, error) {
	if s == "" {
		return "", errors.New("want the name of a file")
	}
	return s, nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errors.New("want a number from 0 to 65535, 0 for any free port")
	}
	return int(n), nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errors.New("want a duration such as 500ms, 30s or 1m30s")
	}
	return d, nil
}

func parseBalance(s string) (router.Balance, error) {
	if b := router.Balance(s); b == router.RoundRobin || b == router.Least {
		return b, nil
	}
	return "", errors.New("want round-robin or least")
}

func parseOptionalBalance(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	b, err := parseBalance(s)
	return string(b), err
}

func parseForget(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d == 0 {
		err = errors.New("want a duration above 0, such as 10m")
	}
	return d, err
}

func parseWait(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d == 0 {
		err = errors.New("want a duration above 0; --queue-limit 0 lets nobody wait")
	}
	return d, err
}

func parseAddress(s string) (string, error) {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = parsePort(port)
	}
	if err != nil {
		return "", errors.New("want host:port or :port, as in 127.0.0.1:9000")
	}
	return s, nil
}

func parseAdmin(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parseAddress(s)
}

func parseEndpoint(s string) (string, error) {
	if _, err := zmtp.IsLoopback(s); err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "zmtp: "))
	}
	return s, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, errors.New("want an address or a CIDR, as in 10.0.0.0/8")
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
