package conform

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// handshake is what a browser says to open a WebSocket (RFC 6455 section 4.1).
var handshake = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}

// asksUpgrade has a client ask for a WebSocket. The case is skipped if the
// router offers none.
func (s *scene) asksUpgrade(early string) (*client, *task) {
	c := s.client()
	c.ask("GET", "upgrade", early, handshake...)
	t := s.arrives(c)
	switch t.get(":protocol") {
	case "websocket":
	case "":
		t.answer("200", "")
		c.wants(200)
		skipf("the router offers no upgrades: the request has no :protocol")
	default:
		failf("expected :protocol websocket; it is %q", t.get(":protocol"))
	}
	if t.ended {
		failf("expected the client's direction to be open; END_STREAM came with the HEADERS")
	}
	return c, t
}

// upgrades has the worker accept a WebSocket. c.got is then what comes over it.
func (s *scene) upgrades() (*client, *task) {
	c, t := s.asksUpgrade("")
	t.accept()
	c.awaitUpgrade()
	return c, t
}

func (t *task) accept() { t.head("101", "sec-websocket-accept", "ICX+Yqv66kxgM0FcWaLWlFLwTAI=") }

func (c *client) awaitUpgrade() {
	a := c.awaitHead()
	if a.head.status != 101 {
		failf("expected status 101; the client got %s", c.peek())
	}
	for name, want := range map[string]string{"connection": "upgrade", "upgrade": "websocket", "sec-websocket-accept": "icx+yqv66kxgm0fcwalwlflwtai="} {
		if got := strings.ToLower(strings.Join(a.head.get(name), ",")); got != want {
			failf("expected %s: %s with status 101; the head is %s", name, want, describeFields(a.head.fields))
		}
	}
	for _, name := range []string{"content-length", "transfer-encoding"} {
		if a.head.get(name) != nil {
			failf("expected no body with status 101; the head is %s", describeFields(a.head.fields))
		}
	}
	c.got = c.got[a.size:]
}

// awaitBytes waits for so many bytes over an upgraded connection, and takes them.
func (c *client) awaitBytes(n int) []byte {
	c.s.until(fmt.Sprintf("%d bytes over the upgraded connection", n), func() bool { return c.closed || len(c.got) >= n })
	if len(c.got) < n {
		failf("expected %d bytes over the upgraded connection; it closed after %d", n, len(c.got))
	}
	got := c.got[:n]
	c.got = c.got[n:]
	return got
}

// awaitClose wants the end of an upgraded connection, and nothing before it.
func (c *client) awaitClose() {
	c.s.until("the end of the upgraded connection", func() bool { return c.closed })
	if len(c.got) > 0 {
		failf("expected the end of the upgraded connection; %.200q came before it", c.got)
	}
}

func mirrorUpgrade(s *scene) {
	s.worker(4)
	c, t := s.asksUpgrade("")
	if t.get(":method") != "GET" || t.get("sec-websocket-version") != "13" || !slices.Equal(valuesOf(t.fields, "sec-websocket-key"), []string{"AAAAAAAAAAAAAAAAAAAAAA=="}) {
		failf("expected GET and the handshake's fields; the request is %s", describeFields(t.fields))
	}
	t.accept()
	c.awaitUpgrade()
	for _, text := range []string{"one", "two"} {
		c.write(text)
		t.w.until("the client's bytes", func() bool { return bytes.HasSuffix(t.body, []byte(text)) })
		t.write([]byte(text))
		if got := c.awaitBytes(3); string(got) != text {
			failf("expected the bytes %s at the client; %q came", text, got)
		}
	}
	t.end()
	c.awaitClose()
	s.serves(nil)
}

// mirrorUpgradeEarly has a client that does not wait for the answer.
func mirrorUpgradeEarly(s *scene) {
	s.worker(4)
	c, t := s.asksUpgrade("early bytes")
	s.settle(200 * time.Millisecond)
	if len(t.body) > 0 {
		failf("expected no DATA before :status 101; %q came", t.body)
	}
	t.accept()
	c.awaitUpgrade()
	t.w.until("the client's bytes", func() bool { return string(t.body) == "early bytes" })
	t.end()
	c.awaitClose()
}

