package main

import (
	"os"
	"strings"
	"testing"
)

func TestProgramThatEndsAtItsStart(t *testing.T) {
	s, err := newStage(programs{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.launch(t.Context(), "proxy", []string{"WHY=the port is taken"}, "/bin/sh", "-c", `echo "$WHY"; exit 3`)
	if err != nil {
		t.Fatal(err)
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	err = p.awaitStatus(t.Context(), "http://"+address+"/")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("got %v, want the program's status and what it printed", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsWhatWasStarted(t *testing.T) {
	s, err := newStage(programs{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.launch(t.Context(), "proxy", nil, "/bin/sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if _, err := treeCPU(p.cmd.Process.Pid); err == nil {
		t.Error("the program is still there")
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}
