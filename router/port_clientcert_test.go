package router_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

// authority signs clients' certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	about := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.cert = a.sign(about, about, &a.key.PublicKey)
	return a
}

func (a *authority) sign(about, by *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
	a.t.Helper()
	about.SerialNumber, about.NotBefore, about.NotAfter = big.NewInt(1), time.Unix(0, 0), time.Unix(1<<33, 0) // a bubble's clock begins in 2000
	der, err := x509.CreateCertificate(rand.Reader, about, by, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// client is a certificate for a client of this name.
func (a *authority) client(subject pkix.RDNSequence) tls.Certificate {
	a.t.Helper()
	raw, err := asn1.Marshal(subject)
	if err != nil {
		a.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	cert := a.sign(&x509.Certificate{RawSubject: raw, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a.cert, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// require makes server want clients that a has signed.
func (a *authority) require(server *tls.Config) *tls.Config {
	server = server.Clone()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	server.ClientCAs.AddCert(a.cert)
	return server
}

var (
	commonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	organization = asn1.ObjectIdentifier{2, 5, 4, 10}
	country      = asn1.ObjectIdentifier{2, 5, 4, 6}
)

func rdn(pairs ...any) (set pkix.RelativeDistinguishedNameSET) {
	for i := 0; i < len(pairs); i += 2 {
		set = append(set, pkix.AttributeTypeAndValue{Type: pairs[i].(asn1.ObjectIdentifier), Value: pairs[i+1]})
	}
	return set
}

// forged is what a client says who would be somebody else.
var forged = http.Header{
	"X-Client-Cert-Subject": {"CN=admin", "CN=root"}, "X_client_cert_subject": {"CN=admin"}, "X-Client_Cert-Subject": {"CN=admin"},
	"Connection": {"x-client-cert-subject"},
}

// subjects are the values that a worker may take for the client's subject.
func (c *call) subjects() (values []string) {
	for name, value := range c.Fields.All() {
		if strings.ReplaceAll(string(name), "_", "-") == "x-client-cert-subject" {
			values = append(values, string(value))
		}
	}
	return values
}

// secureClient speaks one version over TLS.
func (w *world) secureClient(config *tls.Config, major int) *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	protocol := "http/1.1"
	if major == 2 {
		protocol = "h2"
		tr.Protocols.SetHTTP2(true)
	} else {
		tr.Protocols.SetHTTP1(true)
	}
	tr.DialTLSContext = func(context.Context, string, string) (net.Conn, error) { return w.secure(config, protocol), nil }
	w.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func (w *world) fetch(tr *http.Transport, header http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://h/", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = header.Clone()
	if tr.Protocols.HTTP2() {
		req.Header.Del("Connection")
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		w.t.Errorf("%s %s", resp.Proto, resp.Status)
	}
}

// H6: who the client's certificate says it is reaches the worker, once, whatever the client says.
func TestH6SubjectOfTheClientsCertificate(t *testing.T) {
	server, client := certified(t)
	a := newAuthority(t)
	for name, tc := range map[string]struct {
		subject pkix.RDNSequence
		want    string
	}{
		"plain":     {pkix.RDNSequence{rdn(country, "CH"), rdn(organization, "Example"), rdn(commonName, "alice")}, "CN=alice,O=Example,C=CH"},
		"order":     {pkix.RDNSequence{rdn(commonName, "alice"), rdn(organization, "Example")}, "O=Example,CN=alice"},
		"set":       {pkix.RDNSequence{rdn(commonName, "alice", organization, "Example")}, "CN=alice+O=Example"},
		"specials":  {pkix.RDNSequence{rdn(commonName, `a,b+c"d\e<f>g;h=`)}, `CN=a\,b\+c\"d\\e\<f\>g\;h=`},
		"edges":     {pkix.RDNSequence{rdn(commonName, " #a ")}, `CN=\ #a\ `},
		"umlaut":    {pkix.RDNSequence{rdn(commonName, "Zoë")}, `CN=Zo\c3\ab`},
		"injection": {pkix.RDNSequence{rdn(commonName, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("a\r\nx-evil: b\x00c\x7f\t")})}, `CN=a\0d\0ax-evil: b\00c\7f\09`},
	} {
		for _, major := range []int{1, 2} {
			t.Run(name, func(t *testing.T) {
				portStory(t, router.Config{}, router.Port{TLS: a.require(server)}, func(w *world, _ *port) {
					k := w.join("w1", 8)
					config := client.Clone()
					config.Certificates = []tls.Certificate{a.client(tc.subject)}
					tr := w.secureClient(config, major)
					for _, header := range []http.Header{{}, forged} {
						w.wg.Go(func() {
							c := k.request()
							if got := c.subjects(); !slices.Equal(got, []string{tc.want}) {
								w.t.Errorf("HTTP/%d: %q, want %q", major, got, tc.want)
							}
							c.answer(200, "")
						})
						w.fetch(tr, header)
					}
				})
			})
		}
	}
}

// A session that is taken up again is the same client's.
func TestH6SubjectInAResumedSession(t *testing.T) {
	server, client := certified(t)
	a := newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		portStory(t, router.Config{}, router.Port{TLS: a.require(server)}, func(w *world, _ *port) {
			k := w.join("w1", 8)
			config := client.Clone()
			config.MaxVersion = version
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			config.Certificates = []tls.Certificate{a.client(pkix.RDNSequence{rdn(commonName, "alice")})}
			for i := range 2 {
				nc := w.secure(config, "http/1.1")
				if _, err := io.WriteString(nc, ask); err != nil {
					w.t.Fatal(err)
				}
				c := k.request()
				if got := c.get("x-client-cert-subject"); got != "CN=alice" || nc.ConnectionState().DidResume != (i == 1) {
					w.t.Errorf("%s, connection %d, resumed: %v: %q", tls.VersionName(version), i, nc.ConnectionState().DidResume, got)
				}
				c.answer(200, "")
				wantsRaw(w.t, nc, "")
				_ = nc.Close()
			}
		})
	}
}

// net/http believes :scheme, and would forget TLS.
func TestH6SubjectWhateverTheScheme(t *testing.T) {
	server, client := certified(t)
	a := newAuthority(t)
	portStory(t, router.Config{}, router.Port{TLS: a.require(server)}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		config := client.Clone()
		config.Certificates = []tls.Certificate{a.client(pkix.RDNSequence{rdn(commonName, "alice")})}
		nc := w.secure(config, "h2")
		if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
			w.t.Fatal(err)
		}
		f := http2.NewFramer(nc, nc)
		// :method GET, :scheme http, :path / of HPACK's static table, and :authority h
		if err := f.WriteSettings(); err != nil {
			w.t.Fatal(err)
		}
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("\x82\x86\x84\x41\x01h"), EndStream: true, EndHeaders: true}); err != nil {
			w.t.Fatal(err)
		}
		c := k.request()
		if got := c.subjects(); !slices.Equal(got, []string{"CN=alice"}) || c.get(":scheme") != "https" {
			w.t.Errorf("subject %q, scheme %q", got, c.get(":scheme"))
		}
		c.answer(200, "")
	})
}

