package router_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/ring"
	"github.com/dialmux/dialmux/router"
)

// owner asks who owns a key, as GET /owner does.
func (w *world) owner(key string, more ...string) (st router.OwnerStatus) {
	w.t.Helper()
	w.settle()
	code, body := adminGet(w.t, w, "/owner?key="+url.QueryEscape(key)+strings.Join(more, ""))
	if err := json.Unmarshal([]byte(body), &st); code != 200 || err != nil {
		w.t.Fatalf("/owner: %d %s %v", code, body, err)
	}
	return st
}

// ring asks who shares the keys, as GET /ring does.
func (w *world) ring(query string) (st router.RingStatus) {
	w.t.Helper()
	w.settle()
	code, body := adminGet(w.t, w, "/ring"+query)
	if err := json.Unmarshal([]byte(body), &st); code != 200 || err != nil {
		w.t.Fatalf("/ring: %d %s %v", code, body, err)
	}
	return st
}

// keyed is an edit for send.
func keyed(name, value string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set(name, value) }
}

// Requests go to whom /owner names first, and once that one has gone to whom it named second.
func TestS4R7RequestsGoToWhomOwnerNames(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		workers := map[string]*worker{}
		for i, name := range []string{"a", "b", "c", "d"} {
			k := w.native(name)
			k.join(8, keptBy("header:x-user"), func(j *frame.JoinInfo) { j.Weight = uint64(1 + i%2) })
			workers[name] = k
		}
		served := map[string]int{}
		goes := func(key, to string) {
			t.Helper()
			p := w.get("/", keyed("X-User", key))
			workers[to].request().answer(200, to)
			p.wants(200, to)
			served[to]++
		}
		next := map[string]string{}
		for i := range 100 {
			key := fmt.Sprintf("user %d&=%%é", i)
			st := w.owner(key)
			if want := fmt.Sprintf("%016x", ring.Hash(key)); st.Key != key || st.Hash != want || st.Partition != ring.Partition(key, ring.DefaultPartitions) || st.Partitions != ring.DefaultPartitions ||
				st.Sticky != "header:x-user" || st.Service != "" || st.Route != (router.RouteName{Path: "/"}) || len(st.Owners) != 4 || len(st.Awaited) != 0 {
				t.Fatalf("%+v, want hash %s", st, want)
			}
			if goes(key, st.Owners[0]); st.Owners[0] == "b" {
				next[key] = st.Owners[1]
			}
		}
		for name, n := range served {
			if n < 5 {
				t.Errorf("%s got %d of 100 keys", name, n)
			}
		}
		workers["b"].die()
		for key, to := range next {
			if st := w.owner(key); st.Owners[0] != to || slices.Contains(st.Owners, "b") {
				t.Errorf("%s: %v, want %s first", key, st.Owners, to)
			}
			goes(key, to)
		}
	})
}

// A key may be said as a request has it, too.
func TestOwnerKnowsKeysAsRequestsHaveThem(t *testing.T) {
	for policy, keys := range map[string][2]string{
		"ip":     {"::ffff:192.0.2.1", "192.0.2.1"},
		"path:2": {"/a/b/c?d", "/a/b"},
		"path":   {"/a/b/c?d", "/a/b/c"},
	} {
		t.Run(policy, func(t *testing.T) {
			storyBehind(t, router.Config{}, engine, nil, func(w *world) {
				w.native("a").join(8, keptBy(policy))
				w.native("b").join(8, keptBy(policy))
				if as, is := w.owner(keys[0]), w.owner(keys[1]); as.Key != keys[1] || as.Hash != is.Hash {
					t.Errorf("%+v and %+v", as, is)
				}
			})
		})
	}
}

// Of a cookie that is not ours a request gets another, whose owner nobody can tell.
func TestOwnerOfIssuedCookies(t *testing.T) {
	storyBehind(t, router.Config{Sticky: "cookie:s; issue", StickySecrets: []string{"sixteen bytes..."}}, engine, nil, func(w *world) {
		k := w.native("a")
		k.join(8)
		p := w.get("/")
		k.request().answer(200, "")
		cookies := p.wants(200, "").Cookies()
		if len(cookies) != 1 || w.owner(cookies[0].Value).Owners[0] != "a" {
			t.Errorf("%v", cookies)
		}
		if code, body := adminGet(t, w, "/owner?key=made-up"); code != 400 || !strings.Contains(body, "none that was issued here (sticky cookie:s; issue)") {
			t.Errorf("%d %s", code, body)
		}
	})
}

