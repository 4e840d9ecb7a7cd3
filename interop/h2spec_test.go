package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Cases of h2spec that may fail, and why.
var (
	unmet = map[string]string{
		"http2/6.5.3: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                            "one setting twice in a frame ends the connection, as a flood of settings does",
		"http2/8.1.2.2: Sends a HEADERS frame that contains the connection-specific header field":                       "400 is the answer instead of RST_STREAM (RFC 9113 section 8.1.1 has both); no worker sees the request",
		"http2/8.1.2.2: Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": "likewise",
	}
	unmetInTheClear = map[string]string{
		"http2/3.5: Sends invalid connection preface": "what does not begin as HTTP/2 is HTTP/1.1 on this port: it gets 400, and is closed",
	}
)

// h2spec asks a router with a Go worker 146 things about HTTP/2, strictly.
func TestH2spec(t *testing.T) {
	tool, err := h2spec()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Run("over TLS", func(t *testing.T) {
		t.Parallel()
		cert, key := certificate(t)
		asks(t, tool, 143, []string{"--tls-cert", cert, "--tls-key", key}, []string{"-t", "-k"}, unmet)
	})
	t.Run("in the clear", func(t *testing.T) {
		t.Parallel()
		asks(t, tool, 141, nil, nil, unmet, unmetInTheClear)
	})
}

// h2spec builds the tool, once, and returns where it is.
func h2spec() (path string, err error) {
	out, err := exec.Command("go", "tool", "-modfile=../tools.mod", "-n", "h2spec").Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("building h2spec, which tools.mod names: %w\n%s", err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// asks runs h2spec against a router with these flags, and checks what it found.
func asks(t *testing.T, tool string, least int, router, options []string, mayFail ...map[string]string) {
	r := startRouter(t, router...)
	startWorker(t, "w", nil, r.endpoint())
	r.awaitWorkers("w")
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	// net/http waits a second between GOAWAY and the end; two of the cases that may fail take the whole time that -o allows.
	args := append([]string{"--strict", "--timeout", "4", "--port", port, "--path", "/hash", "--junit-report", report}, options...)
	said, _ := exec.Command(tool, args...).CombinedOutput() // it fails with any case
	defer func() {
		if t.Failed() {
			t.Logf("h2spec printed:\n%s", said[max(0, bytes.Index(said, []byte("Failures:"))):])
		}
	}()
	passed, failed := results(t, report)
	if passed < least {
		t.Errorf("%d cases pass; %d should", passed, least)
	}
	for _, name := range failed {
		known := false
		for _, list := range mayFail {
			known = known || list[name] != ""
		}
		if !known {
			t.Errorf("%s fails", name)
		}
	}
	if passed+len(failed) != 146 {
		t.Errorf("h2spec has %d cases, not 146", passed+len(failed))
	}
}

// results reads h2spec's report. A case that was skipped has failed.
func results(t *testing.T, report string) (passed int, failed []string) {
	t.Helper()
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Cases []struct {
			Section string `xml:"package,attr"`
			Name    string `xml:"classname,attr"`
			Wrong   []struct {
				XMLName xml.Name
			} `xml:",any"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatal(err)
	}
	for _, c := range suites.Cases {
		if len(c.Wrong) == 0 {
			passed++
			continue
		}
		failed = append(failed, c.Section+": "+c.Name)
	}
	return passed, failed
}

// certificate makes one, with its key, in two files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	public, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", public), write("key.pem", "PRIVATE KEY", secret)
}