// Without a certificate of the right authority there is no connection.
func TestClientsWithoutACertificate(t *testing.T) {
	server, client := certified(t)
	a, stranger := newAuthority(t), newAuthority(t)
	for name, certs := range map[string][]tls.Certificate{
		"none": nil, "a stranger's": {stranger.client(pkix.RDNSequence{rdn(commonName, "alice")})},
	} {
		for _, protocol := range []string{"http/1.1", "h2"} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				t.Run(name+" "+protocol+" "+tls.VersionName(version), func(t *testing.T) {
					portStory(t, router.Config{}, router.Port{TLS: a.require(server)}, func(w *world, _ *port) {
						k := w.join("w1", 8)
						nc, err := w.clients.Dial(w.t.Context())
						if err != nil {
							w.t.Fatal(err)
						}
						defer nc.Close()
						config := client.Clone()
						config.MaxVersion, config.NextProtos, config.Certificates = version, []string{protocol}, certs
						c := tls.Client(nc, config)
						_, _ = io.WriteString(c, ask) // TLS 1.3's client hears of it when it reads
						if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "tls: ") {
							w.t.Errorf("read: %v, want TLS's alert", err)
						}
						k.silent()
					})
				})
			}
		}
	}
}

// H6: in the clear, or where no certificate is wanted, nobody has a subject; a trusted proxy may say whose it has seen.
func TestH6SubjectWithoutAHandshakeOfOurs(t *testing.T) {
	server, client := certified(t)
	for _, tc := range []struct {
		from string
		tls  *tls.Config
		want []string
	}{
		{"11.1.2.3:4567", nil, nil},
		{"11.1.2.3:4567", server, nil},
		{"10.1.2.3:4567", nil, []string{"CN=admin"}},
		{"10.1.2.3:4567", server, []string{"CN=admin"}},
	} {
		for _, major := range []int{1, 2} {
			cfg := router.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
			storyBehind(t, cfg, engine, nil, func(w *world) {
				from := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tc.from))
				w.portOn(router.Port{TLS: tc.tls}, func(nc *testpipe.Conn) net.Conn { return remote{nc, from} })
				k := w.join("w1", 8)
				w.wg.Go(func() {
					c := k.request()
					if got := c.subjects(); !slices.Equal(got, tc.want) {
						w.t.Errorf("from %s, HTTP/%d, TLS: %v: %q, want %q", tc.from, major, tc.tls != nil, got, tc.want)
					}
					c.answer(200, "")
				})
				if tc.tls != nil {
					w.fetch(w.secureClient(client, major), forged)
					return
				}
				p := w.get("/", over([]string{1: "HTTP/1.1", 2: "HTTP/2"}[major]), func(req *http.Request) {
					req.Header = forged.Clone()
					req.Header.Del("Connection")
				})
				p.wants(200, "")
			})
		}
	}
}
