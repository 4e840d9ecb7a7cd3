package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// table announces places: "host path", each with an * for any.
func table(t *testing.T, announced ...string) *routes {
	t.Helper()
	r := newRoutes()
	for _, a := range announced {
		host, path, _ := strings.Cut(a, " ")
		at, err := places([]string{host}, []string{path})
		if err != nil {
			t.Fatal(err)
		}
		if r.get(at[0].host, at[0].path) == nil {
			r.add(&route{host: at[0].host, path: at[0].path})
		}
	}
	return &r
}

func (r *route) String() string {
	if r == nil {
		return "none"
	}
	host, path := r.host, r.path
	if host == "" {
		host = "*"
	}
	return host + " " + path + "/"
}

func TestRoutesAreFound(t *testing.T) {
	all := table(t,
		"shop.example.com /", "shop.example.com /api/", "shop.example.com /api/v2",
		"*.example.com /", "*.eu.example.com /", "*.example.com /static",
		"* /health", "only.test /deep/er", "[::1] /", "Upper.Example.ORG. /",
		"[2001:DB8:0:0::1] /", "[::ffff:192.0.2.1] /")
	for request, want := range map[string]string{
		"shop.example.com /":                        "shop.example.com /",
		"shop.example.com:8080 /x":                  "shop.example.com /",
		"SHOP.example.COM /api":                     "shop.example.com /api/",
		"shop.example.com. /api/":                   "shop.example.com /api/",
		"shop.example.com /api/v1":                  "shop.example.com /api/",
		"shop.example.com /apis":                    "shop.example.com /", // not on a border of segments
		"shop.example.com /%61pi":                   "shop.example.com /", // compared as it was written
		"shop.example.com /api/../x":                "shop.example.com /api/",
		"shop.example.com /api/v2":                  "shop.example.com /api/v2/",
		"shop.example.com /api/v2?a=/b":             "shop.example.com /api/v2/",
		"shop.example.com /api?x=/../y":             "shop.example.com /api/",
		"shop.example.com /api/v22":                 "shop.example.com /api/",
		"shop.example.com /api/v2/x/y/z":            "shop.example.com /api/v2/",
		"shop.example.com *":                        "none", // of the server itself
		"www.example.com /":                         "*.example.com /",
		"a.b.example.com /":                         "*.example.com /",
		"www.eu.example.com /":                      "*.eu.example.com /",
		"www.eu.example.com /static/x":              "*.eu.example.com /", // the longer suffix counts first
		"example.com /":                             "none",
		"notexample.com /":                          "none",
		"elsewhere /health/x":                       "* /health/",
		"shop.example.com /health":                  "shop.example.com /",
		"only.test /deep/er/x":                      "only.test /deep/er/",
		"only.test /deep":                           "none",
		"only.test /health":                         "* /health/", // nothing of that host fits
		"[::1]:9000 /":                              "[::1] /",
		"[::1] /":                                   "[::1] /",
		"[0:0:0:0:0:0:0:1] /":                       "[::1] /",
		"[0:0:0:0:0:0:0:1]:9000 /":                  "[::1] /",
		"[2001:db8::1] /":                           "[2001:db8::1] /",
		"[2001:0DB8::0001]:80 /":                    "[2001:db8::1] /",
		"[::FFFF:c000:201] /":                       "[::ffff:192.0.2.1] /",
		"[::1%25lo] /health":                        "* /health/", // nobody's
		"[::1]x /health":                            "* /health/",
		"[::1 /health":                              "* /health/",
		"::1 /health":                               "* /health/",
		"upper.example.org /":                       "upper.example.org /",
		" /health":                                  "* /health/",
		" /":                                        "none",
		strings.Repeat("x", 300) + ".example.com /": "none",
		"x /" + strings.Repeat("/", 30_000):         "none",
	} {
		host, path, _ := strings.Cut(request, " ")
		if got := all.find([]byte(host), []byte(path)); got.String() != want {
			t.Errorf("%.80s goes to %s, want %s", request, got, want)
		}
	}
}

func TestRoutesThatGo(t *testing.T) {
	all := table(t, "* /", "a.test /", "*.b.test /x")
	if all.only != nil {
		t.Error("one route is for everything beside others")
	}
	for _, gone := range []string{"a.test", "*.b.test"} {
		path := map[string]string{"a.test": "", "*.b.test": "/x"}[gone]
		r := all.get(gone, path)
		all.remove(r)
		if all.get(gone, path) != nil || !r.gone {
			t.Errorf("%s is still there", gone)
		}
	}
	if all.only == nil || len(all.exact)+len(all.wild) != 0 || all.find([]byte("a.test"), []byte("/")) != all.only {
		t.Errorf("what is left: %+v", all)
	}
}

func TestWhatCanBeAnnounced(t *testing.T) {
	for _, host := range []string{"", "*", "a.test", "A.Test", "*.a.test", "127.0.0.1", "[::1]", "[2001:DB8:0:0::1]", "xn--bcher-kva.example", "under_score.test"} {
		if _, err := places([]string{host}, nil); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	}
	for _, host := range []string{"a.test:80", "a.*.test", "*a.test", "**", "*.", ".", "..", "*..", ".a.test", "a..test", "a.test..", "a b", "a/b", "http://a", "ü.test", "\u212a.test", "::1", "[::1]:80", "[::1].", "*.[::1]", "[]", "[a.test]", "[127.0.0.1]", "[fe80::1%lo]", "[v1.x]", strings.Repeat("x", 256), "a\r\nb"} {
		if _, err := places([]string{host}, nil); err == nil || !strings.Contains(err.Error(), "the host ") {
			t.Errorf("%q: %v", host, err)
		}
	}
	at, err := places([]string{"[0:0::1]", "[::1]", "A.test.", "a.test", "*", ""}, nil)
	if want := []place{{"[::1]", ""}, {"a.test", ""}, {"", ""}}; err != nil || !slices.Equal(at, want) {
		t.Errorf("%q %v, want %q", at, err, want)
	}
	for _, path := range []string{"/", "/api", "/api/", "/a%20b", "/~x/y"} {
		if _, err := places(nil, []string{path}); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, path := range []string{"", "api", "*", "/a b", "/a?b", "/a#b", "/ü", "/" + strings.Repeat("x", 1024), "/a\n"} {
		if _, err := places(nil, []string{path}); err == nil || !strings.Contains(err.Error(), "the path ") {
			t.Errorf("%q: %v", path, err)
		}
	}
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprint("/", i)
	}
	if _, err := places(many[:0], many); err != nil {
		t.Error(err)
	}
	hosts := make([]string, 40)
	for i := range hosts {
		hosts[i] = fmt.Sprint("h", i)
	}
	if _, err := places(hosts, many); err == nil || !strings.Contains(err.Error(), "at most 1024") {
		t.Errorf("1,600 routes: %v", err)
	}
}

func TestFindingARouteAllocatesNothing(t *testing.T) {
	all := table(t, "shop.example.com /api", "*.example.com /", "* /")
	host, path := []byte("Www.Example.com:9000"), []byte("/some/path?query")
	if n := testing.AllocsPerRun(100, func() { all.find(host, path) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
