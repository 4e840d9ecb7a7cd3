package main_test

import (
	"strings"
	"syscall"
	"testing"
)

func TestStatusWatch(t *testing.T) {
	r := startRouter(t)
	w := start(t, "dialmux", "status", "--admin", r.admin, "-w")
	eventually(t, "two tables", func() bool { return strings.Count(w.log.String(), "\nnone is there\n") >= 2 })
	r.worker("worker-1")
	eventually(t, "a table with the worker", func() bool { return strings.Contains(w.log.String(), "\nworker-1 ") })
	c := mustDial(t, r.web)
	if err := c.send("GET /hang?secret", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what it does", func() bool { return strings.Contains(w.log.String(), "\nGET       /hang   begun   worker-1   ") })
	r.signal(syscall.SIGKILL)
	eventually(t, "that the router is gone", func() bool { return strings.Contains(w.log.String(), "no router at "+r.admin) })
	again := startRouter(t, "--admin", r.admin)
	tables := strings.Count(w.log.String(), "\nWORKER ")
	eventually(t, "tables of the next router", func() bool { return strings.Count(w.log.String(), "\nWORKER ") > tables })
	if log := w.log.String(); strings.ContainsRune(log, '\x1b') || strings.Contains(log, "secret") {
		t.Errorf("no terminal is there: %q", log)
	}
	w.signal(syscall.SIGINT)
	if st := w.status(); st.ExitStatus() != 0 {
		t.Errorf("it ended with %v after Ctrl-C", st)
	}
	again.stop()
}
