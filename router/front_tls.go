package router

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
)

// protocols are those that ALPN chooses from.
var protocols = []string{"h2", "http/1.1", "http/1.0"}

// negotiating is config with ALPN, also where config chooses another one by
// who the client is.
func negotiating(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = slices.Clone(protocols)
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen != nil {
				chosen = chosen.Clone()
				chosen.NextProtos = slices.Clone(protocols)
			}
			return chosen, err
		}
	}
	return config
}

// subjectOf is the subject of the client's certificate, as RFC 4514 writes it
// and in visible ASCII; "": no certificate was verified.
func subjectOf(state *tls.ConnectionState) string {
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	leaf := state.VerifiedChains[0][0]
	var names pkix.RDNSequence // leaf.Subject has them in an order of its own
	if rest, err := asn1.Unmarshal(leaf.RawSubject, &names); err != nil || len(rest) > 0 {
		return escapeName(leaf.Subject.String())
	}
	return escapeName(names.String())
}

// escapeName writes as \XX what no field value may have, or should (RFC 4514
// section 2.4).
func escapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f {
			b.WriteByte('\\')
			b.WriteString(hex.EncodeToString([]byte{c}))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
