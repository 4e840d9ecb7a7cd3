package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// isExposed tells whether other machines can reach a port.
func isExposed(at net.Addr) bool {
	a, ok := at.(*net.TCPAddr)
	return !ok || !a.IP.IsLoopback()
}

// exposed is the error for an admin port that they can, unless the operator
// says that they may: it asks nobody who they are.
func exposed(address string) error {
	return fmt.Errorf("--admin: %s can be reached from other machines, and the admin port asks nobody who they are; choose 127.0.0.1, or say --insecure-admin (%s)",
		address, twin("insecure-admin"))
}

// guard lets through what an operator's tools send. A page in a browser on
// this machine can make its own name resolve to 127.0.0.1, but not send
// another name than that.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case !isLiteral(req.Host):
			http.Error(w, "the admin port answers to IP addresses and localhost only", http.StatusMisdirectedRequest)
		case req.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "the admin port answers GET only", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, req)
		}
	})
}

// isLiteral tells whether host, with or without a port, is an IP address or
// localhost. Programs that send none, over HTTP/1.0, are no browsers.
func isLiteral(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
