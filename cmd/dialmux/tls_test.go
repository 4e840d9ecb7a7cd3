package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCertificate makes one for localhost, valid now, in two files of dir.
func writeCertificate(dir, name string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, name+"-cert.pem"), filepath.Join(dir, name+"-key.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o600); err != nil {
		return "", "", err
	}
	return cert, key, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}

// tlsRouter is one that serves HTTPS.
type tlsRouter struct {
	*runningRouter
	trust *x509.CertPool
}

func startTLSRouter(t *testing.T, flags ...string) *tlsRouter {
	t.Helper()
	certificate, trust := makeCertificate(t)
	return &tlsRouter{startRouter(t, append(certificate, flags...)...), trust}
}

// makeCertificate returns flags, and what believes in the certificate.
func makeCertificate(t *testing.T) (flags []string, trust *x509.CertPool) {
	t.Helper()
	cert, key, err := writeCertificate(t.TempDir(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	trust.AppendCertsFromPEM(public)
	return []string{"--tls-cert", cert, "--tls-key", key}, trust
}

// dial returns when the handshake is over.
func (r *tlsRouter) dial(protocols ...string) *client {
	r.t.Helper()
	plain := mustDial(r.t, r.web)
	nc := tls.Client(plain.Conn, &tls.Config{RootCAs: r.trust, ServerName: "localhost", NextProtos: protocols})
	if err := nc.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return wrap(nc)
}

func TestTLS(t *testing.T) {
	r := startTLSRouter(t)
	w := r.worker("worker-1")
	r.awaitReady(1)

	t.Run("ALPN", func(t *testing.T) {
		for _, tc := range []struct {
			offer []string
			want  string
		}{
			{nil, ""},
			{[]string{"http/1.1"}, "http/1.1"},
			{[]string{"http/1.1", "h2"}, "h2"},
			{[]string{"h2"}, "h2"},
		} {
			c := r.dial(tc.offer...)
			if got := c.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != tc.want {
				t.Errorf("%q offered: %q, want %q", tc.offer, got, tc.want)
			}
			_ = c.Close()
		}
		nc := tls.Client(mustDial(t, r.web), &tls.Config{RootCAs: r.trust, ServerName: "localhost", NextProtos: []string{"spdy/3"}})
		if err := nc.HandshakeContext(t.Context()); err == nil {
			t.Error("a protocol that is not spoken was agreed upon")
		}
	})

	t.Run("requests", func(t *testing.T) {
		for major, c := range map[int]*http.Client{1: r.httpClient(t, 1), 2: r.httpClient(t, 2)} {
			for range 2 {
				resp, err := c.Get("https://" + r.web + "/forwarded")
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.ProtoMajor != major || !strings.HasSuffix(string(body), ` ["https"]`) {
					t.Errorf("HTTP/%d: %s, and the worker got %s %v", major, resp.Proto, body, err)
				}
			}
		}
		c := r.dial() // no ALPN: HTTP/1.1
		for range 2 {
			if err := c.send("GET /forwarded", ""); err != nil {
				t.Fatal(err)
			}
			if resp, body, err := c.whole(); err != nil || resp.StatusCode != http.StatusOK || !strings.HasSuffix(body, ` ["https"]`) {
				t.Errorf("%v %q %v", resp, body, err)
			}
		}
	})

	t.Run("old versions", func(t *testing.T) {
		nc := tls.Client(mustDial(t, r.web), &tls.Config{RootCAs: r.trust, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		if err := nc.HandshakeContext(t.Context()); err == nil {
			t.Error("TLS 1.1 is spoken")
		}
	})

	t.Run("plain HTTP", func(t *testing.T) {
		for _, body := range []string{"", strings.Repeat("x", 100<<10)} {
			c := mustDial(t, r.web)
			if err := c.send("POST /", body); err != nil {
				t.Fatal(err)
			}
			resp, body, err := c.whole()
			if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "https") || !resp.Close {
				t.Errorf("%v %q %v", resp, body, err)
			}
			c.awaitClosed(t)
		}
	})

	t.Run("drain", func(t *testing.T) {
		fresh, used, runs := r.dial(), r.dial(), r.dial()
		if err := used.send("GET /", ""); err != nil {
			t.Fatal(err)
		}
		if resp, _, err := used.whole(); err != nil || resp.Close {
			t.Errorf("%v %v", resp, err)
		}
		if err := runs.send("GET /hold", ""); err != nil {
			t.Fatal(err)
		}
		resp, err := runs.head()
		if err != nil {
			t.Fatal(err)
		}
		r.signal(syscall.SIGTERM)
		for name, c := range map[string]*client{"fresh": fresh, "used": used} {
			if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: read %d bytes, %v; want TLS's end", name, n, err)
			}
		}
		awaitRefusal(t, r.web)
		w.signal(syscall.SIGUSR1)
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "begun\nended\n" {
			t.Errorf("the answer that ran: %q %v", body, err)
		}
		if st := r.status(); st.ExitStatus() != 0 {
			t.Errorf("the router ended with %d", st.ExitStatus())
		}
	})
}

// Nobody waits for a handshake that does not come.
func TestTLSHandshakeHasHeadTimeout(t *testing.T) {
	patient, r := startTLSRouter(t), startTLSRouter(t, "--head-timeout", "100ms")
	for name, first := range map[string]string{"nothing": "", "half a record": "\x16\x03\x01\x02\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			other, c := mustDial(t, patient.web), mustDial(t, r.web)
			for _, c := range []*client{other, c} {
				if _, err := io.WriteString(c, first); err != nil {
					t.Fatal(err)
				}
			}
			c.awaitClosed(t)
			other.checkOpen(t)
		})
	}
	r.stop() // handshakes that go on do not hold it up either
}

func TestDemoSaysHTTPS(t *testing.T) {
	flags, trust := makeCertificate(t)
	d := start(t, "dialmux", append([]string{"demo", "--listen", "127.0.0.1:0", "--workers", "tcp://127.0.0.1:0", "--admin", ""}, flags...)...)
	eventually(t, "what to try", func() bool { return strings.HasSuffix(d.log.String(), "Ctrl-C ends it.\n") })
	_, after, _ := strings.Cut(d.log.String(), "curl ")
	url, _, _ := strings.Cut(after, "\n")
	resp, err := newHTTPClient(t, 1, trust).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.TLS == nil || resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s", url, resp.Status)
	}
	d.stop()
}

// httpClient speaks one version only.
func (r *tlsRouter) httpClient(t *testing.T, major int) *http.Client {
	return newHTTPClient(t, major, r.trust)
}

// newHTTPClient speaks one version only, and has connections of its own.
func newHTTPClient(t *testing.T, major int, trust *x509.CertPool) *http.Client {
	t.Helper()
	var only http.Protocols
	switch {
	case major == 1:
		only.SetHTTP1(true)
	case trust != nil:
		only.SetHTTP2(true)
	default:
		only.SetUnencryptedHTTP2(true)
	}
	tr := &http.Transport{Protocols: &only, TLSClientConfig: &tls.Config{RootCAs: trust}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// awaitRefusal returns when nobody can connect any more.
func awaitRefusal(t *testing.T, address string) {
	t.Helper()
	eventually(t, "the HTTP port closed", func() bool {
		nc, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
		if err == nil {
			_ = nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}
