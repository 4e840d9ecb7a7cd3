package router_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// serves is an edit for join.
func serves(service string, hosts, paths []string) func(*frame.JoinInfo) {
	return func(info *frame.JoinInfo) { info.Service, info.Hosts, info.Paths = service, hosts, paths }
}

// announce joins a worker of a service.
func (w *world) announce(name, service string, hosts, paths []string) *worker {
	w.t.Helper()
	k := w.native(name)
	k.join(4, serves(service, hosts, paths))
	w.settle()
	return k
}

// at is an edit for send.
func at(host string) func(*http.Request) {
	return func(req *http.Request) { req.Host = host }
}

func TestServicesAreChosenByHostAndPath(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		shop := w.announce("shop-1", "shop", []string{"shop.test", "*.shop.test"}, nil)
		api := w.announce("api-1", "api", []string{"shop.test"}, []string{"/api/"})
		rest := w.announce("rest-1", "", nil, nil)
		for _, tc := range []struct {
			host, path string
			k          *worker
		}{
			{"shop.test", "/", shop},
			{"shop.test:9000", "/apis", shop},
			{"eu.shop.test", "/api/x", shop},
			{"shop.test", "/api/x", api},
			{"SHOP.test", "/api", api},
			{"other.test", "/", rest},
			{"other.test", "/api", rest},
		} {
			p := w.get(tc.path, at(tc.host))
			c := tc.k.request()
			if got := c.get(":path"); got != tc.path {
				t.Errorf("%s%s came as %s", tc.host, tc.path, got)
			}
			c.answer(200, tc.k.name)
			p.wants(200, tc.k.name)
		}
		var all []string
		for _, v := range w.r.Services() {
			for _, r := range v.Routes {
				all = append(all, fmt.Sprintf("%s:%s%s=%d", v.Name, r.Host, r.Path, r.Workers))
			}
		}
		if got, want := strings.Join(all, " "), ":/=1 api:shop.test/api=1 shop:*.shop.test/=1 shop:shop.test/=1"; got != want {
			t.Errorf("/services: %s, want %s", got, want)
		}
	})
}

// What a worker announces is served at once, as soon as its router knows it.
func TestS3R1AnAnnouncedHostIsServed(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		begin := time.Now()
		k := w.announce("app1-1", "app1", []string{"app1.example.com"}, nil)
		p := w.get("/", at("app1.example.com"))
		k.request().answer(200, "from app1")
		p.wants(200, "from app1")
		if took := time.Since(begin); took > time.Second {
			t.Errorf("served after %v", took)
		}
	})
}

func TestS3R1WhatNobodyAnnouncedIs404(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		w.announce("shop-1", "shop", []string{"shop.test"}, nil)
		time.Sleep(router.DefaultQueueWait)
		begin := time.Now()
		resp := w.get("/", at("elsewhere.test")).wants(404, "no service here serves this host and path")
		if time.Since(begin) != 0 {
			t.Errorf("404 after %v", time.Since(begin))
		}
		if got := resp.Header.Get("Proxy-Status"); !strings.Contains(got, "error=destination_not_found") {
			t.Errorf("Proxy-Status: %s", got)
		}
	})
}

// On a fresh router a service may be about to come back.
func TestAFreshRouterLetsUnknownHostsWait(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		time.Sleep(time.Second)
		shop := w.announce("shop-1", "shop", []string{"shop.test"}, nil)
		begin := time.Now()
		blog, lost := w.get("/", at("blog.test")), w.get("/", at("lost.test"))
		late := w.get("/late", at("shop.test"))
		shop.request().answer(200, "shop")
		late.wants(200, "shop")
		time.Sleep(2 * time.Second)
		if !blog.waiting() || !lost.waiting() {
			t.Fatal("answered")
		}
		k := w.announce("blog-1", "blog", []string{"blog.test"}, nil)
		k.request().answer(200, "blog")
		blog.wants(200, "blog")
		lost.wants(404, "no service")
		if took := time.Since(begin); took != router.DefaultQueueWait-time.Second {
			t.Errorf("404 after %v: the router was %v old", took, took+time.Second)
		}
		shop.silent()
	})
}

// While nobody at all has announced anything, it is not known what will be there.
func TestWithoutAnyServiceRequestsWait(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		time.Sleep(time.Hour)
		p := w.get("/", at("shop.test"))
		time.Sleep(time.Second)
		w.announce("shop-1", "shop", []string{"shop.test"}, nil).request().answer(200, "here")
		p.wants(200, "here")
	})
}

