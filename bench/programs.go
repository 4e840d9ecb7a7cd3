package main

import (
	"fmt"
	"os"
	"os/exec"
)

// programs are the executables that the harness runs.
type programs struct {
	dialmux, wrk string
	routerFlags  []string // added to the router's command line
	self         string   // this program, for the backends
}

// resolve finds what nothing can be measured without.
func (p *programs) resolve() error {
	var err error
	if p.self, err = os.Executable(); err != nil {
		return err
	}
	if p.dialmux, err = exec.LookPath(p.dialmux); err != nil {
		return fmt.Errorf("%w: make build makes it", err)
	}
	p.wrk, err = p.find("wrk")
	return err
}

// find looks for a program of Debian's; those of servers are where only root's PATH looks.
func (p *programs) find(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err == nil {
		return found, nil
	}
	if found, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return found, nil
	}
	return "", fmt.Errorf("%w: make bench-deps installs it", err)
}
