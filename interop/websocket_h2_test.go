package interop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// tunnel is one stream of HTTP/2, upgraded by extended CONNECT (RFC 8441), on a
// connection of its own.
type tunnel struct {
	conn   net.Conn
	framer *http2.Framer
	reader sync.WaitGroup
	write  sync.Mutex // of framer

	mu      sync.Mutex
	changed sync.Cond
	offered bool   // ENABLE_CONNECT_PROTOCOL came
	status  string // of the answer
	got     []byte
	err     error // no more comes
	window  int64 // of the connection, and of the stream: what may be sent
	stream  int64
}

const tunnelStream = 1

// openTunnel asks for an upgrade in HTTP/2, and checks the answer. conn is new.
func openTunnel(conn net.Conn, scheme, path string) (*websocket, error) {
	_ = conn.SetDeadline(time.Now().Add(wsPatience))
	t := &tunnel{conn: conn, framer: http2.NewFramer(conn, conn), window: 65535, stream: 65535}
	t.changed.L = &t.mu
	t.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	if err := t.framer.WriteSettings(); err != nil {
		return nil, err
	}
	t.reader.Go(t.run)
	if err := t.await(func() bool { return t.offered }); err != nil {
		return nil, fmt.Errorf("waiting for SETTINGS_ENABLE_CONNECT_PROTOCOL: %w", err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for pair := range slices.Chunk([]string{
		":method", "CONNECT", ":protocol", "websocket", ":scheme", scheme, ":authority", "ws.test", ":path", path, "sec-websocket-version", "13",
	}, 2) {
		_ = enc.WriteField(hpack.HeaderField{Name: pair[0], Value: pair[1]})
	}
	t.write.Lock()
	err := t.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: tunnelStream, BlockFragment: block.Bytes(), EndHeaders: true})
	t.write.Unlock()
	if err != nil {
		return nil, err
	}
	if err := t.await(func() bool { return t.status != "" }); err != nil {
		return nil, fmt.Errorf("waiting for the answer to CONNECT: %w", err)
	}
	if t.status != "200" {
		return nil, fmt.Errorf("CONNECT was answered %s", t.status)
	}
	end := func() error { return t.send(nil, true) }
	return &websocket{t, bufio.NewReader(t), end, t.shut}, nil
}

// await waits until the condition, of what mu guards, holds.
func (t *tunnel) await(holds func() bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !holds() && t.err == nil {
		t.changed.Wait()
	}
	if holds() {
		return nil
	}
	return t.err
}

// run reads frames until the stream ends.
func (t *tunnel) run() {
	for {
		f, err := t.framer.ReadFrame()
		t.mu.Lock()
		if err == nil {
			err = t.take(f)
		}
		t.err = err
		t.changed.Broadcast()
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (t *tunnel) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return t.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return t.locked(func() error { return t.framer.WritePing(true, f.Data) })
		}
	case *http2.MetaHeadersFrame:
		if f.StreamEnded() {
			return fmt.Errorf("the stream ended with HEADERS of status %s", f.PseudoValue("status"))
		}
		t.status = f.PseudoValue("status")
		for _, field := range f.RegularFields() {
			if field.Name == "sec-websocket-accept" {
				return fmt.Errorf("%s is superseded over HTTP/2 (RFC 8441 section 5.1)", field.Name)
			}
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			t.window += int64(f.Increment)
		} else {
			t.stream += int64(f.Increment)
		}
	case *http2.DataFrame:
		t.got = append(t.got, f.Data()...)
		if f.StreamEnded() {
			return io.EOF
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("RST_STREAM %v", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Errorf("GOAWAY %v %q", f.ErrCode, f.DebugData())
	}
	return nil
}

func (t *tunnel) locked(write func() error) error {
	t.write.Lock()
	defer t.write.Unlock()
	return write()
}

func (t *tunnel) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if v, ok := f.Value(http2.SettingEnableConnectProtocol); ok && v == 1 {
		t.offered = true
	}
	if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
		t.stream = int64(v) // this comes before the stream is there
	}
	return t.locked(t.framer.WriteSettingsAck)
}

func (t *tunnel) Read(p []byte) (n int, err error) {
	t.mu.Lock()
	for len(t.got) == 0 && t.err == nil {
		t.changed.Wait()
	}
	n = copy(p, t.got)
	t.got, err = t.got[n:], t.err
	t.mu.Unlock()
	if n == 0 {
		return 0, err
	}
	if err != nil { // which is told once all has been read
		return n, nil
	}
	return n, t.locked(func() error {
		return errors.Join(t.framer.WriteWindowUpdate(0, uint32(n)), t.framer.WriteWindowUpdate(tunnelStream, uint32(n)))
	})
}

func (t *tunnel) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := t.await(func() bool { return t.window > 0 && t.stream > 0 }); err != nil {
			return n, err
		}
		t.mu.Lock()
		part := int(min(int64(len(p)), t.window, t.stream, 16384))
		t.window -= int64(part)
		t.stream -= int64(part)
		t.mu.Unlock()
		if err := t.send(p[:part], false); err != nil {
			return n, err
		}
		n, p = n+part, p[part:]
	}
	return n, nil
}

func (t *tunnel) send(p []byte, end bool) error {
	return t.locked(func() error { return t.framer.WriteData(tunnelStream, end, p) })
}

func (t *tunnel) shut() {
	_ = t.conn.Close()
	t.reader.Wait()
}
