package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// other is a proxy that dials its backends, set up as a careful operator would
// do it: what is safe to repeat is repeated, and nothing else.
type other struct {
	name, program string
	http2         bool // it takes HTTP/2 in the clear on the same port
	config        string
	args          []string
}

// @LISTEN@ is where clients come, @ONE@ and @TWO@ are the backends, @DIR@ is the configuration's directory.
var others = []other{
	{
		name: "nginx", program: "nginx",
		config: `
daemon off;
worker_processes 1;
pid @DIR@/pid;
error_log stderr;
events { worker_connections 8192; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path @DIR@/body;
	proxy_temp_path @DIR@/proxy;
	fastcgi_temp_path @DIR@/fastcgi;
	uwsgi_temp_path @DIR@/uwsgi;
	scgi_temp_path @DIR@/scgi;
	upstream backends { server @ONE@; server @TWO@; keepalive 64; keepalive_requests 1000000000; }
	server {
		listen @LISTEN@ backlog=4096;
		client_max_body_size 0;
		location / {
			proxy_pass http://backends;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_next_upstream error timeout;
			proxy_connect_timeout 2s;
			proxy_read_timeout 10s;
		}
	}
}
`,
		args: []string{"-e", "stderr", "-p", "@DIR@", "-c", "@CONFIG@"},
	},
	{
		name: "HAProxy", program: "haproxy", http2: true,
		config: `
global
	nbthread 1
	maxconn 8192
defaults
	mode http
	timeout connect 2s
	timeout client 60s
	timeout server 10s
	timeout queue 5s
	timeout check 1s
	option redispatch
	retries 3
	retry-on conn-failure empty-response
	http-reuse safe
frontend clients
	bind @LISTEN@
	default_backend servers
backend servers
	balance roundrobin
	option httpchk GET /
	http-request disable-l7-retry if METH_POST
	default-server check inter 1s
	server one @ONE@
	server two @TWO@
`,
		args: []string{"-db", "-f", "@CONFIG@"},
	},
}

// forgiven is how long nginx holds a failure against a backend, and some: a
// second fault meanwhile leaves it without any.
const forgiven = 11 * time.Second

// errAbsent says that a proxy is not installed.
var errAbsent = errors.New("not installed: make chaos-deps installs it")

// openOther starts the proxy and its two backends.
func openOther(ctx context.Context, o *other, bin programs, report io.Writer) (s *stage, f *front, err error) {
	program, err := exec.LookPath(o.program)
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/" + o.program); err != nil {
			return nil, nil, errAbsent
		}
	}
	s = &stage{programs: bin, report: report, book: newBook(), slots: 2 * backendSlots, pause: forgiven}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "dialmux-chaos-"); err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(s.dir, 0o711); err != nil { //nolint:gosec // nginx's worker process is another user if we are root
		return nil, nil, err
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, nil, err
	}
	for i, address := range addresses[1:] {
		w := &workerProcess{s: s, name: fmt.Sprintf("backend-%d", i+1), args: []string{s.self, "backend", address}, drains: true}
		w.ready = func() error { return fetch("http://" + address + "/") }
		s.workers = append(s.workers, w)
		if err := w.start(); err != nil {
			return nil, nil, err
		}
	}
	if err := s.settled(ctx); err != nil {
		return nil, nil, err
	}
	config := filepath.Join(s.dir, "config")
	fill := strings.NewReplacer("@DIR@", s.dir, "@CONFIG@", config, "@LISTEN@", addresses[0], "@ONE@", addresses[1], "@TWO@", addresses[2])
	if err := os.WriteFile(config, []byte(fill.Replace(o.config)), 0o600); err != nil {
		return nil, nil, err
	}
	var args []string
	for _, arg := range o.args {
		args = append(args, fill.Replace(arg))
	}
	if s.proxy, err = launch(o.name, filepath.Join(s.dir, o.program+".log"), nil, program, args...); err != nil {
		return nil, nil, err
	}
	f = newFront(o.name, addresses[0], false)
	f.http1Only = !o.http2
	return s, f, s.proxy.await(ctx, startLimit, func() error { return fetch("http://" + f.addr + "/") })
}

func fetch(url string) error {
	resp, err := adminClient.Get(url)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// againstOther is the same killer before another proxy.
func againstOther(ctx context.Context, o *other, bin programs, seed uint64, rate float64, only []fault, duration time.Duration, report io.Writer) (rows []*row, err error) {
	s, f, err := openOther(ctx, o, bin, report)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	fmt.Fprintf(report, "== %s, %v\n", o.name, duration)
	rows, err = s.serve(ctx, seed, rate, []*front{f}, only, duration, func() error { return nil })
	err = errors.Join(err, s.leave())
	s.book.close()
	return rows, err
}
