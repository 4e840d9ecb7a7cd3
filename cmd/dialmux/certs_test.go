package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// folder is where a test has its files.
type folder struct {
	t   *testing.T
	dir string
}

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f folder) write(name string, text []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), text, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// identity is a certificate and its key, PEM.
type identity struct{ cert, key []byte }

func makeIdentity(t *testing.T, key crypto.Signer, name string, about x509.Certificate) identity {
	t.Helper()
	about.SerialNumber, about.Subject = big.NewInt(1), pkix.Name{CommonName: name}
	if about.NotAfter.IsZero() {
		about.NotBefore, about.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, &about, &about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})}
}

func ecdsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// put writes NAME-cert and NAME-key, and returns their paths.
func (f folder) put(name string, id identity) (cert, key string) {
	f.t.Helper()
	f.write(name+"-cert", id.cert)
	f.write(name+"-key", id.key)
	return f.path(name + "-cert"), f.path(name + "-key")
}

// served is the common name of the certificate that a client gets; "": the handshake failed.
func served(t *testing.T, c *certificates, client *tls.Config) string {
	t.Helper()
	state, err := shake(t, c.config(), client)
	if err != nil {
		return ""
	}
	return state.PeerCertificates[0].Subject.CommonName
}

func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	near, far := net.Pipe()
	var shaking sync.WaitGroup
	shaking.Go(func() {
		_ = tls.Server(far, server).HandshakeContext(t.Context())
		_, _ = io.Copy(io.Discard, far) // a pipe holds nothing
	})
	defer shaking.Wait()
	defer near.Close()
	client = client.Clone()
	client.InsecureSkipVerify = true
	nc := tls.Client(near, client)
	err := nc.HandshakeContext(t.Context())
	return nc.ConnectionState(), err
}