func TestS3R1AServiceWithoutWorkersIs503AndThenForgotten(t *testing.T) {
	story(t, router.Config{Forget: time.Minute}, func(w *world) {
		w.announce("blog-1", "blog", []string{"blog.test"}, nil)
		w.announce("shop-1", "shop", []string{"shop.test"}, nil).die()
		w.settle()
		begin := time.Now()
		resp := w.get("/", at("shop.test")).wants(503, "service shop: no worker became ready in time")
		if took := time.Since(begin); took != router.DefaultQueueWait {
			t.Errorf("503 after %v", took)
		}
		if got := resp.Header.Get("Proxy-Status"); !strings.Contains(got, `error=destination_unavailable; details="service shop: `) {
			t.Errorf("Proxy-Status: %s", got)
		}
		p := w.get("/", at("shop.test"))
		time.Sleep(time.Second)
		k := w.announce("shop-2", "shop", []string{"shop.test"}, nil)
		k.request().answer(200, "back")
		p.wants(200, "back")
		k.die()
		time.Sleep(time.Minute)
		w.get("/", at("shop.test")).wants(404, "")
		for _, v := range w.r.Services() {
			if v.Name == "shop" {
				t.Errorf("/services: %+v", v)
			}
		}
	})
}

// F5: requests of a service whose workers are dead leave room for the others.
func TestF5OneDeadServiceCannotFillTheRoom(t *testing.T) {
	story(t, router.Config{QueueLimit: 100, QueueWait: time.Hour}, func(w *world) {
		w.announce("dead-1", "dead", []string{"dead.test"}, nil).die()
		blog := w.announce("blog-1", "blog", []string{"blog.test"}, nil)
		for range 4 { // its slots
			w.raw("GET /slot HTTP/1.1\r\nHost: blog.test\r\n\r\n")
			w.settle()
		}
		var full string
		n := 0
		for ; n < 200 && full == ""; n++ {
			client := w.raw("GET /dead HTTP/1.1\r\nHost: dead.test\r\n\r\n")
			defer client.nc.Close()
			full, _ = client.seen()
		}
		if n < 40 || n > 60 || !strings.HasPrefix(full, "HTTP/1.1 503 ") || !strings.Contains(full, "service dead: too many requests wait") || !strings.Contains(full, "\r\nRetry-After: ") {
			t.Errorf("after %d requests of the dead service: %q", n, full)
		}
		for range 20 {
			if got, _ := w.raw("GET /blog HTTP/1.1\r\nHost: blog.test\r\n\r\n").seen(); got != "" {
				t.Fatalf("a request of the other got %q", got)
			}
		}
		for range 24 {
			blog.request().answer(204, "")
		}
	})
}

// F5: Retry-After is about the service that was asked, however fast another one is.
func TestF5RetryAfterIsOfTheServiceThatWasAsked(t *testing.T) {
	story(t, router.Config{QueueWait: 9 * time.Second}, func(w *world) {
		w.announce("dead-1", "dead", []string{"dead.test"}, nil).die()
		blog := w.native("blog-1")
		blog.join(1, serves("blog", []string{"blog.test"}, nil))
		p := w.get("/", at("dead.test"))
		for w.settle(); p.waiting(); w.settle() {
			first, second := w.get("/", at("blog.test")), w.get("/", at("blog.test")) // which waits for a worker, and gets it
			for range 2 {
				blog.request().answer(200, "")
			}
			first.wants(200, "")
			second.wants(200, "")
			time.Sleep(100 * time.Millisecond)
		}
		resp := p.wants(503, "service dead: no worker became ready in time")
		if got := resp.Header.Get("Retry-After"); got != "9" {
			t.Errorf("Retry-After: %s of a service whose workers are dead, want as long as one may wait", got)
		}
	})
}

// Who is alone needs to leave nothing.
func TestOneServiceMayHaveAllTheRoom(t *testing.T) {
	story(t, router.Config{QueueLimit: 10, QueueWait: time.Hour}, func(w *world) {
		w.announce("shop-1", "shop", []string{"shop.test"}, nil).die()
		for range 10 {
			client := w.raw("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
			defer client.nc.Close()
			if got, _ := client.seen(); got != "" {
				t.Fatalf("got %q", got)
			}
		}
	})
}

func TestWorkersOfOneServiceWithOtherRoutesServeTheirOwn(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		all := w.announce("a", "shop", []string{"shop.test"}, []string{"/x", "/y"})
		one := w.announce("b", "shop", []string{"shop.test"}, []string{"/y"})
		seen := map[string]int{}
		for range 4 {
			p := w.get("/x", at("shop.test"))
			all.request().answer(200, "")
			p.wants(200, "")
			one.silent()
		}
		for range 8 {
			p := w.get("/y", at("shop.test"))
			w.settle()
			for _, k := range []*worker{all, one} {
				if parts, ok := k.inbox.peek(); ok {
					seen[k.name]++
					(&call{worker: k, Frame: parse(t, parts)}).answer(200, "")
				}
			}
			p.wants(200, "")
		}
		if seen["a"] != 4 || seen["b"] != 4 {
			t.Errorf("in turn they got %v", seen)
		}
	})
}

