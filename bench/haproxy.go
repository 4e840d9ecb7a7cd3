package main

import (
	"context"
	"fmt"
)

func startHAProxy(ctx context.Context, s *stage) (running, error) {
	return startBefore(ctx, s.nginxBackend, s.haproxy)
}

// haproxy is one thread that shares its connections to the backend among clients.
func (s *stage) haproxy(ctx context.Context, backend string) (*process, string, error) {
	program, err := s.bin.find("haproxy")
	if err != nil {
		return nil, "", err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	_, config, err := s.file("haproxy", "haproxy.cfg", fmt.Sprintf(`
global
	nbthread 1
	maxconn 4096
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	http-reuse always
frontend clients
	bind %s
	default_backend servers
backend servers
	server only %s
`, address, backend))
	if err != nil {
		return nil, "", err
	}
	p, err := s.launch(ctx, "haproxy", nil, program, "-db", "-f", config)
	return p, address, err
}
