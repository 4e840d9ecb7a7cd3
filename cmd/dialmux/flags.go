package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// settings is what the flags of a command say.
type settings struct {
	listen    string
	number    int // of the port, instead of listen
	cert, key string
	port      router.Port
	admin     string // empty: off
	tokenFile string
	router    router.Config
	log       logging
}

// flags are those that router and demo share. They log from level on unless
// told otherwise.
func (s *settings) flags(level string) []cli.Flag {
	c, p := &s.router, &s.port
	return []cli.Flag{
		flag("listen", "serve HTTP at this `ADDRESS`, host:port or :port", &s.listen, ":9000", parseAddress),
		alias("p", flag("port", "serve HTTP on this `PORT`: -p 9000 is --listen :9000", &s.number, 0, parsePort)),
		flag("tls-cert", "serve HTTPS with the certificates in this `FILE`, PEM, the server's own first", &s.cert, "", anything),
		flag("tls-key", "take the certificate's private key from this `FILE`, PEM", &s.key, "", anything),
		flag("head-timeout", "let a request's head take this `DURATION`, then answer 408; 0: any", &p.HeadTimeout, router.DefaultHeadTimeout, parseDuration),
		flag("idle-timeout", "keep a connection without a request for this `DURATION`; 0: for ever", &p.IdleTimeout, router.DefaultIdleTimeout, parseDuration),
		flag("body-timeout", "let a request's body pause for this `DURATION`, then answer 408; 0: any", &p.BodyTimeout, router.DefaultBodyTimeout, parseDuration),
		flag("write-timeout", "let a client take nothing of an answer for this `DURATION`, then reset its connection; 0: any", &p.WriteTimeout, router.DefaultWriteTimeout, parseDuration),
		list("workers", "let workers dial in at this `ENDPOINT`: tcp://host:port, tcp://*:port or ipc:///path (may be repeated)",
			&c.Workers, []string{router.DefaultWorkers}, parseEndpoint),
		flag("admin", "serve /healthz, /readyz, /workers and /streams at this `ADDRESS`; empty: nowhere", &s.admin, "127.0.0.1:9901", parseAdmin),
		flag("token", "let only workers join that show this `TOKEN` (others can read a command line: --token-file is safer)", &c.Token, "", anything),
		flag("token-file", "take the token from the first line of this `FILE`", &s.tokenFile, "", anything),
		flag("insecure-workers", "open worker ports beyond loopback without a token: who reaches them gets requests", &c.InsecureWorkers, false, parseBool),
		flag("queue-limit", "let this `NUMBER` of requests wait for a worker; 0: none", &c.QueueLimit, router.DefaultQueueLimit, parseCount),
		flag("queue-wait", "let each wait for this `DURATION`, then answer 503", &c.QueueWait, router.DefaultQueueWait, parseWait),
		flag("drain", "let requests go on for this `DURATION` after SIGTERM", &c.Drain, router.DefaultDrain, parseDuration),
		flag("hide-worker", "leave the Dialmux-Worker field out of responses", &c.HideWorker, false, parseBool),
		list("trusted-proxies", "believe the X-Forwarded-* fields of these clients, each an address or a `CIDR` (may be repeated; default: nobody's)",
			&c.TrustedProxies, nil, parsePrefix),
		flag("log-level", "log lines of this `LEVEL` and above: debug, info, warn, error", &s.log.level, level, parseLevel),
		flag("log-format", "log in this `FORMAT`: text, json, or auto (text on a terminal, else json)", &s.log.format, "auto", parseFormat),
	}
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
		token, err := readToken(s.tokenFile)
		if err != nil {
			return err
		}
		s.router.Token = token
	}
	for _, limit := range []*time.Duration{&s.port.HeadTimeout, &s.port.IdleTimeout, &s.port.BodyTimeout, &s.port.WriteTimeout} {
		if *limit == 0 {
			*limit = -1 // none, in a router.Port
		}
	}
	if err := s.loadCertificate(); err != nil {
		return err
	}
	if s.router.QueueLimit == 0 {
		s.router.QueueLimit = -1 // none waits, in a router.Config
	}
	if s.router.Drain == 0 {
		s.router.Drain = -1
	}
	return nil
}

func (s *settings) loadCertificate() error {
	switch {
	case s.cert == "" && s.key == "":
		return nil
	case s.cert == "":
		return fmt.Errorf("--tls-key (%s) is there, but no --tls-cert (%s); give both", twin("tls-key"), twin("tls-cert"))
	case s.key == "":
		return fmt.Errorf("--tls-cert (%s) is there, but no --tls-key (%s); give both", twin("tls-cert"), twin("tls-key"))
	}
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return fmt.Errorf("--tls-cert %s, --tls-key %s: %w; give two PEM files that belong together", s.cert, s.key, err)
	}
	s.port.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return nil
}

func readToken(file string) (string, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("--token-file: %w; name a file that this user may read", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("--token-file: the first line of %s is empty; write the token there", file)
	}
	return line, nil
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
