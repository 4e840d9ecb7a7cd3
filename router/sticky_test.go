package router_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// sticks is an edit for a JOIN.
func sticks(policy string) func(*frame.JoinInfo) {
	return func(info *frame.JoinInfo) { info.Sticky = policy }
}

// serving is a worker that answers by itself, until it dies.
func (w *world) serving(name string, edit ...func(*frame.JoinInfo)) *worker {
	w.t.Helper()
	k := w.native(name)
	k.join(64, edit...)
	w.settle()
	w.wg.Go(func() {
		for {
			parts, ok := k.inbox.take(k.done)
			select {
			case <-k.done:
				return
			default:
			}
			if !ok {
				continue
			}
			if f, err := frame.Parse(parts[0], nil); err == nil && f.Type == frame.Headers {
				head := frame.AppendHeaders(nil, f.Stream, fields(":status", "200", "x-ringpop-handled-by", "forged"), true, 0)
				_, _ = k.conn.Send(0, zmtp.Ordinary, head)
			}
		}
	})
	return k
}

// visitor is a client that keeps its connection.
type visitor struct {
	w    *world
	http http.Transport
}

func (w *world) visitor() *visitor {
	v := &visitor{w: w}
	v.http.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return w.clients.Dial(ctx) }
	w.t.Cleanup(v.http.CloseIdleConnections)
	return v
}

// ask returns who served a request.
func (v *visitor) ask(path string, edit ...func(*http.Request)) string {
	v.w.t.Helper()
	resp := v.response(path, edit...)
	if resp.StatusCode != http.StatusOK {
		v.w.t.Fatalf("%s: status %d", path, resp.StatusCode)
	}
	return resp.Header.Get("Dialmux-Worker")
}

