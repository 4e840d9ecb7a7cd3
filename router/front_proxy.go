package router

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// introduced is a connection that began with a PROXY protocol header.
type introduced struct {
	net.Conn
	client net.Addr
	first  []byte // came with the header, and has not been read
}

// introduce reads the header, which must come before ctx ends.
func introduce(ctx context.Context, nc net.Conn) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) })
	r := bufio.NewReaderSize(nc, 256)
	h, err := readHeader(r)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	i := &introduced{Conn: nc, client: nc.RemoteAddr()}
	if client, ok := h.SourceAddr.(*net.TCPAddr); ok && h.Command.IsProxy() { // else it is the proxy itself, or knows no address that means something here
		i.client = client
	}
	first, _ := r.Peek(r.Buffered())
	i.first = bytes.Clone(first)
	return i, nil
}

// readHeader reads version 1 or 2. Version 1 may come in pieces, which the
// library takes for an attack: so it gets it whole.
func readHeader(r *bufio.Reader) (*proxyproto.Header, error) {
	const longest = 107
	for n := 1; n <= longest; n++ {
		b, err := r.Peek(n)
		if err != nil {
			return nil, err
		}
		if c := b[n-1]; c == '\n' || n <= len(proxyproto.SIGV1) && c != proxyproto.SIGV1[n-1] {
			break
		}
	}
	return proxyproto.Read(r)
}

func (i *introduced) Read(p []byte) (int, error) {
	if len(i.first) > 0 {
		n := copy(p, i.first)
		if i.first = i.first[n:]; len(i.first) == 0 {
			i.first = nil
		}
		return n, nil
	}
	return i.Conn.Read(p)
}

// RemoteAddr is the client's, as the proxy said it.
func (i *introduced) RemoteAddr() net.Addr { return i.client }

// NetConn is the connection with the proxy.
func (i *introduced) NetConn() net.Conn { return i.Conn }

// CloseWrite is as TCP's.
func (i *introduced) CloseWrite() error {
	if w, ok := i.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return net.ErrClosed
}
