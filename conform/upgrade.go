package conform

import (
	"fmt"
	"syscall"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// upgrade opens a stream that asks for `:protocol` echo at /upgrade, and waits
// until it is accepted. The case is skipped if the worker refuses.
func (l *link) upgrade(query string) *call {
	c := l.asksUpgrade("/upgrade"+query, "echo")
	if status := c.awaitHead().status; status != "101" {
		c.awaitEnd()
		skipf("the worker refuses upgrades, by :status %s", status)
	}
	return c
}

func (l *link) asksUpgrade(path, protocol string) *call {
	return l.open("GET", path, true, ":protocol", protocol)
}

func caseUpgrade(k *WorkerKit) {
	c := k.link().upgrade("")
	for i := range 3 {
		c.write([]byte{byte('a' + i)}, false)
		c.awaitBody(i + 1)
	}
	c.endsUpgrade([]byte("abc"))
}

// endsUpgrade ends the client's direction, and wants what has been sent back.
func (c *call) endsUpgrade(sent []byte) {
	c.write(nil, true)
	c.awaitUpgraded(sent)
}

// awaitUpgraded waits for the stream's end, and wants these bytes to have come
// by then.
func (c *call) awaitUpgraded(sent []byte) {
	c.awaitEnd()
	if c.reset != nil || string(c.body) != string(sent) {
		failf("expected the %d bytes sent on stream %d (%s) back, and END_STREAM; %s after %d bytes", len(sent), c.id, c.path, c.ending(), len(c.body))
	}
}

func caseUpgradeUnasked(k *WorkerKit) {
	l := k.link()
	c := l.get("/upgrade") // a 101 would fail the case
	c.awaitHead()
	c.awaitEnd()
	l.echo([]byte("the next request"))
}

func caseUpgradeRefused(k *WorkerKit) {
	l := k.link()
	for path, protocol := range map[string]string{"/upgrade": "another", "/status/404": "echo"} {
		c := l.asksUpgrade(path, protocol)
		if status := c.awaitHead().status; status == "101" {
			failf("expected a final :status that refuses the protocol %s at %s; 101 came", protocol, path)
		}
		c.awaitEnd() // without END_STREAM from the client
	}
	l.echo([]byte("the next request"))
}

func caseUpgradeWindows(k *WorkerKit) {
	l := k.link()
	c := l.upgrade("")
	body := pattern(1_000_000, 7)
	c.write(body, false)
	c.awaitBody(len(body))
	c.endsUpgrade(body)
	l.echo([]byte("the next request"))
}

// caseUpgradeHalfClose has the client end its direction while the worker still
// has bytes for it, which there is no room for.
func caseUpgradeHalfClose(k *WorkerKit) {
	const n = frame.ResponseWindow + 16<<10
	c := k.link().upgrade("")
	c.frozen = true
	body := pattern(n, 8)
	c.write(body, true)
	c.stalls(n, fmt.Sprintf("an echo of %d bytes", n))
	c.thaw()
	c.awaitUpgraded(body)
}

func caseUpgradeWorkerEnds(k *WorkerKit) {
	l := k.link()
	c := l.upgrade("?n=5")
	c.write([]byte("12"), false)
	c.awaitBody(2)
	c.write([]byte("345"), false)
	c.awaitUpgraded([]byte("12345"))
	c.data([]byte("that nobody wants"), true)
	l.echo([]byte("the next request"))
}

func caseUpgradeWrongTotal(k *WorkerKit) {
	l := k.link()
	c := l.upgrade("")
	l.send(frame.AppendData(nil, c.id, true, 6), []byte("12345"))
	c.awaitEnd()
	if c.reset == nil || c.reset.Code != http2.ErrCodeProtocol {
		failf("expected RST_STREAM PROTOCOL_ERROR for five bytes with a total of 6; %s", c.ending())
	}
}

// caseUpgradeReset takes all slots, so that one which is not freed shows.
func caseUpgradeReset(k *WorkerKit) {
	l := k.link()
	calls := make([]*call, l.concurrency())
	for i := range calls {
		calls[i] = l.upgrade("")
	}
	for i, c := range calls {
		if i%2 == 0 {
			c.write([]byte("x"), false)
			c.awaitBody(1)
		}
		c.cancel()
	}
	for _, c := range calls {
		c.awaitEnd()
	}
	l.upgrade("").endsUpgrade(nil)
}

func caseDrainUpgrade(k *WorkerKit) {
	l := k.link()
	if k.process == nil {
		skipf("there is no COMMAND to send SIGTERM")
	}
	c := l.upgrade("")
	defer k.retire()
	k.process.signal(syscall.SIGTERM)
	for l.away == nil {
		l.step("GOAWAY after SIGTERM")
	}
	c.write([]byte("after GOAWAY"), false)
	c.awaitBody(len("after GOAWAY"))
	c.endsUpgrade([]byte("after GOAWAY"))
	k.awaitExit()
}
