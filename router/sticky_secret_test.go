package router_test

import (
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// keptBy is an edit for join.
func keptBy(policy string) func(*frame.JoinInfo) {
	return func(info *frame.JoinInfo) { info.Sticky = policy }
}

// Who has cookies issued without a secret is told once what that means.
func TestCookiesThatEndWithTheRouterAreLogged(t *testing.T) {
	const line = "sticky cookies are signed with a secret that ends with this process"
	for name, tc := range map[string]struct {
		cfg    router.Config
		policy string
		want   int
	}{
		"a worker's":    {router.Config{}, "cookie:a; issue", 1},
		"the router's":  {router.Config{Sticky: "cookie:a; issue"}, "", 1},
		"none issued":   {router.Config{}, "cookie:a", 0},
		"with a secret": {router.Config{StickySecrets: []string{"sixteen bytes..."}}, "cookie:a; issue", 0},
	} {
		t.Run(name, func(t *testing.T) {
			storyBehind(t, tc.cfg, engine, nil, func(w *world) {
				if got := strings.Count(w.log.String(), line); got != 0 {
					t.Errorf("said %d times before a worker came", got)
				}
				for i, name := range []string{"w1", "w2"} {
					w.native(name).join(4, keptBy(tc.policy), serves("shop", nil, []string{[]string{"/a", "/b"}[i]}))
				}
				w.settle()
				log := w.log.String()
				if got := strings.Count(log, line); got != tc.want || got > 0 && !strings.Contains(log, "--sticky-secret FILE") {
					t.Errorf("said %d times, want %d", got, tc.want)
				}
			})
		})
	}
}
