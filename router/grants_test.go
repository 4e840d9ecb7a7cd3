package router_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

var granted = []router.Grant{
	{Token: "all"},
	{Token: "shop", Services: []string{"shop"}, Hosts: []string{"shop.test", "*.shop.test"}, Paths: []string{"/api/", "/static"}},
	{Token: "two", Services: []string{"a", "b"}},
}

// W13: a worker gets no requests for what its token is not for.
func TestW13WorkersAnnounceWhatTheirTokensAllow(t *testing.T) {
	for name, tc := range map[string]struct {
		token, service string
		hosts, paths   []string
		want           string // routes of /services, or why it is refused
	}{
		"all":                     {"all", "any", []string{"x.test"}, nil, "any:x.test/"},
		"left out, all is its":    {"shop", "", nil, nil, "shop:*.shop.test/api shop:*.shop.test/static shop:shop.test/api shop:shop.test/static"},
		"less":                    {"shop", "shop", []string{"eu.shop.test"}, []string{"/api/v2"}, "shop:eu.shop.test/api/v2"},
		"a wildcard below":        {"shop", "shop", []string{"*.eu.shop.test"}, []string{"/static/"}, "shop:*.eu.shop.test/static"},
		"another's service":       {"shop", "blog", nil, nil, `the service "blog" is not its token's, which is for shop`},
		"another's host":          {"shop", "shop", []string{"shop.test", "blog.test"}, nil, `the host "blog.test" is not its token's, which is for shop.test, *.shop.test`},
		"a host that looks alike": {"shop", "shop", []string{"notshop.test"}, nil, `the host "notshop.test" is not`},
		"any host":                {"shop", "shop", []string{"*"}, nil, `the host "*" is not its token's, which is for shop.test, *.shop.test: add host=* to`},
		"another's path":          {"shop", "shop", nil, []string{"/apis"}, `the path "/apis" is not its token's`},
		"all paths":               {"shop", "shop", nil, []string{"/"}, `the path "/" is not its token's, which is for /api/, /static: add path=/ to`},
		"one of two services":     {"two", "b", nil, nil, "b:/"},
		"none of two services":    {"two", "", nil, nil, `the service "" is not its token's, which is for a, b: announce one of these`},
		"no token":                {"", "shop", nil, nil, "the token is missing or wrong"},
		"a wrong one":             {"sho", "shop", nil, nil, "the token is missing or wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{Grants: granted}, func(w *world) {
				k := w.native("w")
				k.join(1, func(j *frame.JoinInfo) {
					j.Token, j.Service, j.Hosts, j.Paths = tc.token, tc.service, tc.hosts, tc.paths
				})
				w.settle()
				st := w.r.Workers()[0]
				if st.State == "refused" {
					if !strings.Contains(st.Why, tc.want) || !strings.Contains(w.log.String(), "worker refused") {
						t.Errorf("refused: %s", st.Why)
					}
					k.refused(http2.ErrCodeInadequateSecurity, "")
					return
				}
				var routes []string
				for _, v := range w.r.Services() {
					for _, r := range v.Routes {
						routes = append(routes, v.Name+":"+r.Host+r.Path)
					}
				}
				if got := strings.Join(routes, " "); got != tc.want {
					t.Errorf("it serves %s, want %s", got, tc.want)
				}
			})
		})
	}
}

// A REP announces nothing, so its token does.
func TestW13AREPServesWhatItsTokenIsFor(t *testing.T) {
	story(t, router.Config{Grants: granted}, func(w *world) {
		k := w.connect("REP", zmtp.Options{User: "w", Password: "shop"})
		p := w.get("/api/x", at("shop.test"))
		k.task().reply("", "yes")
		p.wants(200, "yes")
		time.Sleep(router.DefaultQueueWait)
		w.get("/", at("shop.test")).wants(404, "")
	})
}

// Tokens can be taken away, narrowed and replaced while workers serve.
func TestW13GrantsThatChange(t *testing.T) {
	story(t, router.Config{Grants: granted}, func(w *world) {
		early := w.native("early") // before its token counts
		early.join(1, withToken("new"))
		early.refused(http2.ErrCodeInadequateSecurity, "")
		stays, goes := w.native("stays"), w.native("goes")
		stays.join(4, withToken("all"))
		goes.join(4, func(j *frame.JoinInfo) { j.Token, j.Service, j.Hosts = "shop", "shop", []string{"shop.test"} })
		w.settle()
		p := w.get("/api/running", at("shop.test"))
		c := goes.request()
		if err := w.r.SetGrants([]router.Grant{{Token: "all"}, {Token: "new"}}); err != nil {
			t.Fatal(err)
		}
		goes.refused(http2.ErrCodeInadequateSecurity, "token")
		early.gone() // to dial in again
		c.answer(200, "finished")
		p.wants(200, "finished")
		early = w.native("early")
		early.join(1, withToken("new"))
		w.settle()
		seen := map[string]bool{}
		for range 2 {
			seen[serveOne(t, w, stays, early)] = true
		}
		if !seen["stays"] || !seen["early"] {
			t.Errorf("served by %v", seen)
		}
		goes.silent()
		if err := w.r.SetGrants([]router.Grant{{Token: "x", Hosts: []string{"a b"}}}); err == nil {
			t.Error("a malformed grant was taken")
		}
		stays.silent()
	})
}

// W13: what a worker leaves out is what its token allows, as that is now.
func TestW13GrantsThatAreNarrowed(t *testing.T) {
	story(t, router.Config{Grants: []router.Grant{{Token: "t"}}}, func(w *world) {
		k := w.native("w")
		k.join(4, withToken("t"))
		w.settle()
		time.Sleep(router.DefaultQueueWait)
		p := w.get("/running", at("a.test"))
		c := k.request()
		if err := w.r.SetGrants([]router.Grant{{Token: "t", Services: []string{"n"}, Hosts: []string{"only.test"}, Paths: []string{"/p"}}}); err != nil {
			t.Fatal(err)
		}
		w.get("/", at("a.test")).wants(404, "")
		w.get("/", at("only.test")).wants(404, "")
		q := w.get("/p/x", at("only.test"))
		k.request().answer(200, "its own")
		q.wants(200, "its own")
		c.answer(200, "finished")
		p.wants(200, "finished")
		if all := w.r.Services(); len(all) != 1 || all[0].Name != "n" {
			t.Errorf("/services: %+v", all)
		}
	})
}

func TestParseGrants(t *testing.T) {
	got, err := router.ParseGrants([]byte("\n# all\nfirst\n second  service=a,b host=*.x.test host=y.test path=/p # why\n"))
	want := []router.Grant{{Token: "first"}, {Token: "second", Services: []string{"a", "b"}, Hosts: []string{"*.x.test", "y.test"}, Paths: []string{"/p"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"a\nb x=1":                      `line 2: "x=1" behind the token: service=NAME, host=NAME or path=/PREFIX is right`,
		"a service":                     `line 1: "service" behind`,
		"a service=":                    `line 1: "service=" behind`,
		"a service=x/y":                 `line 1: the service "x/y"`,
		"a host=x:1":                    `line 1: the host "x:1"`,
		"a\nb\na host=x.test":           "line 3: its token stands on a line before",
		"a path=x":                      `line 1: the path "x"`,
		strings.Repeat("x", 256) + "\n": "line 1: a token has 256 bytes",
	} {
		if _, err := router.ParseGrants([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %s", text, err, want)
		}
	}
}