func (v *visitor) response(path string, edit ...func(*http.Request)) *http.Response {
	v.w.t.Helper()
	req, err := http.NewRequestWithContext(v.w.t.Context(), http.MethodGet, "http://example.com"+path, nil)
	if err != nil {
		v.w.t.Fatal(err)
	}
	for _, e := range edit {
		e(req)
	}
	resp, err := v.http.RoundTrip(req)
	if err != nil {
		v.w.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

// owners asks with n keys, and returns who served each.
func (v *visitor) owners(n int) []string {
	v.w.t.Helper()
	owners := make([]string, n)
	for i := range owners {
		owners[i] = v.ask("/?user=" + fmt.Sprint(i))
	}
	return owners
}

// with is an edit for a request.
func with(name, value string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Add(name, value) }
}

func TestS2R1StickyIPIsOneWorkerOverManyConnections(t *testing.T) {
	fromStreet(t, router.Config{Sticky: "ip"}, router.Port{IdleTimeout: -1}, func(w *world, s *street) {
		for _, name := range []string{"a", "b", "c"} {
			w.serving(name)
		}
		used := map[string]bool{}
		for host := range 40 {
			seen := map[string]bool{}
			for port := range 4 {
				s.is(fmt.Sprintf("203.0.113.%d:%d", host, 2000+port))
				seen[w.visitor().ask("/")] = true
			}
			if len(seen) != 1 {
				t.Errorf("one client was served by %v", seen)
			}
			maps.Copy(used, seen)
		}
		if len(used) != 3 {
			t.Errorf("40 clients were served by %v only", used)
		}
		one := map[string]bool{}
		for port := range 100 {
			s.is(fmt.Sprintf("[2001:db8::7]:%d", 3000+port))
			one[w.visitor().ask("/")] = true
		}
		if len(one) != 1 {
			t.Errorf("100 connections of one client were served by %v", one)
		}
	})
}

func TestS2R2R3StickyKeysAreSpreadAndOnlyTheDeadOnesMove(t *testing.T) {
	const keys = 3000
	var before []string
	names := []string{"a", "b", "c"}
	story(t, router.Config{Sticky: "query:user"}, func(w *world) {
		for _, name := range names {
			w.serving(name)
		}
		v := w.visitor()
		count := map[string]int{}
		for _, name := range v.owners(keys) {
			count[name]++
		}
		for _, name := range names {
			if share := float64(count[name]) / keys; share < 0.28 || share > 0.38 {
				t.Errorf("%s owns %.1f %% of the keys", name, 100*share)
			}
		}

		d := w.serving("d")
		four := v.owners(keys)
		d.die()
		w.settle()
		moved := 0
		for i, name := range v.owners(keys) {
			if four[i] == "d" {
				moved++
			} else if name != four[i] {
				t.Fatalf("key %d moved from %s to %s", i, four[i], name)
			}
		}
		if moved < keys/5 {
			t.Errorf("d had %d keys", moved)
		}
		w.serving("d", func(info *frame.JoinInfo) { info.Instance = "after a restart" })
		if back := v.owners(keys); !slices.Equal(back, four) {
			t.Error("d came back, and did not get exactly its keys")
		}
		if before != nil && !slices.Equal(before, four) {
			t.Error("another router has other owners")
		}
		before = four
		names = []string{"c", "a", "b"} // another order for the other front's router
	})
}

func TestStickyWeightsAreShares(t *testing.T) {
	story(t, router.Config{Sticky: "query:user"}, func(w *world) {
		w.serving("heavy", func(info *frame.JoinInfo) { info.Weight = 3 })
		w.serving("light")
		n := 0
		for _, name := range w.visitor().owners(1000) {
			if name == "heavy" {
				n++
			}
		}
		if n < 700 || n > 800 {
			t.Errorf("of weights 3 and 1, the first got %d of 1,000 keys", n)
		}
	})
}

// Nobody chooses a worker by what it says of others: only trusted proxies are believed.
func TestS2R5StickyIPBehindProxies(t *testing.T) {
	cfg := router.Config{Sticky: "ip", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	fromStreet(t, cfg, router.Port{IdleTimeout: -1}, func(w *world, s *street) {
		for i := range 16 {
			w.serving(fmt.Sprint("w", i))
		}
		ask := func(from string, edit ...func(*http.Request)) string {
			s.is(from + ":1000")
			return w.visitor().ask("/", edit...)
		}
		const client = "203.0.113.9"
		owner := ask(client)
		other := ""
		for i := 1; other == "" || ask(other) == owner; i++ {
			other = fmt.Sprintf("198.51.100.%d", i)
		}
		for what, got := range map[string]string{
			"a client that lies":                  ask(client, with("X-Forwarded-For", other)),
			"its lie through a proxy":             ask("10.0.0.1", with("X-Forwarded-For", other+", "+client)),
			"behind one proxy":                    ask("10.0.0.1", with("X-Forwarded-For", client)),
			"behind two":                          ask("10.0.0.1", with("X-Forwarded-For", other+", "+client+", 10.9.9.9")),
			"in two fields":                       ask("10.0.0.1", with("X-Forwarded-For", client), with("X-Forwarded-For", "10.9.9.9")),
			"with a port":                         ask("10.0.0.1", with("X-Forwarded-For", client+":5555")),
			"as IPv6":                             ask("10.0.0.1", with("X-Forwarded-For", "::ffff:"+client)),
			"behind an IPv6 proxy":                ask("[fd00::1]", with("X-Forwarded-For", client)),
			"in Forwarded":                        ask("10.0.0.1", with("Forwarded", `for=`+other+`;proto=http, FOR="`+client+`:80"`)),
			"X-Forwarded-For before Forwarded":    ask("10.0.0.1", with("Forwarded", "for="+other), with("X-Forwarded-For", client)),
			"behind what is no address":           ask("10.0.0.1", with("X-Forwarded-For", other+", unknown, "+client)),
			"a lie in Forwarded":                  ask(client, with("Forwarded", "for="+other)),
			"an IPv4 address in the form of IPv6": ask("[::ffff:" + client + "]"),
		} {
			if got != owner {
				t.Errorf("%s: served by %s, not %s", what, got, owner)
			}
		}
		if got := ask("10.0.0.1", with("X-Forwarded-For", other)); got == owner {
			t.Error("a trusted proxy is not believed")
		}
		local := ask("[fe80::9]")
		for i := range 8 { // a zone is a name of our own side, and not part of the address
			if got := ask(fmt.Sprintf("[fe80::9%%eth%d]", i)); got != local {
				t.Errorf("with a zone: served by %s, not %s", got, local)
			}
		}
		v6 := ask("[2001:db8::9]")
		if got := ask("10.0.0.1", with("Forwarded", `for="[2001:db8::9]:4711"`)); got != v6 {
			t.Errorf("an IPv6 client in Forwarded: served by %s, not %s", got, v6)
		}
	})
}

func TestStickyKeys(t *testing.T) {
	same := map[string][][2]string{ // by policy, requests with the same key: path, and cookie or X-User
		"header:X-User":           {{"/1", "X-User: ann"}, {"/2", "X-User: ann"}},
		"header:Host":             {{"/1", ""}, {"/2", "X-User: ann"}},
		"cookie:sid":              {{"/1", "Cookie: sid=ann"}, {"/2", "Cookie: a=b; sid=ann; c=d"}, {"/3", "Cookie: a=b;sid=ann"}, {"/4", "Cookie: sid=ann; sid=bob"}},
		"query:user":              {{"/1?user=an%20n", ""}, {"/2?x=1&user=an+n&y", ""}, {"/3?user=%61n%20n", ""}, {"/4?user=an+n&user=bob", ""}, {"/5?user&user=an+n", ""}},
		"path":                    {{"/users/ann", ""}, {"/users/ann?x=1", ""}},
		"path:1":                  {{"/users/ann", ""}, {"/users/bob/x", ""}, {"/users", ""}, {"/users?x", ""}, {"/users/", ""}},
		"path:2":                  {{"/users/ann", ""}, {"/users/ann/x?y", ""}, {"/users/ann/", ""}},
		"query:user; fallback=ip": {{"/1", ""}, {"/2?user=", ""}, {"/3?users=ann", ""}},
	}
	other := map[string][2]string{ // with others
		"header:X-User": {"/1", "X-User: %d"}, "cookie:sid": {"/1", "Cookie: asid=ann; sid=%d"}, "query:user": {"/?user=%d", ""},
		"path": {"/users/%d", ""}, "path:1": {"/users%d/ann", ""}, "path:2": {"/users/%d", ""},
	}
	for policy, requests := range same {
		t.Run(policy, func(t *testing.T) {
			story(t, router.Config{Sticky: policy}, func(w *world) {
				for i := range 16 {
					w.serving(fmt.Sprint("w", i))
				}
				v := w.visitor()
				ask := func(path, field string) string {
					name, value, found := strings.Cut(field, ": ")
					return v.ask(path, func(req *http.Request) {
						if found {
							req.Header.Set(name, value)
						}
					})
				}
				owner := ask(requests[0][0], requests[0][1])
				for _, r := range requests {
					if got := ask(r[0], r[1]); got != owner {
						t.Errorf("%s %s: served by %s, %s %s by %s", r[0], r[1], got, requests[0][0], requests[0][1], owner)
					}
				}
				if o, ok := other[policy]; ok {
					seen := map[string]bool{}
					for i := range 30 {
						seen[ask(strings.Replace(o[0], "%d", fmt.Sprint(i), 1), strings.Replace(o[1], "%d", fmt.Sprint(i), 1))] = true
					}
					if len(seen) < 6 {
						t.Errorf("30 other keys were served by %v only", seen)
					}
				}
			})
		})
	}
}

func TestStickyWithoutAKeyTakesTurnsIfThePolicySaysSo(t *testing.T) {
	story(t, router.Config{Sticky: "header:X-User; fallback=round-robin"}, func(w *world) {
		for _, name := range []string{"a", "b", "c"} {
			w.serving(name)
		}
		got, v := "", w.visitor()
		for range 6 {
			got += v.ask("/")
		}
		if got != "abcabc" {
			t.Errorf("served by %s, want abcabc", got)
		}
	})
}

// Cookies of HTTP/2 may come in several fields (RFC 9113 section 8.2.3).
func TestStickyCookiesOverHTTP2(t *testing.T) {
	story(t, router.Config{Sticky: "cookie:sid"}, func(w *world) {
		for i := range 16 {
			w.serving(fmt.Sprint("w", i))
		}
		owner := w.visitor().ask("/", with("Cookie", "sid=ann"))
		for range 3 {
			p := w.get("/", over("HTTP/2"), with("Cookie", "a=b; c=d; sid=ann"))
			if got := p.wants(200, "").Header.Get("Dialmux-Worker"); got != owner {
				t.Errorf("served by %s, not %s", got, owner)
			}
		}
	})
}

// respelt is a cookie whose signature is other text for the same bytes: base64 has
// four bits to spare at its end.
func respelt(value string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(value) - 1
	return value[:last] + string(digits[strings.IndexByte(digits, value[last])^1])
}

func TestStickyCookiesAreIssued(t *testing.T) {
	secret := "a secret of 16 bytes and more"
	owners := map[string]string{}
	for _, cfg := range []router.Config{
		{Sticky: "cookie:seat; issue", StickySecrets: []string{secret}},
		{Sticky: "cookie:seat; issue; fallback=round-robin", StickySecrets: []string{"a newer secret, which signs", secret}}, // another router, or later
	} {
		story(t, cfg, func(w *world) {
			for i := range 8 {
				w.serving(fmt.Sprint("w", i))
			}
			v := w.visitor()
			seen := map[string]bool{}
			for range 32 {
				resp := v.response("/")
				set := resp.Header["Set-Cookie"]
				if len(set) != 1 || !strings.HasSuffix(set[0], "; Path=/; HttpOnly; SameSite=Lax") {
					t.Fatalf("Set-Cookie: %q", set)
				}
				value, _, _ := strings.Cut(strings.TrimPrefix(set[0], "seat="), ";")
				owner := resp.Header.Get("Dialmux-Worker")
				seen[owner] = true
				again := v.response("/", with("Cookie", "x=y; seat="+value))
				if got := again.Header.Get("Dialmux-Worker"); got != owner || again.Header["Set-Cookie"] != nil {
					t.Fatalf("with its cookie the client was served by %s (before: %s), and got %q", got, owner, again.Header["Set-Cookie"])
				}
				if cfg.StickySecrets[0] == secret {
					owners[value] = owner
				}
			}
			if len(seen) < 5 {
				t.Errorf("32 clients were served by %v only", seen)
			}
			for value, owner := range owners {
				resp := v.response("/", with("Cookie", "seat="+value))
				if got := resp.Header.Get("Dialmux-Worker"); got != owner || resp.Header["Set-Cookie"] != nil {
					t.Fatalf("a cookie by the older secret: served by %s, not %s; Set-Cookie: %q", got, owner, resp.Header["Set-Cookie"])
				}
				for _, forged := range []string{"chosen", value + "A", "A" + value[1:], value[:len(value)-1] + "B", respelt(value), value[:22] + "." + value[:22], ""} {
					if forged == value {
						continue
					}
					if set := v.response("/", with("Cookie", "seat="+forged)).Header["Set-Cookie"]; len(set) != 1 {
						t.Fatalf("the cookie %q, which nobody signed, was taken (%q is right)", forged, value)
					}
				}
				break
			}
			set := v.response("/", with("X-Forwarded-Proto", "https")).Header.Get("Set-Cookie")
			if strings.Contains(set, "Secure") { // nobody trusts this client
				t.Errorf("Set-Cookie: %s", set)
			}
		})
	}
	trusting := router.Config{Sticky: "cookie:seat; issue", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}
	fromStreet(t, trusting, router.Port{}, func(w *world, _ *street) {
		w.serving("a")
		if set := w.visitor().response("/", with("X-Forwarded-Proto", "https")).Header.Get("Set-Cookie"); !strings.HasSuffix(set, "; SameSite=Lax; Secure") {
			t.Errorf("Set-Cookie over HTTPS: %s", set)
		}
	})
}

func TestRingpopHeaders(t *testing.T) {
	story(t, router.Config{RingpopHeaders: true, HideWorker: true, QueueLimit: -1}, func(w *world) {
		v := w.visitor()
		none := v.response("/").Header
		w.serving("a")
		h := v.response("/").Header
		for _, name := range []string{"X-Ringpop-Received-By", "X-Ringpop-Handled-By"} { // a worker's own do not count
			if len(h[name]) != 1 {
				t.Errorf("%s: %q", name, h[name])
			}
		}
		if by := h.Get("X-Ringpop-Received-By"); h.Get("X-Ringpop-Handled-By") != "a" || !strings.HasPrefix(by, "r-") || none.Get("X-Ringpop-Received-By") != by {
			t.Errorf("the answers have %v and %v", h, none)
		}
	})
}