// Who has gone and is waited for keeps its place, until the time is over.
func TestOwnerAndRingShowWhoIsAwaited(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		a, b := w.native("a"), w.native("b")
		a.join(8, keptBy("header:x-user; wait=10s"), func(j *frame.JoinInfo) { j.Weight = 3 })
		b.join(1, keptBy("header:x-user; wait=10s"))
		key := ""
		for i := 0; key == ""; i++ {
			if one := fmt.Sprint(i); w.owner(one).Owners[0] == "b" {
				key = one
			}
		}
		p := w.get("/", keyed("x-user", key))
		c := b.request()
		st := w.ring("")
		if want := "[{a 3 0.75 ready 0 0 false} {b 1 0.25 busy 1 0 false}]"; members(st) != want || st.Sticky != "header:x-user; wait=10s" {
			t.Errorf("%s, want %s", members(st), want)
		}
		c.answer(200, "")
		p.wants(200, "")
		b.die()
		if want, st := "[{a 3 0.75 ready 0 0 false} {b 1 0.25 away 0 0 true}]", w.ring(""); members(st) != want {
			t.Errorf("%s, want %s", members(st), want)
		}
		if st := w.owner(key); fmt.Sprint(st.Owners, st.Awaited) != "[b a] [b]" {
			t.Errorf("%v %v", st.Owners, st.Awaited)
		}
		time.Sleep(10 * time.Second)
		if st := w.owner(key); fmt.Sprint(st.Owners, st.Awaited) != "[a] []" {
			t.Errorf("%v %v", st.Owners, st.Awaited)
		}
	})
}

func members(st router.RingStatus) string {
	var all []string
	for _, m := range st.Members {
		all = append(all, fmt.Sprintf("{%s %d %v %s %d %d %v}", m.Name, m.Weight, m.Share, m.State, m.Busy, m.Ended, m.Away))
	}
	return fmt.Sprint(all)
}

// The one whose answers fail owns nothing while it is set aside.
func TestOwnerPassesOverWhoIsSetAside(t *testing.T) {
	storyBehind(t, router.Config{MaxFailures: 1}, engine, nil, func(w *world) {
		a, b := w.native("a"), w.native("b")
		a.join(8, keptBy("header:x-user"))
		b.join(8, keptBy("header:x-user"))
		key := ""
		for i := 0; key == ""; i++ {
			if one := fmt.Sprint(i); w.owner(one).Owners[0] == "b" {
				key = one
			}
		}
		p := w.send(http.MethodPost, "/", nil, keyed("x-user", key))
		b.request().reset(frame.Code(2))
		p.wants(502, "")
		if st := w.owner(key); fmt.Sprint(st.Owners) != "[a]" {
			t.Errorf("%v", st.Owners)
		}
		if st := w.ring(""); st.Members[1].State != "aside" {
			t.Errorf("%+v", st.Members)
		}
	})
}

