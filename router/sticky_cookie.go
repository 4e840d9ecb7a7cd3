package router

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// cookies makes and knows cookies that are keys: 16 random bytes, and an HMAC
// of the cookie's name and them, so that no client makes up a key. Each is in base64url,
// with a dot between.
type cookies struct {
	secrets [][]byte // the first signs; all are known
	passing bool     // they end with this process
}

const (
	cookieID  = 16
	cookieMAC = 16 // of the 32 bytes of HMAC-SHA256 (RFC 2104 section 5)
	cookieLen = 22 + 1 + 22
)

// issue makes a cookie, and the Set-Cookie field that gives it to the client.
func (c *cookies) issue(name string, secure bool) (value []byte, set string) {
	var id [cookieID]byte
	_, _ = rand.Read(id[:]) // it never fails
	value = base64.RawURLEncoding.AppendEncode(make([]byte, 0, cookieLen), id[:])
	mac := c.mac(c.secrets[0], name, value)
	value = base64.RawURLEncoding.AppendEncode(append(value, '.'), mac[:])
	set = name + "=" + string(value) + "; Path=/; HttpOnly; SameSite=Lax"
	if secure {
		set += "; Secure"
	}
	return value, set
}

// signed tells whether a cookie's value was issued here, or by who has the same
// secret.
func (c *cookies) signed(name string, value []byte) bool {
	id, sign, ok := bytes.Cut(value, []byte("."))
	if !ok || len(value) != cookieLen {
		return false
	}
	var said [24]byte
	n, err := base64.RawURLEncoding.Strict().Decode(said[:], sign) // strict: one key has one form
	if err != nil {
		return false
	}
	for _, secret := range c.secrets {
		if mac := c.mac(secret, name, id); hmac.Equal(mac[:], said[:n]) {
			return true
		}
	}
	return false
}

func (c *cookies) mac(secret []byte, name string, id []byte) (mac [cookieMAC]byte) {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(name))
	h.Write([]byte("="))
	h.Write(id)
	copy(mac[:], h.Sum(nil))
	return mac
}
