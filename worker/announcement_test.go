package worker

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dialmux/dialmux/frame"
)

// What a worker announces can be replaced while it runs: over the connection that it has, under the identity that it has, and its requests go on.
func TestAnnouncingAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		joins := 0
		var said Announcement
		r := newRouter(t)
		w := Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-release
			hello(w, r)
		}), Name: "w", Concurrency: 7, Hosts: []string{"old.test"}, Announced: &said, OnJoin: func(string) { joins++ }}
		run := r.start(w)
		l := r.accept()
		l.welcome(welcome1)
		first := l.wantJoin(1)
		if got := strings.Join(first.Hosts, " "); got != "old.test" {
			t.Errorf("it announces %s", got)
		}
		l.get(1, "/")
		l.wantQuiet()

		w.Hosts, w.Weight, w.Concurrency = []string{"new.test"}, 3, 9
		if err := said.Replace(w); err != nil {
			t.Fatal(err)
		}
		if got := l.wantJoin(1); strings.Join(got.Hosts, " ") != "new.test" || got.Weight != 3 || got.Instance != first.Instance || got.Concurrency != 7 {
			t.Errorf("it announces %+v", got)
		}
		close(release)
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "hello /"`)
		l.wantQuiet()
		if joins != 2 {
			t.Errorf("OnJoin was called %d times", joins)
		}

		bad := w
		bad.Hosts = []string{strings.Repeat("x", frame.MaxHead)}
		if err := said.Replace(bad); err == nil || !strings.Contains(err.Error(), "shorten it") {
			t.Errorf("what does not fit: %v", err)
		}
		bad = w
		bad.Balance = "fair"
		if err := said.Replace(bad); err == nil || !strings.Contains(err.Error(), "use round-robin or least") {
			t.Errorf("a balance that there is not: %v", err)
		}
		l.wantQuiet()

		_ = l.Close()
		l = r.accept() // another connection knows it
		l.welcome(frame.WelcomeInfo{Connection: 2})
		if got := l.wantJoin(2); strings.Join(got.Hosts, " ") != "new.test" {
			t.Errorf("after a reconnect it announces %+v", got)
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}

		run = r.start(w) // so does another worker
		l = r.accept()
		l.welcome(welcome1)
		if got := l.wantJoin(1); strings.Join(got.Hosts, " ") != "new.test" {
			t.Errorf("another worker announces %+v", got)
		}
		l.wantQuiet()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A router that refuses what is announced anew goes on with what it took. The worker says so, and says what was taken first over the next
// connection, so that it is still there.
func TestAnAnnouncementThatIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var said Announcement
		var told []string
		allowed := "good.test"
		r := newRouter(t)
		r.refuses(func(j frame.JoinInfo) string {
			if host := strings.Join(j.Hosts, " "); host != allowed {
				return host + " is not its token's"
			}
			return ""
		})
		w := Worker{
			Handler: http.HandlerFunc(hello), Hosts: []string{"good.test"}, Announced: &said,
			OnJoin:   func(router string) { told = append(told, router+" takes it") },
			OnRefuse: func(router, why string) { told = append(told, router+" refuses it: "+why) },
		}
		run := r.start(w)
		heard := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(told, want) {
				t.Errorf("told %q, want %q", told, want)
			}
			told = nil
		}
		announces := func(host string) {
			t.Helper()
			w.Hosts = []string{host}
			if err := said.Replace(w); err != nil {
				t.Fatal(err)
			}
		}
		l := r.join()
		heard(DefaultRouter + " takes it")
		announces("evil.test")
		l.wantJoin(1)
		heard(DefaultRouter + " refuses it: evil.test is not its token's")
		if n := run.logs.count(`level=ERROR msg="the router refuses what this worker announces now, and goes on with what it announced before" router=tcp://127.0.0.1:8000 reason="evil.test is not its token's"`); n != 1 {
			t.Errorf("it was logged %d times:\n%s", n, run.logs)
		}
		l.get(1, "/") // it is still there
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "hello /"`)

		_ = l.Close()
		l = r.accept()
		l.welcome(welcome1)
		for _, want := range []string{"good.test", "evil.test"} {
			if got := l.wantJoin(1); strings.Join(got.Hosts, " ") != want {
				t.Errorf("over a new connection it announces %s, want %s", got.Hosts, want)
			}
		}
		heard(DefaultRouter+" takes it", DefaultRouter+" refuses it: evil.test is not its token's")

		l.welcome(welcome1) // which asks once more
		l.wantJoin(1)
		heard(DefaultRouter + " refuses it: evil.test is not its token's")

		_ = l.Close()
		allowed = "evil.test" // now
		l = r.accept()
		l.welcome(welcome1)
		l.wantJoin(1)
		l.wantJoin(1)
		heard(DefaultRouter+" refuses it: good.test is not its token's", DefaultRouter+" takes it")
		_ = l.Close()
		l = r.accept()
		l.welcome(welcome1)
		if got := l.wantJoin(1); strings.Join(got.Hosts, " ") != "evil.test" {
			t.Errorf("what was taken at last is not what it announces: %s", got.Hosts)
		}
		heard(DefaultRouter + " takes it")
		l.wantQuiet()

		announces("other.test")
		announces("evil.test") // whatever became of the one before
		synctest.Wait()
		if n := len(told); n == 0 || told[n-1] != DefaultRouter+" takes it" {
			t.Errorf("told %q", told)
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

// The last word of a worker that leaves is what it was told to announce before, and it takes no request for that.
func TestTheLastWordOfAWorkerThatLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		var said Announcement
		r := newRouter(t)
		w := Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-release
			hello(w, r)
		}), Hosts: []string{"old.test"}, Announced: &said}
		run := r.start(w)
		l := r.accept()
		l.welcome(welcome1)
		l.wantJoin(1)
		l.get(1, "/")
		l.wantQuiet()
		run.cancel()
		w.Hosts = []string{"late.test"} // which comes after its last word
		l.want(`GOAWAY 0 last 1 NO_ERROR worker drains`)
		if err := said.Replace(w); err != nil {
			t.Fatal(err)
		}
		l.wantQuiet()
		close(release)
		l.want(`HEADERS 1 [` + helloHead + `, content-length: 7] END 7 "hello /"`)
		if err := run.stop(); err != nil {
			t.Error(err)
		}

		for range 20 { // whatever is noticed first
			said = Announcement{}
			run = r.start(w)
			l = r.accept()
			l.welcome(welcome1)
			l.wantJoin(1)
			synctest.Wait()
			w.Hosts = []string{"new.test"}
			if err := said.Replace(w); err != nil {
				t.Fatal(err)
			}
			run.cancel()
			if got := l.wantJoin(1); strings.Join(got.Hosts, " ") != "new.test" {
				t.Errorf("it announces %+v", got)
			}
			l.want(`GOAWAY 0 last 0 NO_ERROR worker drains`)
			if err := run.stop(); err != nil {
				t.Error(err)
			}
		}
	})
}
