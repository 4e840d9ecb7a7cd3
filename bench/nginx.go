package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

func startNginx(ctx context.Context, s *stage) (running, error) {
	return startBefore(ctx, s.nginxBackend, s.nginxProxy)
}

func startNginxBeforeGo(ctx context.Context, s *stage) (running, error) {
	return startBefore(ctx, s.goBackend, s.nginxProxy)
}

// nginxBackend answers by itself: what comes before it costs the least that a proxy's backend can cost.
func (s *stage) nginxBackend(ctx context.Context) (*process, string, error) {
	files, err := os.MkdirTemp(s.dir, "files-")
	if err != nil {
		return nil, "", err
	}
	for _, dir := range []string{s.dir, files} { // nginx's worker process is another user if we are root
		if err := os.Chmod(dir, 0o711); err != nil {
			return nil, "", err
		}
	}
	for _, b := range []body{body16k, body1m} {
		if err := os.WriteFile(filepath.Join(files, b.path), bytes.Repeat([]byte("x"), b.size), 0o644); err != nil {
			return nil, "", err
		}
	}
	return s.nginx(ctx, "backend", func(address string) string {
		return fmt.Sprintf(`
	server {
		listen %s;
		default_type text/plain;
		root %s;
		sendfile on;
		location = / { return 200 %q; }
	}`, address, files, answer)
	})
}

// nginxProxy is nginx as its own manual has it: connections kept alive on both sides. Bodies go through memory alone:
// what a disk costs is not what is compared.
func (s *stage) nginxProxy(ctx context.Context, backend string) (*process, string, error) {
	return s.nginx(ctx, "proxy", func(address string) string {
		return fmt.Sprintf(`
	upstream backend { server %s; keepalive 64; keepalive_requests 1000000000; }
	server {
		listen %s;
		location / {
			proxy_pass http://backend;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_max_temp_file_size 0;
		}
	}`, backend, address)
	})
}

// nginx starts one nginx with one worker process and the given servers, and returns the address that it listens on.
func (s *stage) nginx(ctx context.Context, name string, servers func(address string) string) (*process, string, error) {
	program, err := s.bin.find("nginx")
	if err != nil {
		return nil, "", err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	dir, config, err := s.file("nginx-"+name, "nginx.conf", `
daemon off;
worker_processes 1;
pid @DIR@/pid;
error_log stderr;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path @DIR@/body;
	proxy_temp_path @DIR@/proxy;
	fastcgi_temp_path @DIR@/fastcgi;
	uwsgi_temp_path @DIR@/uwsgi;
	scgi_temp_path @DIR@/scgi;
`+servers(address)+"}\n")
	if err != nil {
		return nil, "", err
	}
	p, err := s.launch(ctx, "nginx-"+name, nil, program, "-e", "stderr", "-p", dir, "-c", config)
	if err != nil {
		return nil, "", err
	}
	return p, address, p.awaitStatus(ctx, "http://"+address+"/")
}

// goBackend is an application on net/http.
func (s *stage) goBackend(ctx context.Context) (*process, string, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	p, err := s.launch(ctx, "backend", threads(1), s.bin.self, "backend", address)
	if err != nil {
		return nil, "", err
	}
	return p, address, p.awaitStatus(ctx, "http://"+address+"/")
}
