package main

import (
	"context"
	"fmt"
)

func startCaddy(ctx context.Context, s *stage) (running, error) {
	return startBefore(ctx, s.nginxBackend, s.caddy)
}

// caddy keeps as many connections to the backend as there are clients; by default it closes those over 32.
func (s *stage) caddy(ctx context.Context, backend string) (*process, string, error) {
	program, err := s.bin.find("caddy")
	if err != nil {
		return nil, "", err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	dir, config, err := s.file("caddy", "Caddyfile", fmt.Sprintf(`{
	admin off
	auto_https off
}
http://%s {
	bind 127.0.0.1
	reverse_proxy %s {
		transport http {
			keepalive_idle_conns_per_host %d
		}
	}
}
`, address, backend, manyConnections))
	if err != nil {
		return nil, "", err
	}
	env := append(threads(1), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	p, err := s.launch(ctx, "caddy", env, program, "run", "--config", config, "--adapter", "caddyfile")
	return p, address, err
}
