package router

import (
	"context"
	"net"

	"github.com/dialmux/dialmux/internal/http1"
)

type clientKey struct{}

// ConnContext is for http.Server.ConnContext. With it a client that leaves is
// noticed while its request's body waits unread, too: net/http notices by
// reading. Without it, on systems other than Linux, and behind more unread body
// than the kernel's receive window holds, such a client is noticed when its
// worker reads on or answers. An HTTP/2 client that cancels too many requests
// is noticed with it only, and told to go.
func ConnContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(withHTTP2Conn(ctx, nc), clientKey{}, nc)
}

// clientGone returns what tells whether the client of a request has closed its
// connection.
func clientGone(ctx context.Context) func() bool {
	nc, _ := ctx.Value(clientKey{}).(net.Conn)
	nc = http1.Beneath(nc)
	return func() bool { return nc != nil && closedByPeer(nc) }
}
