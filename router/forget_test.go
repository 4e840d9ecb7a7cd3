package router_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// known is all services and their routes, as /services shows them.
func (w *world) known() string {
	var all []string
	for _, v := range w.r.Services() {
		all = append(all, fmt.Sprintf("%s(%d)", v.Name, v.Workers))
		for _, r := range v.Routes {
			all = append(all, fmt.Sprintf("%s%s=%d", r.Host, r.Path, r.Workers))
		}
	}
	return strings.Join(all, " ")
}

// Whatever other workers its service has: those that say no service are all of one.
func TestARouteIsForgottenByItself(t *testing.T) {
	story(t, router.Config{Forget: time.Minute, QueueWait: time.Second}, func(w *world) {
		w.announce("stays", "", []string{"a.test"}, nil)
		w.announce("goes", "", []string{"b.test"}, nil).die()
		w.settle()
		time.Sleep(59 * time.Second)
		if got, want := w.known(), "(1) a.test/=1 b.test/=0"; got != want {
			t.Errorf("/services: %s, want %s", got, want)
		}
		w.get("/", at("b.test")).wants(503, "no worker became ready in time")
		w.get("/", at("b.test")).wants(404, "no service here serves this host and path")
		if got, want := w.known(), "(1) a.test/=1"; got != want {
			t.Errorf("/services: %s, want %s", got, want)
		}
	})
}

// Each time that its last worker goes, the time of a route begins anew.
func TestARouteWhoseWorkersComeBackIsKept(t *testing.T) {
	story(t, router.Config{Forget: time.Minute, QueueWait: time.Second}, func(w *world) {
		w.announce("other", "", []string{"a.test"}, nil)
		for range 3 {
			k := w.announce("comes", "", []string{"b.test"}, nil)
			time.Sleep(time.Hour)
			p := w.get("/", at("b.test"))
			k.request().answer(200, "here")
			p.wants(200, "here")
			k.die()
			w.settle()
			time.Sleep(58 * time.Second)
			w.get("/", at("b.test")).wants(503, "")
		}
	})
}

func TestAllThatIsForgottenAtOnce(t *testing.T) {
	story(t, router.Config{Forget: time.Minute, QueueWait: time.Second}, func(w *world) {
		for i := range 20 {
			w.announce(fmt.Sprint("k", i), fmt.Sprint("s", i), []string{fmt.Sprintf("h%d.test", i)}, nil).die()
		}
		w.settle()
		time.Sleep(time.Minute)
		p := w.get("/", at("h1.test")) // while nobody has announced anything, it waits
		w.settle()
		if got := w.known(); got != "" || !p.waiting() {
			t.Errorf("/services: %s", got)
		}
		p.wants(503, "")
	})
}

// A service of which nothing is left does not stay, and takes no room from the others.
func TestServicesOfManyNamesLeaveNothing(t *testing.T) {
	story(t, router.Config{QueueLimit: 10, QueueWait: time.Hour}, func(w *world) {
		k := w.native("a")
		for i := range 500 {
			k.join(4, serves(fmt.Sprint("s", i), nil, nil))
		}
		w.settle()
		if got, want := w.known(), "s499(1) /=1"; got != want {
			t.Errorf("/services: %s, want %s", got, want)
		}
		k.die()
		w.settle()
		for i := range 10 {
			client := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			defer client.nc.Close()
			if got, _ := client.seen(); got != "" {
				t.Fatalf("request %d of 10 that may wait got %q", i+1, got)
			}
		}
	})
}

// Nor does one whose routes others serve now.
func TestARouteGoesToTheServiceThatStillServesIt(t *testing.T) {
	story(t, router.Config{QueueLimit: 10, QueueWait: time.Hour, Forget: time.Minute}, func(w *world) {
		blue := w.announce("a", "blue", nil, nil)
		green := w.announce("b", "green", nil, nil)
		if got, want := w.known(), "blue(1) /=2 green(1)"; got != want {
			t.Errorf("/services: %s, want %s", got, want)
		}
		blue.die()
		w.settle()
		if got, want := w.known(), "green(1) /=1"; got != want {
			t.Errorf("/services: %s, want %s", got, want)
		}
		for range 4 {
			w.raw("GET /slot HTTP/1.1\r\nHost: h\r\n\r\n")
			w.settle()
		}
		for i := range 10 {
			if got, _ := w.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n").seen(); got != "" {
				t.Fatalf("request %d of 10 that may wait got %q", i+1, got)
			}
		}
		for range 14 {
			green.request().answer(204, "")
		}
	})
}

// manyHosts are as many as one worker may announce.
func manyHosts(i int) (hosts []string) {
	for n := range 1024 {
		hosts = append(hosts, fmt.Sprintf("h%d-%d.test", i, n))
	}
	return hosts
}

func TestTheRouterTakesSoManyRoutes(t *testing.T) {
	story(t, router.Config{Forget: time.Minute}, func(w *world) {
		for i := range 16 {
			w.announce(fmt.Sprint("full", i), "s", manyHosts(i), nil)
		}
		w.announce("beside", "s", manyHosts(15), nil) // nothing new
		w.announce("one", "s", []string{"h3-7.test"}, nil)
		for _, k := range w.r.Workers() {
			if k.State != "ready" {
				t.Errorf("%s is %s: %s", k.Name, k.State, k.Why)
			}
		}
		k := w.announce("more", "s", []string{"new.test"}, nil)
		if f := k.next(); f.Type != frame.GoAway || !strings.Contains(fmt.Sprintf("%q", f.Reason), "it takes 16384 in all") {
			t.Errorf("got %v %q", f.Type, f.Reason)
		}
		for i := range 20 { // that come and go leave nothing
			w.announce("churn", fmt.Sprint("t", i), []string{fmt.Sprintf("t%d.test", i)}, nil).die()
		}
		w.settle()
		services := w.r.Services()
		if len(services) != 1 || len(services[0].Routes) != 16384 {
			t.Errorf("%d services, the first with %d routes", len(services), len(services[0].Routes))
		}
	})
}

func TestRoomForRoutesComesBack(t *testing.T) {
	story(t, router.Config{Forget: time.Minute}, func(w *world) {
		var last *worker
		for i := range 16 {
			last = w.announce(fmt.Sprint("full", i), "s", manyHosts(i), nil)
		}
		last.die()
		w.settle()
		time.Sleep(time.Minute)
		k := w.announce("new", "s", manyHosts(16), nil)
		p := w.get("/", at("h16-9.test"))
		k.request().answer(200, "new")
		p.wants(200, "new")
	})
}

// What two connections announced goes once.
func TestTakingOverAWorkerOfTheSameRoute(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		is := func(instance, host string) func(*frame.JoinInfo) {
			return func(info *frame.JoinInfo) { info.Instance, info.Hosts = instance, []string{host} }
		}
		k, other := w.native("k"), w.native("k")
		k.join(4, is("one", "old.test"))
		other.join(4, is("two", "old.test"))
		w.settle()
		k.join(4, is("two", "new.test"))
		w.settle()
		if got, want := w.known(), "(1) new.test/=1"; got != want {
			t.Errorf("/services: %s, want %s", got, want)
		}
		p := w.get("/", at("new.test"))
		k.request().answer(200, "new")
		p.wants(200, "new")
	})
}
