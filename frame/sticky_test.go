package frame_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
)

func TestStickyPolicies(t *testing.T) {
	for text, want := range map[string]frame.Sticky{
		"":                {},
		"off":             {By: "off"},
		"ip":              {By: "ip"},
		"path":            {By: "path"},
		"path:2":          {By: "path", Segments: 2},
		"header:X-User":   {By: "header", Name: "x-user"},
		"query:user":      {By: "query", Name: "user"},
		"cookie:sid":      {By: "cookie", Name: "sid"},
		" ip ;bound=1.25": {By: "ip", Bound: 1.25},
		"ip; wait=0s":     {By: "ip"},
		"cookie:SID; issue; fallback=round-robin; bound=2; wait=1.5s": {By: "cookie", Name: "SID", Issue: true, Turns: true, Bound: 2, Wait: 1500 * time.Millisecond},
	} {
		got, err := frame.ParseSticky(text)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
			continue
		}
		if again, err := frame.ParseSticky(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, and that read as %+v, %v", text, got.String(), again, err)
		}
	}
}

func TestStickyPoliciesThatAreNone(t *testing.T) {
	for text, remedy := range map[string]string{
		"ipp":                               "want off, ip, header:NAME",
		"ip:1":                              "want off, ip",
		";":                                 "want off, ip",
		"header:":                           "want a name behind the colon",
		"cookie":                            "want a name behind the colon",
		"cookie:a b":                        "a token",
		"query:" + strings.Repeat("x", 129): "1 to 128",
		"path:0":                            "a number from 1 up",
		"path:":                             "a number from 1 up",
		"ip; issue":                         "issue is for cookie:NAME",
		"ip; fallback=least":                "fallback=round-robin",
		"ip; bound=0.9":                     "1 to 100 times the mean",
		"ip; bound=NaN":                     "1 to 100 times the mean",
		"ip; wait=5":                        "such as 500ms or 2s",
		"ip; wait=-1s":                      "such as 500ms or 2s",
		"ip; wait=2h":                       "at most 1h",
		"ip; stay":                          `"stay" is not known`,
	} {
		if got, err := frame.ParseSticky(text); err == nil || !strings.Contains(err.Error(), remedy) {
			t.Errorf("%q: %+v, %v; want an error that says %q", text, got, err, remedy)
		}
	}
}

func FuzzParseSticky(f *testing.F) {
	f.Add("cookie:SID; issue; fallback=round-robin; bound=2; wait=1.5s")
	f.Add("path:2;bound=1e2")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := frame.ParseSticky(text)
		if err != nil {
			return
		}
		if again, err := frame.ParseSticky(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, and that read as %+v, %v", text, got.String(), again, err)
		}
	})
}
