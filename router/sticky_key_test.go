package router

import (
	"net/netip"
	"strings"
	"testing"
)

// A cookie is good under its own name alone.
func TestStickyCookiesAreSignedWithTheirName(t *testing.T) {
	k := newKeeper(&Config{StickySecrets: []string{"sixteen bytes and more"}})
	value, _ := k.cookies.issue("one", false)
	if !k.cookies.signed("one", value) || k.cookies.signed("other", value) {
		t.Errorf("%s is good as one: %v, and as other: %v", value, k.cookies.signed("one", value), k.cookies.signed("other", value))
	}
}

// FuzzStickyKeys: whatever a request says, it has a key or none, and twice the
// same; and who trusts nobody reads no address from it.
func FuzzStickyKeys(f *testing.F) {
	f.Add("/users/ann?user=an+n&x=%4", "a=b; sid=1;;=", `for="[2001:db8::1]:80";by=x, for=unknown`, "203.0.113.9, ::ffff:10.0.0.1, [::1]:80, 10.0.0.1")
	f.Add("*", "sid", "for", ",")
	f.Fuzz(func(t *testing.T, path, cookie, forwarded, before string) {
		k := newKeeper(&Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
		var q request
		fields := &q.fields
		fields.Add(":path", path)
		fields.Add("cookie", cookie)
		fields.Add("forwarded", forwarded)
		fields.Add("x-forwarded-for", before)
		for _, text := range []string{"ip", "header:Cookie", "cookie:sid", "cookie:sid; issue", "query:user", "query:user; fallback=round-robin", "path", "path:1", "path:7"} {
			by := newPolicy(text)
			one, two := k.keyOf(&q, by), k.keyOf(&q, by)
			if one.set == "" && one != two {
				t.Errorf("%s: %+v, and then %+v", text, one, two)
			}
			if one.none && !by.Turns || one.set != "" && !by.Issue {
				t.Errorf("%s: %+v", text, one)
			}
		}
		trusting := newKeeper(&Config{})
		if !strings.Contains(before, ",") {
			var other request
			other.fields.Add("x-forwarded-for", before)
			if got, want := trusting.addressKey(fields), trusting.addressKey(&other.fields); got != want {
				t.Errorf("Forwarded: %s counts, though nobody is trusted", forwarded)
			}
		}
	})
}
