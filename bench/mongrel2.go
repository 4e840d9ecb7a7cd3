package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
)

// startMongrel2 starts Mongrel2 in the foreground, without an access log, and a handler that dials its two sockets.
func startMongrel2(ctx context.Context, s *stage) (running, error) {
	program, err := s.bin.find("mongrel2")
	if err != nil {
		return running{}, err
	}
	loader, err := s.bin.find("m2sh")
	if err != nil {
		return running{}, err
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return running{}, err
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return running{}, err
	}
	requests, replies := "tcp://"+addresses[1], "tcp://"+addresses[2]
	// Paths are those inside the directory, which it makes its root if it may.
	dir, config, err := s.file("mongrel2", "mongrel2.conf", fmt.Sprintf(`
answer = Handler(send_spec='%s', send_ident='bench', recv_spec='%s', recv_ident='')
main = Server(
	uuid='bench', name='bench', bind_addr='127.0.0.1', port=%s, default_host='127.0.0.1',
	chroot='@DIR@', access_log='/access.log', error_log='/error.log', pid_file='/pid',
	hosts=[Host(name='127.0.0.1', routes={'/': answer})])
settings = {'disable.access_logging': 1, 'server.daemonize': 0, 'zeromq.threads': 1}
servers = [main]
`, requests, replies, port))
	if err != nil {
		return running{}, err
	}
	database := filepath.Join(dir, "config.sqlite")
	load := exec.CommandContext(ctx, loader, "load", "--config", config, "--db", database)
	load.Dir = dir // it leaves a history there
	if out, err := load.CombinedOutput(); err != nil {
		return running{}, fmt.Errorf("m2sh load: %w\n%s", err, out)
	}
	proxy, err := s.launch(ctx, "mongrel2", nil, program, database, "bench")
	if err != nil {
		return running{}, err
	}
	backend, err := s.zeromqAnswer(ctx, "mongrel2", requests, replies)
	return running{address: addresses[0], proxy: proxy, backend: backend}, err
}
