package router

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"sync"
)

// cookies makes and knows cookies that are keys: 16 random bytes, and an HMAC
// of the cookie's name and them, so that no client makes up a key. Each is in base64url,
// with a dot between.
type cookies struct {
	signers []*signer // the first signs; all are known
	passing bool      // they end with this process
}

const (
	cookieID  = 16 // bytes
	cookieMAC = 16 // of the 32 of HMAC-SHA256 (RFC 2104 section 5)
	cookieLen = 22 + 1 + 22
)

// issue makes a cookie, and the Set-Cookie field that gives it to the client.
func (c *cookies) issue(name string, secure bool) (value []byte, set string) {
	var id [cookieID]byte
	_, _ = rand.Read(id[:]) // it never fails
	value = base64.RawURLEncoding.AppendEncode(make([]byte, 0, cookieLen), id[:])
	sign := c.signers[0].sign(name, value)
	value = append(append(value, '.'), sign[:]...)
	set = name + "=" + string(value) + "; Path=/; HttpOnly; SameSite=Lax"
	if secure {
		set += "; Secure"
	}
	return value, set
}

// signed tells whether a cookie's value was issued here, or by who has the same
// secret.
func (c *cookies) signed(name string, value []byte) bool {
	id, said, ok := bytes.Cut(value, []byte("."))
	if !ok || len(value) != cookieLen {
		return false
	}
	for _, by := range c.signers {
		if sign := by.sign(name, id); hmac.Equal(sign[:], said) {
			return true
		}
	}
	return false
}

// signer has one secret, and keeps what it is made into: half of an HMAC's work.
type signer struct{ spares sync.Pool }

// signing is one HMAC at work.
type signing struct {
	hash.Hash
	text []byte
	sum  [sha256.Size]byte
}

func newSigner(secret []byte) *signer {
	return &signer{sync.Pool{New: func() any { return &signing{Hash: hmac.New(sha256.New, secret)} }}}
}

func (s *signer) sign(name string, id []byte) (sign [22]byte) {
	h := s.spares.Get().(*signing)
	h.text = append(append(append(h.text[:0], name...), '='), id...)
	h.Write(h.text)
	base64.RawURLEncoding.Encode(sign[:], h.Sum(h.sum[:0])[:cookieMAC])
	h.Reset()
	s.spares.Put(h)
	return sign
}