func TestCertificateIsChosenByName(t *testing.T) {
	f := folder{t, t.TempDir()}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var certs, keys []string
	for _, of := range []struct {
		name  string
		key   crypto.Signer
		names []string
	}{
		{"wild", ecdsaKey(t), []string{"*.example.com"}},
		{"exact", ecdsaKey(t), []string{"www.Example.com", "example.com"}},
		{"rsa", rsaKey, []string{"www.example.com"}},
		{"deep", ecdsaKey(t), []string{"*.a.example.com"}},
	} {
		cert, key := f.put(of.name, makeIdentity(t, of.key, of.name, x509.Certificate{DNSNames: of.names}))
		certs, keys = append(certs, cert), append(keys, key)
	}
	c, err := loadCertificates(certs, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	rsaOnly := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for name, want := range map[string]string{
		"": "wild", "other.example": "wild", "example.com": "exact", "www.example.com": "exact", "WWW.EXAMPLE.COM": "exact",
		"img.example.com": "wild", "x.a.example.com": "deep", "x.y.a.example.com": "wild", "com": "wild",
	} {
		if got := served(t, c, &tls.Config{ServerName: name}); got != want {
			t.Errorf("%q gets %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"www.example.com", "", "img.example.com"} {
		if got := served(t, c, &tls.Config{ServerName: name, MaxVersion: tls.VersionTLS12, CipherSuites: rsaOnly}); got != "rsa" {
			t.Errorf("%q gets %q without ECDSA, want rsa", name, got)
		}
	}
	if got := served(t, c, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); got != "" {
		t.Error("TLS 1.1 is spoken")
	}
}

// Files are looked at as often as one likes; what has not changed is not told again.
func TestCertificatesAreReadAgain(t *testing.T) {
	f := folder{t, t.TempDir()}
	one, two := makeIdentity(t, ecdsaKey(t), "one", x509.Certificate{}), makeIdentity(t, ecdsaKey(t), "two", x509.Certificate{})
	cert, key := f.put("a", one)
	c, err := loadCertificates([]string{cert}, []string{key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	step := func(what, name string, warnings, news int) {
		t.Helper()
		for range 3 {
			c.refresh(logger)
		}
		if got := served(t, c, &tls.Config{}); got != name {
			t.Errorf("%s: %q is served, want %q", what, got, name)
		}
		if w, n := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); w != warnings || n != news {
			t.Errorf("%s: %d warnings and %d news, want %d and %d:\n%s", what, w, n, warnings, news, log.String())
		}
		log.Reset()
	}
	step("nothing", "one", 0, 0)
	f.write("a-cert", two.cert)
	step("the certificate only", "one", 1, 0)
	f.write("a-key", two.key[:len(two.key)/2])
	step("half the key", "one", 1, 0)
	f.write("a-key", two.key)
	step("both", "two", 0, 1)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	step("removed", "two", 1, 0)
	f.write("new", two.cert)
	if err := os.Rename(f.path("new"), cert); err != nil {
		t.Fatal(err)
	}
	step("put back", "two", 0, 1)
	f.write("a-cert", nil)
	step("empty", "two", 1, 0)
	// As Kubernetes does it: a link to a folder is replaced.
	for dir, id := range map[string]identity{"v1": one, "v2": two} {
		if err := os.Mkdir(f.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		folder{t, f.path(dir)}.put("a", id)
	}
	link := func(dir string) {
		t.Helper()
		if err := os.Symlink(dir, f.path("next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(f.path("next"), f.path("data")); err != nil {
			t.Fatal(err)
		}
	}
	link("v1")
	if c, err = loadCertificates([]string{f.path("data/a-cert")}, []string{f.path("data/a-key")}, nil); err != nil {
		t.Fatal(err)
	}
	step("a link", "one", 0, 0)
	link("v2")
	step("another link", "two", 0, 1)
	old := x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	folder{t, f.path("v2")}.put("a", makeIdentity(t, ecdsaKey(t), "old", old))
	step("an expired one", "old", 1, 1)
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if c.watch(now, logger); !strings.Contains(log.String(), "a certificate has expired") {
		t.Errorf("at the start: %s", log.String())
	}
}

func TestClientAuthoritiesAreReadAgain(t *testing.T) {
	f := folder{t, t.TempDir()}
	cert, key := f.put("a", makeIdentity(t, ecdsaKey(t), "server", x509.Certificate{}))
	ca := x509.Certificate{IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	alice, bob := makeIdentity(t, ecdsaKey(t), "alice", ca), makeIdentity(t, ecdsaKey(t), "bob", ca)
	lets := func(c *certificates, id identity) bool {
		t.Helper()
		pair, err := tls.X509KeyPair(id.cert, id.key)
		if err != nil {
			t.Fatal(err)
		}
		return served(t, c, &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}) == "server" // whose handshake ends with the server's word
	}
	f.write("alice", alice.cert)
	c, err := loadCertificates([]string{cert}, []string{key}, []string{f.path("alice")})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	if !lets(c, alice) || lets(c, bob) {
		t.Error("not alice alone is let in")
	}
	both := append(append([]byte("alice and bob:\n"), alice.cert...), bob.cert...)
	f.write("alice", both[:len(both)-40])
	c.refresh(quiet)
	if !lets(c, alice) || lets(c, bob) {
		t.Error("half a file is taken")
	}
	f.write("alice", both)
	c.refresh(quiet)
	if !lets(c, alice) || !lets(c, bob) {
		t.Error("not both are let in")
	}
	// A session of alice's does not outlive her authority.
	pair, err := tls.X509KeyPair(alice.cert, alice.key)
	if err != nil {
		t.Fatal(err)
	}
	server := c.config()
	client := &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12, ServerName: "h", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		if state, err := shake(t, server, client); err != nil || state.DidResume != (i == 1) {
			t.Errorf("connection %d: %v, resumed: %v", i, err, state.DidResume)
		}
	}
	f.write("alice", bob.cert)
	c.refresh(quiet)
	if state, err := shake(t, server, client); err == nil {
		t.Errorf("alice is let in; resumed: %v", state.DidResume)
	}

	for name, text := range map[string][]byte{"empty": nil, "words": []byte("no PEM"), "key": alice.key, "half": both[:len(both)-40], "damaged": append([]byte("-----BEGIN CERTIFICATE-----\nAA!A\n-----END CERTIFICATE-----\n"), both...)} {
		f.write(name, text)
		if _, err := loadCertificates([]string{cert}, []string{key}, []string{f.path("alice"), f.path(name)}); err == nil || !strings.HasPrefix(err.Error(), "--client-ca ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
