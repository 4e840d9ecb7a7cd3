package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCrewIsThere(t *testing.T) {
	list := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(list))
	}))
	defer server.Close()
	admin := strings.TrimPrefix(server.URL, "http://")
	for _, tc := range []struct {
		list             string
		workers, standby int
		there            bool
	}{
		{`[{"state":"ready"},{"state":"busy"},{"state":"draining"}]`, 2, 1, true},
		{`[{"state":"ready"},{"state":"joining"}]`, 2, 0, false},
		{`[{"state":"ready"},{"state":"refused"}]`, 1, 1, false},
		{`[]`, 1, 0, false},
		{`nonsense`, 0, 0, false},
	} {
		list = tc.list
		if err := crewIsThere(t.Context(), admin, tc.workers, tc.standby); (err == nil) != tc.there {
			t.Errorf("%s, want %d and %d standing by: got %v", tc.list, tc.workers, tc.standby, err)
		}
	}
}
