package main_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// named makes a certificate for localhost with this common name.
func named(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	cert, key, err := writeCertificate(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// serving is the common name of the certificate that a new connection gets.
func (r *runningRouter) serving() string {
	r.t.Helper()
	nc := tls.Client(mustDial(r.t, r.web), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := nc.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// A certificate is renewed, in two steps, the first of which is of no use.
func TestTLSFilesThatChange(t *testing.T) {
	dir := t.TempDir()
	cert, key := named(t, dir, "old")
	newCert, newKey := named(t, dir, "new")
	r := startRouter(t, "--tls-cert", cert, "--tls-key", key)
	r.worker("worker-1")
	r.awaitReady(1)
	before := wrap(tls.Client(mustDial(t, r.web), &tls.Config{InsecureSkipVerify: true}))
	serves := func() {
		t.Helper()
		if err := before.send("GET /", ""); err != nil {
			t.Fatal(err)
		}
		if resp, _, err := before.whole(); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("a connection that was there: %v %v", resp, err)
		}
	}
	serves()
	if err := os.Rename(newCert, cert); err != nil {
		t.Fatal(err)
	}
	const useless = `"msg":"changed certificate files are of no use; the old ones go on"`
	eventually(t, "the router to see half a change", func() bool { return strings.Contains(r.log.String(), useless) })
	if got := r.serving(); got != "old" {
		t.Errorf("%q is served amid the change", got)
	}
	serves()
	if err := os.Rename(newKey, key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate", func() bool { return r.serving() == "new" })
	serves()
	if n := strings.Count(r.log.String(), useless); n != 1 {
		t.Errorf("%d lines tell of one change", n)
	}
}

// Reading a pipe might never end.
func TestTLSFileThatBecomesAPipe(t *testing.T) {
	cert, key := named(t, t.TempDir(), "old")
	r := startRouter(t, "--tls-cert", cert, "--tls-key", key)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(cert, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line about the pipe", func() bool { return strings.Contains(r.log.String(), "is no regular file") })
	if got := r.serving(); got != "old" {
		t.Errorf("%q is served", got)
	}
	r.stop()
}

func TestTLSCertificatesByName(t *testing.T) {
	dir := t.TempDir()
	cert, key := named(t, dir, "a")
	other, otherKey := named(t, dir, "b")
	r := startRouter(t, "--tls-cert", cert, "--tls-key", key, "--tls-cert", other, "--tls-key", otherKey)
	if got := r.serving(); got != "a" {
		t.Errorf("without a name %q is served, want the first", got)
	}
	r.stop()
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := named(t, dir, "alice") // signs itself
	stranger, strangerKey := named(t, dir, "alice2")
	r := startTLSRouter(t, "--client-ca", cert)
	r.worker("worker-1")
	r.awaitReady(1)
	with := func(major int, files ...string) *http.Client {
		c := newHTTPClient(t, major, r.trust)
		if len(files) > 0 {
			pair, err := tls.LoadX509KeyPair(files[0], files[1])
			if err != nil {
				t.Fatal(err)
			}
			c.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair}
		}
		return c
	}
	for major, proto := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
		c := with(major, cert, key)
		for _, lie := range []string{"", "CN=root"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+r.web+"/fields", nil)
			if err != nil {
				t.Fatal(err)
			}
			if lie != "" {
				req.Header["X-Client-Cert-Subject"], req.Header["X_client_cert_subject"] = []string{lie}, []string{lie}
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.Proto != proto || !strings.HasSuffix(string(body), ` subject=["CN=alice"]`) {
				t.Errorf("%s, and the worker got %s %v", resp.Proto, body, err)
			}
		}
		for name, files := range map[string][]string{"none": nil, "a stranger's": {stranger, strangerKey}} {
			if resp, err := with(major, files...).Get("https://" + r.web + "/never"); err == nil {
				_ = resp.Body.Close()
				t.Errorf("%s, certificate: %s: %s", proto, name, resp.Status)
			}
		}
	}
	resp, err := with(1, cert, key).Get("https://" + r.web + "/seen")
	if err != nil {
		t.Fatal(err)
	}
	seen, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if len(seen) > 0 {
		t.Errorf("the worker saw %q", seen)
	}
}

func TestRedirectHTTP(t *testing.T) {
	certificate, trust := makeCertificate(t)
	r := startRouter(t, append(certificate, "--redirect-http", "127.0.0.1:0")...)
	r.worker("worker-1")
	r.awaitReady(1)
	detour := r.logged("HTTP port open that redirects to HTTPS", "address")
	c := newHTTPClient(t, 1, trust)
	for range 2 {
		resp, err := c.Get("http://" + detour + "/path?query")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got, want := resp.Request.URL.String(), "https://"+r.web+"/path?query"; resp.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s from %s, want %s", resp.Status, got, want)
		}
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Post("http://"+detour+"//evil.example", "text/plain", strings.NewReader(strings.Repeat("x", 100<<10)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got, want := resp.Header.Get("Location"), "https://"+r.web+"//evil.example"; resp.StatusCode != http.StatusPermanentRedirect || got != want {
		t.Errorf("%s to %s, want %s", resp.Status, got, want)
	}
	half := mustDial(t, detour)
	if _, err := io.WriteString(half, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGTERM)
	awaitRefusal(t, detour)
	if _, err := io.WriteString(half, "Host: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, _, err := half.whole(); err != nil || resp.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("a request that had begun got %v %v", resp, err)
	}
	_ = half.Close()
	if st := r.status(); st.ExitStatus() != 0 {
		t.Errorf("the router ended with %d", st.ExitStatus())
	}
}

func TestProxyProtocol(t *testing.T) {
	const header = "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"
	r := startRouter(t, "--proxy-protocol", "127.0.0.0/8")
	r.worker("worker-1")
	r.awaitReady(1)
	c := r.say(header)
	for range 2 {
		if err := c.send("GET /fields", ""); err != nil {
			t.Fatal(err)
		}
		if _, body, err := c.whole(); err != nil || !strings.Contains(body, `for=["203.0.113.7"]`) {
			t.Errorf("%q %v", body, err)
		}
	}
	leaves := r.say(header)
	if err := leaves.send("GET /hang", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := leaves.head(); err != nil {
		t.Fatal(err)
	}
	r.awaitStreams(0, 1)
	_ = leaves.Close()
	r.awaitStreams(0, 0)
	without := r.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if got, _ := io.ReadAll(without); len(got) > 0 { // closed with bytes unread: a reset
		t.Errorf("without a header: %q", got)
	}
}
