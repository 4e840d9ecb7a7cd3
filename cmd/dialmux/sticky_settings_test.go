package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// stickyOptions say more of what --sticky says, and nothing without it.
var stickyOptions = []string{"sticky-fallback", "sticky-bound", "sticky-wait", "sticky-issue"}

// stuck is the policy of a router, of a worker and of an app's file with these settings,
// NAME=VALUE each.
func stuck(t *testing.T, said ...string) (policies map[string]string, failures map[string]error) {
	t.Helper()
	var router settings
	var app workerSettings
	var run runSettings
	policies, failures = map[string]string{}, map[string]error{}
	args, file := []string{"x"}, `{"to": "http://127.0.0.1:3000"`
	for _, one := range said {
		name, value, _ := strings.Cut(one, "=")
		args = append(args, "--"+one)
		file += `, "` + name + `": "` + value + `"`
	}
	for name, cmd := range map[string]*cli.Command{
		"router": {Flags: router.flags("info"), Action: func(_ context.Context, cmd *cli.Command) error { return router.finish(cmd) }},
		"worker": {Flags: app.flags(), Action: func(_ context.Context, cmd *cli.Command) error { return app.joining.finish(cmd) }},
		"run":    {Flags: run.flags(), Action: func(_ context.Context, cmd *cli.Command) error { return run.finish(cmd) }},
	} {
		cmd.Writer, cmd.ErrWriter = new(strings.Builder), new(strings.Builder)
		failures[name] = cmd.Run(t.Context(), args)
	}
	policies["router"], policies["worker"], policies["run"] = router.router.Sticky, app.worker.Sticky, run.worker.Sticky
	a, err := parseApp([]byte(file+"}"), forwarding{})
	if failures["file"] = err; err == nil {
		policies["file"] = a.worker.Sticky
	}
	return policies, failures
}

// A policy may be said in one text or in several flags, which outrank the text.
func TestStickySettings(t *testing.T) {
	for said, want := range map[string]string{
		"":                         "", // off, at the router
		"sticky=off":               "off",
		"sticky=ip":                "ip",
		"sticky=header:X-User":     "header:x-user",
		"sticky=query:u":           "query:u",
		"sticky=path":              "path",
		"sticky=path:2":            "path:2",
		"sticky=cookie:s; issue":   "cookie:s; issue",
		"sticky=ip sticky-wait=2s": "ip; wait=2s",
		"sticky=cookie:s sticky-issue=true sticky-fallback=round-robin sticky-bound=1.25 sticky-wait=500ms": "cookie:s; issue; fallback=round-robin; bound=1.25; wait=500ms",
		"sticky=cookie:s;issue;fallback=round-robin;bound=1.25;wait=2s sticky-bound=2 sticky-wait=3s":       "cookie:s; issue; fallback=round-robin; bound=2; wait=3s",
		"sticky=cookie:s;issue;fallback=round-robin;bound=1.25;wait=2s sticky-bound=0 sticky-wait=0s":       "cookie:s; issue; fallback=round-robin",
		"sticky=cookie:s;issue;fallback=round-robin sticky-issue=false sticky-fallback=ip":                  "cookie:s",
	} {
		policies, failures := stuck(t, words(said)...)
		for where, got := range policies {
			wanted := want
			if said == "" && where == "router" {
				wanted = "off"
			}
			if err := failures[where]; err != nil || got != wanted {
				t.Errorf("%s: %s: %q %v, want %q", said, where, got, err, wanted)
			}
		}
	}
}

// words takes "a; issue b" apart where a name begins.
func words(said string) (all []string) {
	for i, one := range strings.Split(said, "sticky") {
		if i > 0 {
			all = append(all, "sticky"+strings.TrimSpace(one))
		}
	}
	return all
}

