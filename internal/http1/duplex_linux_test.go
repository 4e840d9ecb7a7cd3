package http1

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A body is read, and the answer written, by two goroutines: what the one comes to is not the other's.
func TestAClientThatResetsBothDirections(t *testing.T) {
	play(t, "tcp", &Server{}, func(s *stage) {
		h := &actor{serve: func(c *Conn) {
			var reading sync.WaitGroup
			reading.Go(func() {
				var b [64]byte
				for {
					if _, err := c.Read(b[:]); err != nil {
						return
					}
				}
			})
			c.Status(200)
			c.EndHead(-1)
			for c.Write([]byte("x")) == nil && c.Flush() == nil {
			}
			c.Halt()
			reading.Wait()
			c.Abort()
		}}
		for range 300 {
			v := s.enter(h)
			_, _ = io.WriteString(v.Conn, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			_, _ = v.Read(make([]byte, 1))
			_ = v.Conn.(*net.TCPConn).SetLinger(0)
			_ = v.Close()
			<-v.served
		}
	})
}
