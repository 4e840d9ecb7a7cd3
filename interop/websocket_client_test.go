package interop

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The opcodes of RFC 6455 section 5.2.
const (
	wsContinuation byte = iota
	wsText
	wsBinary
	wsClose = iota + 5
	wsPing
	wsPong
)

// websocket is a client that shows and sees frames.
type websocket struct {
	io.Writer
	in         *bufio.Reader
	closeWrite func() error // half
	close      func()
}

// wsFrame is one frame as it came. Servers do not mask.
type wsFrame struct {
	final   bool
	opcode  byte
	payload []byte
}

// openWebSocket asks for an upgrade in HTTP/1.1, and checks the answer.
func openWebSocket(conn net.Conn, path string) (*websocket, error) {
	_ = conn.SetDeadline(time.Now().Add(wsPatience))
	var random [16]byte
	_, _ = rand.Read(random[:])
	key := base64.StdEncoding.EncodeToString(random[:])
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, key)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, fmt.Errorf("the upgrade was answered %s, %v %.200q", resp.Status, resp.Header, body)
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return nil, fmt.Errorf("%T has no CloseWrite", conn)
	}
	return &websocket{conn, in, half.CloseWrite, func() { _ = conn.Close() }}, nil
}

// wsPatience is how long a connection may take in all; see patience.
const wsPatience = 4 * patience

// appendFrame appends a frame, masked as clients must.
func appendFrame(b []byte, final bool, opcode byte, payload []byte) []byte {
	if final {
		opcode |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, opcode, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, opcode, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, opcode, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 250}
	b = append(b, mask[:]...)
	at := len(b)
	b = append(b, payload...)
	for i := range payload {
		b[at+i] ^= mask[i%4]
	}
	return b
}

func (w *websocket) send(final bool, opcode byte, payload []byte) error {
	_, err := w.Write(appendFrame(nil, final, opcode, payload))
	return err
}

func (w *websocket) receive() (f wsFrame, err error) {
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		return f, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(w.in, b[:])
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(w.in, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	switch {
	case err != nil:
		return f, err
	case head[0]&0x70 != 0 || head[1]&0x80 != 0 || n > 64<<20:
		return f, fmt.Errorf("a frame that begins with %x: reserved bits, a mask or too many bytes", head)
	}
	f.final, f.opcode, f.payload = head[0]&0x80 != 0, head[0]&0x0f, make([]byte, n)
	_, err = io.ReadFull(w.in, f.payload)
	return f, err
}

// message receives a whole one.
func (w *websocket) message() (wsFrame, error) {
	whole, err := w.receive()
	for err == nil && !whole.final {
		var next wsFrame
		if next, err = w.receive(); err == nil && next.opcode != wsContinuation {
			err = fmt.Errorf("a frame of opcode %d amid a message", next.opcode)
		}
		whole.final, whole.payload = next.final, append(whole.payload, next.payload...)
	}
	return whole, err
}

// wants receives a message, and compares.
func (w *websocket) wants(opcode byte, payload []byte) error {
	f, err := w.message()
	switch {
	case err != nil:
		return fmt.Errorf("waiting for %d bytes of opcode %d: %w", len(payload), opcode, err)
	case f.opcode != opcode || !bytes.Equal(f.payload, payload):
		return fmt.Errorf("a message of opcode %d and %d bytes (%.60q), want opcode %d and those %d bytes", f.opcode, len(f.payload), f.payload, opcode, len(payload))
	}
	return nil
}

// echoes sends a message, and wants it back.
func (w *websocket) echoes(opcode byte, payload []byte) error {
	if err := w.send(true, opcode, payload); err != nil {
		return fmt.Errorf("sending %d bytes: %w", len(payload), err)
	}
	return w.wants(opcode, payload)
}

// wantsClose receives a close frame of this code, 0 for none, and the end.
func (w *websocket) wantsClose(code uint16) error {
	f, err := w.receive()
	if err != nil {
		return fmt.Errorf("waiting for close %d: %w", code, err)
	}
	var want []byte
	if code > 0 {
		want = binary.BigEndian.AppendUint16(nil, code)
	}
	if f.opcode != wsClose || !bytes.HasPrefix(f.payload, want) || code == 0 && len(f.payload) > 0 {
		return fmt.Errorf("a frame of opcode %d and %.60q, want close %d", f.opcode, f.payload, code)
	}
	return w.wantsEnd()
}

func (w *websocket) wantsEnd() error {
	if b, err := w.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last frame: byte %x, %w, want the end of the connection", b, err)
	}
	return nil
}

func closePayload(code uint16, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}
