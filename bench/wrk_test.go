package main

import (
	"strings"
	"testing"
)

const wrkPrints = `Running 5s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  2000 requests in 5.00s, 1.00MB read

`

func TestParseWrk(t *testing.T) {
	got, err := parseWrk([]byte(wrkPrints +
		`{"requests":2000,"duration":5000123,"p50":61,"p99":420,"connect":0,"read":0,"write":0,"timeout":0,"status":0}` + "\n"))
	want := wrkReport{Requests: 2000, Duration: 5000123, P50: 61, P99: 420}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestParseWrkRefusesFailures(t *testing.T) {
	for name, tc := range map[string]struct{ line, want string }{
		"no report":     {"", "no report"},
		"not JSON":      {`{"requests":`, "wrk's report"},
		"bad status":    {`{"requests":2000,"status":3}`, "status 3"},
		"socket errors": {`{"requests":2000,"connect":1,"read":2,"write":4,"timeout":8}`, "15 failed"},
		"nothing done":  {`{"requests":0}`, "0 requests served"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseWrk([]byte(wrkPrints + tc.line))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that says %q", err, tc.want)
			}
		})
	}
}