func TestWrongStickySettings(t *testing.T) {
	for said, want := range map[string]string{
		"sticky=ipp":                       `want off, ip, header:NAME, cookie:NAME, query:NAME, path or path:SEGMENTS`,
		"sticky=cookie":                    `want a name behind the colon`,
		"sticky=ip;bond=2":                 `want issue, fallback=, bound= or wait= behind a semicolon`,
		"sticky-fallback=ip":               `no policy in S(sticky); say there what the key is, such as ip or cookie:NAME`,
		"sticky-bound=1.25":                `S(sticky-bound) is there, but no policy in S(sticky)`,
		"sticky-bound=0":                   `S(sticky-bound) is there, but no policy in S(sticky)`,
		"sticky-wait=2s":                   `S(sticky-wait) is there, but no policy in S(sticky)`,
		"sticky-issue=true":                `S(sticky-issue) is there, but no cookie in S(sticky); say cookie:NAME there`,
		"sticky=off sticky-issue=true":     `S(sticky-issue) is there, but no cookie in S(sticky); say cookie:NAME there`,
		"sticky-issue=true sticky-wait=2s": `S(sticky-issue) is there, but no cookie in S(sticky); say cookie:NAME there`,
		"sticky=off sticky-wait=2s":        `S(sticky-wait) is there, but no policy in S(sticky)`,
		"sticky=header:a sticky-issue=yes": `want true or false`,
		"sticky=header:a sticky-issue=1":   `S(sticky-issue) is there, but no cookie in S(sticky); say cookie:NAME there`,
		"sticky=ip sticky-bound=0.5":       `want 0 for any number, or 1 to 100 times the mean, such as 1.25`,
		"sticky=ip sticky-bound=2;wait=1s": `want 0 for any number`,
		"sticky=ip sticky-wait=-1s":        `want a duration`,
		"sticky=ip sticky-wait=61m":        `want at most 1h0m0s`,
		"sticky=ip sticky-fallback=random": `want ip or round-robin`,
	} {
		_, failures := stuck(t, words(said)...)
		for where, err := range failures {
			text := dashedText(want)
			if where == "file" {
				text = quotedText(want)
			}
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %s: %v, want %s", said, where, err, text)
			}
		}
	}
}

// In what is wanted S(name) stands for how the user calls a setting.
func dashedText(want string) string {
	for _, name := range append(stickyOptions, "sticky") {
		want = strings.ReplaceAll(want, "S("+name+")", "--"+name+" ("+twin(name)+")")
	}
	return want
}

func quotedText(want string) string {
	for _, name := range append(stickyOptions, "sticky") {
		want = strings.ReplaceAll(want, "S("+name+")", `"`+name+`"`)
	}
	return want
}

func TestStickyTwins(t *testing.T) {
	for name, value := range map[string]string{
		"sticky": "cookie:s", "sticky-fallback": "round-robin", "sticky-bound": "1.5", "sticky-wait": "1s", "sticky-issue": "true",
	} {
		t.Setenv(twin(name), value)
	}
	policies, failures := stuck(t)
	for _, where := range []string{"router", "worker", "run"} {
		if got, want := policies[where], "cookie:s; issue; fallback=round-robin; bound=1.5; wait=1s"; got != want {
			t.Errorf("%s: %q %v, want %q", where, got, failures[where], want)
		}
	}
}

// What is wrong with a file of secrets is named with its line, and without the secret.
func TestStickySecretFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secrets")
	for text, want := range map[string]string{
		"":                                 "--sticky-secret: there is no secret in " + file + "; write one on each line, such as `openssl rand -base64 32` makes",
		"\n \n":                            "there is no secret in " + file,
		"sixteen bytes, 1.\n\n too short ": "--sticky-secret: line 3 of " + file + " has 9 bytes, and a secret has 16 or more; write one on each line",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSecrets(file); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "too short") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := readSecrets(dir + "/none"); err == nil || !strings.Contains(err.Error(), "name a file that this user may read") {
		t.Error(err)
	}
}
