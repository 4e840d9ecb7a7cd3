package main

import "net"

// inherited are sockets that a service manager has opened for this process
// (sd_listen_fds(3)), by the flags that they take the place of. It keeps them
// open for the next process, which also gets who waits there.
type inherited struct {
	http, redirect, admin *net.TCPListener // nil: as the flag says
	workers               []net.Listener
}

func (i *inherited) close() {
	for _, l := range []*net.TCPListener{i.http, i.redirect, i.admin} {
		if l != nil {
			_ = l.Close()
		}
	}
	for _, l := range i.workers {
		_ = l.Close()
	}
}