// A worker with many routes has one set of slots, and serves who came first.
func TestOneWorkersRoutesShareItsSlots(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.native("a")
		k.join(1, serves("", []string{"a.test", "b.test", "c.test"}, nil))
		w.settle()
		first := w.get("/1", at("a.test"))
		c := k.request()
		var rest []*pending
		for i, host := range []string{"c.test", "b.test", "a.test", "b.test"} {
			rest = append(rest, w.get(fmt.Sprint("/", i+2), at(host)))
			w.settle()
		}
		k.silent()
		c.answer(200, "")
		first.wants(200, "")
		for i, p := range rest {
			c := k.request()
			if got, want := c.get(":path"), fmt.Sprint("/", i+2); got != want {
				t.Errorf("%s came before %s", got, want)
			}
			c.answer(200, "")
			p.wants(200, "")
		}
	})
}

func TestAnnouncingAgainReplaces(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.announce("a", "shop", []string{"old.test"}, nil)
		w.announce("b", "other", []string{"b.test"}, nil)
		time.Sleep(router.DefaultQueueWait)
		p := w.get("/running", at("old.test"))
		c := k.request()
		k.join(4, serves("shop", []string{"new.test"}, nil))
		w.settle()
		w.get("/", at("old.test")).wants(404, "")
		q := w.get("/", at("new.test"))
		k.request().answer(200, "new")
		q.wants(200, "new")
		c.answer(200, "finished")
		p.wants(200, "finished")
	})
}

func TestS3R2TwoHundredServices(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		var hosts []string
		for i := range 200 {
			hosts = append(hosts, fmt.Sprintf("app-%03d.%s.test", i, strings.Repeat("x", 85)))
		}
		k := w.announce("many", "many", hosts, nil)
		for _, host := range []string{hosts[0], hosts[99], hosts[199]} {
			p := w.get("/", at(host))
			k.request().answer(200, "")
			p.wants(200, "")
		}
		for i := range 200 {
			w.announce(fmt.Sprint("w", i), fmt.Sprint("service-", i), []string{fmt.Sprintf("s%d.test", i)}, nil)
		}
		if n := len(w.r.Services()); n != 201 {
			t.Errorf("%d services", n)
		}
	})
}

func TestAWorkerThatAnnouncesWhatCannotBeIsRefused(t *testing.T) {
	for name, edit := range map[string]func(*frame.JoinInfo){
		"the host \\\"a.test:80\\\"": serves("", []string{"a.test:80"}, nil),
		"the path \\\"api\\\"":       serves("", nil, []string{"api"}),
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.native("a")
				k.join(1, edit)
				if f := k.next(); f.Type != frame.GoAway || !strings.Contains(fmt.Sprintf("%q", f.Reason), name) {
					t.Errorf("got %v %q", f.Type, f.Reason)
				}
				if got := w.r.Workers()[0]; got.State != "refused" {
					t.Errorf("/workers: %+v", got)
				}
			})
		})
	}
}

// O4: whatever clients ask for leaves nothing behind, and what workers announce is bounded.
func TestO4RandomHostsAndPathsLeaveNothing(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.announce("shop-1", "shop", []string{"shop.test"}, nil)
		time.Sleep(router.DefaultQueueWait)
		client := w.raw("")
		for i := range 2000 {
			client.write(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: h%d.test\r\n\r\n", i, i))
			if got, _ := client.seen(); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
				t.Fatalf("got %q", got)
			}
		}
		all := w.r.Services()
		if len(all) != 1 || len(all[0].Routes) != 1 || len(w.r.Streams().Streams) != 0 || len(w.r.Workers()) != 1 {
			t.Errorf("/services: %+v", all)
		}
		for i := range 50 { // a worker that says ever other things of itself
			k.name = fmt.Sprint("name-", i)
			k.join(1, serves(fmt.Sprint("service-", i), []string{fmt.Sprintf("h%d.test", i)}, nil))
			w.settle()
		}
		if all = w.r.Services(); len(all) != 1 || len(all[0].Routes) != 1 || len(w.r.Workers()) != 1 {
			t.Errorf("/services: %+v", all)
		}
	})
}