// Which route is meant follows from the service, the host and the path, as far as it must.
func TestOwnerFindsTheRoute(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		refused := func(query string, code int, words string) {
			t.Helper()
			w.settle()
			for _, path := range []string{"/owner?key=k&", "/ring?"} {
				got, body := adminGet(t, w, path+query)
				var e struct{ Error string }
				if err := json.Unmarshal([]byte(body), &e); got != code || err != nil || !strings.Contains(e.Error, words) || strings.Count(body, "\n") != 1 {
					t.Errorf("%s: %d %s, want %d and %s", path+query, got, body, code, words)
				}
			}
		}
		at := func(query, service, route string) {
			t.Helper()
			own, all := w.owner("k", "&"+query), w.ring("?"+query)
			if own.Service != service || own.Route.String() != route || all.Service != service || all.Route != own.Route {
				t.Errorf("%s: %s %s, want %s %s", query, own.Service, own.Route, service, route)
			}
		}
		refused("", 404, "no worker has announced anything yet")
		w.announce("shop-1", "shop", []string{"shop.test", "*.shop.test"}, nil)
		at("", "shop", "*.shop.test/") // both have the same workers
		w.announce("api-1", "api", []string{"shop.test"}, []string{"/api/", "/v1"})
		refused("", 400, "there are several services: api, shop; say service=")
		at("service=shop", "shop", "*.shop.test/")
		at("service=api", "api", "shop.test/api")
		at("service=api&path=/v1/", "api", "shop.test/v1")
		at("service=api&host=SHOP.test", "api", "shop.test/api")
		at("host=SHOP.test&path=/v1/users", "api", "shop.test/v1") // as a request has them
		at("host=eu.shop.test&path=/v1", "shop", "*.shop.test/")
		at("host=*.shop.test", "shop", "*.shop.test/")
		refused("host=shop.test", 400, "several routes are meant, and their workers or policies differ: shop.test/, shop.test/api, shop.test/v1; say host= and path=")
		refused("service=shopp", 404, `no service here is called "shopp"; there are: api, shop`)
		refused("service=api&host=eu.shop.test", 404, `no route of service api serves the host "eu.shop.test" and the path ""; there are: shop.test/api, shop.test/v1`)
		refused("host=blog.test&path=/", 404, `no route serves the host "blog.test" and the path "/"; there are: *.shop.test/, shop.test/,`)
		w.announce("rest-1", "", nil, nil)
		at("", "", "*/") // the one without a name
		at("host=*", "", "*/")
		w.announce("api-2", "api", []string{"shop.test"}, []string{"/api/"})
		refused("service=api", 400, "several routes of service api are meant, and their workers or policies differ: shop.test/api, shop.test/v1")
		w.announce("blog-1", "blog", nil, nil) // at the route of another service
		at("service=blog", "", "*/")
		once := w.native("once") // what it said holds on after it
		once.join(4, keptBy("ip"), serves("s", []string{"s.test"}, []string{"/y"}))
		w.announce("now", "s", []string{"s.test"}, []string{"/", "/y"})
		once.die()
		refused("service=s", 400, "their workers or policies differ: s.test/, s.test/y")
		refused("path=api", 400, `the path "api" begins with no /`)
		refused("serivce=shop", 400, `there is no parameter "serivce"; say service=, host=, path=`)
		refused("service=shop&service=api", 400, "service= stands there 2 times; say it once")
		refused("service=%zz", 400, "write % as %25")
		refused("service="+strings.Repeat("a", 300), 404, "no service here is called")

		for i := range 30 {
			w.announce(fmt.Sprintf("many-%02d", i), fmt.Sprintf("many-%02d", i), []string{fmt.Sprintf("%02d.test", i)}, nil)
		}
		refused("service=none", 404, "many-16, many-17 and 15 more")
		w.announce("v6-1", "v6", []string{"[2001:DB8:0:0::1]"}, []string{"/x"})
		at("host=[2001:0db8::0001]", "v6", "[2001:db8::1]/x")
	})
}

func TestOwnerWantsAKey(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		w.join("a", 1)
		w.settle()
		if st := w.owner(strings.Repeat("k", 64<<10)); st.Sticky != "off" || len(st.Owners) != 1 {
			t.Errorf("%s %v", st.Sticky, st.Owners)
		}
		for query, want := range map[string]string{"": "whose key? say key=", "?key=": "whose key?", "?key=" + strings.Repeat("k", 64<<10+1): "has 65537 bytes; say one of at most 65536"} {
			if code, body := adminGet(t, w, "/owner"+query); code != 400 || !strings.Contains(body, want) {
				t.Errorf("%.20s: %d %s", query, code, body)
			}
		}
	})
}

// /services says where clients are kept on workers, and how.
func TestServicesShowPolicies(t *testing.T) {
	storyBehind(t, router.Config{Sticky: "ip"}, engine, nil, func(w *world) {
		for name, policy := range map[string]string{"a": "", "b": "off", "c": "cookie:s;issue"} {
			w.native(name).join(1, keptBy(policy), serves(name, []string{name + ".test"}, nil))
		}
		w.settle()
		got := map[string]string{}
		for _, v := range w.r.Services() {
			got[v.Name] = v.Routes[0].Sticky
		}
		if want := "map[a:ip b: c:cookie:s; issue]"; fmt.Sprint(got) != want {
			t.Errorf("%v, want %s", got, want)
		}
		if _, body := adminGet(t, w, "/services"); strings.Count(body, `"sticky"`) != 2 {
			t.Error(body)
		}
	})
}