func mirrorUpgradeWindows(s *scene) {
	s.worker(4)
	c, t := s.upgrades()
	up, down := pattern(500_000, 11), pattern(1_000_000, 12)
	t.frozen = true
	c.write(string(up))
	t.w.until("what one window holds", func() bool { return t.room < frame.RequestWindow/2 })
	t.write(down)
	if !bytes.Equal(c.awaitBytes(len(down)), down) {
		failf("expected the worker's bytes at the client; others came")
	}
	s.settle(100 * time.Millisecond) // more than the window would fail the case
	t.frozen = false
	t.credit(uint64(frame.RequestWindow - t.room))
	t.w.until(fmt.Sprintf("%d bytes from the client", len(up)), func() bool { return len(t.body) >= len(up) })
	if !bytes.Equal(t.body, up) {
		failf("expected the client's bytes; others came")
	}
	t.end()
	c.awaitClose()
}

func mirrorUpgradeHalfClose(s *scene) {
	s.worker(4)
	c, t := s.upgrades()
	c.write("the last")
	c.closeWrite()
	if got := t.awaitBody(); string(got) != "the last" {
		failf("expected the client's bytes and END_STREAM; %q came", got)
	}
	t.write([]byte("what there was to say"))
	if got := c.awaitBytes(21); string(got) != "what there was to say" {
		failf("expected the worker's bytes after the client's end; %q came", got)
	}
	t.end()
	c.awaitClose()
}

// closeWrite ends the client's direction.
func (c *client) closeWrite() { _ = c.nc.(*net.TCPConn).CloseWrite() }

// vanish has a connection end without a word.
func (c *client) vanish() {
	_ = c.nc.(*net.TCPConn).SetLinger(0)
	c.leave()
}

func mirrorUpgradeEnds(s *scene) {
	s.worker(4)
	c, t := s.upgrades()
	t.write([]byte("goodbye"))
	t.end()
	if got := c.awaitBytes(7); string(got) != "goodbye" {
		failf("expected the worker's last bytes; %q came", got)
	}
	c.awaitClose()
	s.serves(nil)
}

func mirrorUpgradeRefused(s *scene) {
	s.worker(4)
	for _, status := range []int{403, 200} {
		c, t := s.asksUpgrade("")
		t.answer(fmt.Sprint(status), "not here", "x-reason", "policy")
		if a := c.wants(status); string(a.body) != "not here" || a.head.get("x-reason") == nil {
			failf("expected the answer that refuses the upgrade; the client got %q and %s", a.body, describeFields(a.head.fields))
		}
		s.serves(c)
	}
}

func mirrorUpgradeReset(s *scene) {
	s.worker(4)
	c, t := s.asksUpgrade("")
	t.rst(http2.ErrCodeInternal)
	c.wants(502)
	c, t = s.upgrades()
	t.rst(http2.ErrCodeInternal)
	c.awaitClose()
	s.serves(nil)
}

func mirrorUpgradeLeave(s *scene) {
	s.worker(1)
	c, t := s.asksUpgrade("")
	c.leave()
	t.awaitReset(http2.ErrCodeCancel)
	t.rst(http2.ErrCodeCancel)
	c, t = s.upgrades()
	c.vanish()
	t.awaitReset(http2.ErrCodeCancel)
	t.rst(http2.ErrCodeCancel)
	s.serves(nil) // the worker's only slot is free again
}

func mirrorUpgradeVanish(s *scene) {
	s.worker(4)
	s.worker(4)
	c, t := s.asksUpgrade("")
	t.w.vanish()
	t = s.arrives(c)
	if t.get(":protocol") != "websocket" {
		failf("expected :protocol with the request at another worker; it is %s", describeFields(t.fields))
	}
	t.accept()
	c.awaitUpgrade()
	t.w.vanish()
	c.awaitClose()
}

func mirrorUpgradeREP(s *scene) {
	w := s.rep()
	c := s.client()
	c.ask("GET", "upgrade", "", handshake...)
	s.until("503 for an upgrade, without a native worker", func() bool { return c.answered() || len(w.replies) > 0 })
	if !c.answered() {
		skipf("the router offers no upgrades: the request came to a REP worker")
	}
	c.wants(503)
}

// wrongUpgrade has the worker send a second head after 101.
func wrongUpgrade(s *scene) {
	s.worker(4)
	c, t := s.upgrades()
	t.head("200", "x", "injected")
	t.awaitReset(http2.ErrCodeProtocol)
	t.rst(http2.ErrCodeCancel)
	c.awaitClose()
	s.serves(nil)
}
