package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// certificates are what TLS is served with. They come from files, which are
// read again when they change: what cannot be used leaves the old ones in
// place. Connections that are open keep what they began with.
type certificates struct {
	sources []*source
	pairs   []tls.Certificate // in the order of the flags
	clients *x509.CertPool    // who signs clients' certificates; nil: clients need none
	now     atomic.Pointer[tls.Config]
}

// loadCertificates reads a key for each certificate, and the authorities of
// clients. The error says which files are wrong.
func loadCertificates(certs, keys, authorities []string) (*certificates, error) {
	c := &certificates{pairs: make([]tls.Certificate, len(certs))}
	for i, cert := range certs {
		c.sources = append(c.sources, &source{
			files: []string{cert, keys[i]},
			flags: fmt.Sprintf("--tls-cert %s, --tls-key %s", cert, keys[i]), remedy: "give two PEM files that belong together",
			take: func(texts [][]byte) error {
				pair, err := tls.X509KeyPair(texts[0], texts[1])
				if err == nil {
					c.pairs[i] = pair
				}
				return err
			},
		})
	}
	if len(authorities) > 0 {
		c.sources = append(c.sources, &source{
			files: authorities,
			flags: "--client-ca " + strings.Join(authorities, ","), remedy: "give PEM files of certificates",
			take: func(texts [][]byte) error {
				pool, err := readPool(texts)
				if err == nil {
					c.clients = pool
				}
				return err
			},
		})
	}
	for _, s := range c.sources {
		if _, err := s.read(); err != nil {
			return nil, err
		}
	}
	c.publish()
	return c, nil
}

// source is files that are of use together only.
type source struct {
	files         []string
	flags, remedy string                     // for errors
	take          func(texts [][]byte) error // an error leaves things as they are
	seen          [sha256.Size]byte          // of what was last taken, or refused
}

// read takes what the files hold if that has changed. It compares all of it:
// the times of files that are written while they are read tell too little.
func (s *source) read() (changed bool, err error) {
	sum := sha256.New()
	texts := make([][]byte, len(s.files))
	var missing error
	for i, file := range s.files {
		text, err := readRegular(file)
		if err != nil && missing == nil {
			missing = err
		}
		texts[i] = text
		_, _ = fmt.Fprintln(sum, len(text), err) // a hash takes anything
		_, _ = sum.Write(text)
	}
	now := [sha256.Size]byte(sum.Sum(nil))
	if now == s.seen {
		return false, nil
	}
	s.seen = now
	err = missing
	if err == nil {
		err = s.take(texts)
	}
	if err != nil {
		return true, fmt.Errorf("%s: %w; %s", s.flags, err, s.remedy)
	}
	return true, nil
}

// readRegular reads no pipe, which might give nothing for ever.
func readRegular(file string) ([]byte, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, fmt.Errorf("%s is no regular file", file)
	}
	return os.ReadFile(file) //nolint:gosec // the operator names it
}

// readPool wants certificates and nothing else: half a file is none.
func readPool(texts [][]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, text := range texts {
		left := bytes.Count(text, []byte("-----BEGIN")) // a block that is damaged is passed over
		if left == 0 {
			return nil, errors.New("there is none in it")
		}
		for ; left > 0; left-- {
			block, rest := pem.Decode(text)
			if block == nil {
				return nil, errors.New("one is broken off or damaged")
			}
			text = rest
			if block.Type != "CERTIFICATE" {
				return nil, fmt.Errorf("there is a %s in it", block.Type)
			}
			one, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			pool.AddCert(one)
		}
	}
	return pool, nil
}

// publish makes the next handshakes use what is there now.
func (c *certificates) publish() {
	pairs := slices.Clone(c.pairs)
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return choose(pairs, hello), nil },
	}
	if c.clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, c.clients
	}
	c.now.Store(config)
}

// config is for all connections to come.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.now.Load(), nil },
	}
}

// choose picks by the name that the client asks for: one that says exactly this
// name, else one with a wildcard, else the first; each time among those whose
// kind of key the client knows.
func choose(pairs []tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	name := strings.ToLower(hello.ServerName)
	_, parent, _ := strings.Cut(name, ".")
	nameless := *hello
	nameless.ServerName = ""
	for _, wanted := range []string{name, "*." + parent, ""} {
		for i := range pairs {
			if (wanted == "" || isFor(&pairs[i], wanted)) && nameless.SupportsCertificate(&pairs[i]) == nil {
				return &pairs[i]
			}
		}
	}
	return &pairs[0] // the handshake fails, and says why
}

func isFor(pair *tls.Certificate, name string) bool {
	return slices.ContainsFunc(pair.Leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, name) })
}

// lookAgain is how often files are looked at.
const lookAgain = 500 * time.Millisecond

// watch reads files again until ctx ends.
func (c *certificates) watch(ctx context.Context, log *slog.Logger) {
	c.checkDates(log)
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.refresh(log)
		case <-ctx.Done():
			return
		}
	}
}

// refresh says once of each change what became of it.
func (c *certificates) refresh(log *slog.Logger) {
	taken := false
	for _, s := range c.sources {
		switch changed, err := s.read(); {
		case err != nil:
			log.Warn("changed certificate files are of no use; the old ones go on", "err", err)
		case changed:
			log.Info("certificates read again", "files", s.files)
			taken = true
		}
	}
	if taken {
		c.publish()
		c.checkDates(log)
	}
}

// checkDates warns of certificates that clients will not accept.
func (c *certificates) checkDates(log *slog.Logger) {
	for i := range c.pairs {
		leaf := c.pairs[i].Leaf
		switch now := time.Now(); {
		case now.After(leaf.NotAfter):
			log.Warn("a certificate has expired", "file", c.sources[i].files[0], "expired", leaf.NotAfter)
		case now.Before(leaf.NotBefore):
			log.Warn("a certificate is not valid yet", "file", c.sources[i].files[0], "valid_from", leaf.NotBefore)
		}
	}
}
