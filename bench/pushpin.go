package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// startPushpin starts Pushpin, whose processes are condure with one worker thread, its proxy and its handler, and a REP
// socket that dials it.
func startPushpin(ctx context.Context, s *stage) (running, error) {
	program, err := s.bin.find("pushpin")
	if err != nil {
		return running{}, err
	}
	front, err := s.bin.find("condure")
	if err != nil {
		return running{}, err
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return running{}, err
	}
	control, requests := addresses[1], "tcp://"+addresses[2]
	_, controlPort, err := net.SplitHostPort(control)
	if err != nil {
		return running{}, err
	}
	dir, config, err := s.file("pushpin", "pushpin.conf", fmt.Sprintf(`
[global]
include={libdir}/internal.conf
rundir=@DIR@
ipc_prefix=b-
port_offset=0
[runner]
services=condure,pushpin-proxy,pushpin-handler
http_port=%s
logdir=@DIR@
log_level=2
client_buffer_size=8192
client_maxconn=2000
condure_bin=@DIR@/condure
[proxy]
routesfile=routes
updates_check=off
[handler]
push_in_spec=ipc://{rundir}/b-push
push_in_sub_specs=ipc://{rundir}/b-push-sub
push_in_http_addr=127.0.0.1
push_in_http_port=%s
stats_spec=ipc://{rundir}/b-stats
command_spec=ipc://{rundir}/b-command
`, addresses[0], controlPort))
	if err != nil {
		return running{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "routes"), []byte("* zhttpreq/"+requests+"\n"), 0o600); err != nil {
		return running{}, err
	}
	// Pushpin has no setting for condure's threads.
	oneThread := fmt.Sprintf("#!/bin/sh\nexec '%s' --workers 1 \"$@\"\n", front)
	if err := os.WriteFile(filepath.Join(dir, "condure"), []byte(oneThread), 0o700); err != nil {
		return running{}, err
	}
	proxy, err := s.launch(ctx, "pushpin", nil, program, "--config", config)
	if err != nil {
		return running{}, err
	}
	backend, err := s.zeromqAnswer(ctx, "zhttp", requests)
	return running{address: addresses[0], proxy: proxy, backend: backend}, err
}
