package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// endpoint is one parsed ZeroMQ endpoint.
type endpoint struct {
	text          string
	network       string // "tcp" or "unix"
	host, port    string // tcp; host "*" is every address
	path          string // unix
	listenAddress string // for net.Listen
}

// maxSocketPath is what fits into sun_path on every system (macOS: 104 bytes with the closing NUL).
const maxSocketPath = 103

func parseEndpoint(s string) (endpoint, error) {
	bad := func(why string) (endpoint, error) {
		return endpoint{}, fmt.Errorf("zmtp: endpoint %q: %s (write tcp://host:port, tcp://*:port or ipc:///path)", s, why)
	}
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return bad("it names no transport")
	}
	switch scheme {
	case "tcp":
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			return bad("it has no host and port")
		}
		if host == "" {
			return bad("the host is missing")
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return bad("the port is not a number from 0 to 65535")
		}
		listen := net.JoinHostPort(host, port)
		if host == "*" {
			listen = ":" + port
		}
		return endpoint{text: s, network: "tcp", host: host, port: port, listenAddress: listen}, nil
	case "ipc":
		if rest == "" || rest == "*" {
			return bad("the path is missing")
		}
		if len(rest) > maxSocketPath {
			return bad(fmt.Sprintf("the path is longer than the %d bytes that a socket may have", maxSocketPath))
		}
		return endpoint{text: s, network: "unix", path: rest, listenAddress: rest}, nil
	}
	return bad(fmt.Sprintf("transport %q is not known", scheme))
}

// Listen binds "tcp://host:port" ("tcp://*:8000" is every address, port 0 any free one) or "ipc:///path". A socket file
// that nobody listens on any more is replaced; closing the listener removes it. An error is one line that names
// the endpoint and the remedy.
func Listen(endpoint string) (net.Listener, error) {
	e, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), e.network, e.listenAddress)
	if e.network == "unix" && errors.Is(err, syscall.EADDRINUSE) && removeStale(e.path) {
		l, err = config.Listen(context.Background(), e.network, e.listenAddress)
	}
	if err != nil {
		return nil, fmt.Errorf("zmtp: cannot listen on %s: %w%s", endpoint, reason(err), remedy(err))
	}
	return l, nil
}

// removeStale removes a socket that refuses connections, and reports whether it did.
func removeStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	nc, err := net.Dial("unix", path)
	if err == nil {
		_ = nc.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(path) == nil
}

// reason leaves out what net says about the address, because ours is already in the line.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func remedy(err error) string {
	var unknownHost *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "; stop the program that holds it, or choose another endpoint"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "; choose a port above 1023 or a directory that you may write to"
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.As(err, &unknownHost):
		return "; choose an address of this machine, or tcp://*:port for all of them"
	case errors.Is(err, fs.ErrNotExist):
		return "; create the directory first"
	}
	return ""
}

// Dial connects to an endpoint as Listen takes it, except that the host must be a real one.
func Dial(ctx context.Context, endpoint string) (net.Conn, error) {
	e, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	if e.host == "*" {
		return nil, fmt.Errorf("zmtp: endpoint %q: * can be listened on, not dialled; name a host", endpoint)
	}
	nc, err := new(net.Dialer).DialContext(ctx, e.network, e.listenAddress)
	if err != nil {
		return nil, fmt.Errorf("zmtp: cannot connect to %s: %w", endpoint, reason(err))
	}
	return nc, nil
}

// IsLoopback reports whether only this machine can reach the endpoint: ipc, 127.0.0.0/8, ::1 and localhost. The
// error is that of a malformed endpoint.
func IsLoopback(endpoint string) (bool, error) {
	e, err := parseEndpoint(endpoint)
	if err != nil {
		return false, err
	}
	if e.network == "unix" || strings.EqualFold(e.host, "localhost") {
		return true, nil
	}
	ip, err := netip.ParseAddr(e.host)
	return err == nil && ip.Unmap().IsLoopback(), nil
}

// Bound returns the endpoint that a listener got: "tcp://127.0.0.1:40123", "tcp://*:8000", "ipc:///path".
func Bound(l net.Listener) string {
	switch a := l.Addr().(type) {
	case *net.TCPAddr:
		if a.IP.IsUnspecified() {
			return "tcp://*:" + strconv.Itoa(a.Port)
		}
		return "tcp://" + a.String()
	case *net.UnixAddr:
		return "ipc://" + a.Name
	default:
		return a.Network() + "://" + a.String()
	}
}
