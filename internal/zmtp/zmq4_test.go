package zmtp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
	"github.com/go-zeromq/zmq4/security/plain"

	"github.com/dialmux/dialmux/internal/testpipe"
)

// Each test here holds a fact of zmq4 v0.17.0 against which this package defends. One that fails says that the
// fact is no more, and that a defence may go.

// childEnv names the child that a test runs instead of the tests, because it may not survive.
const childEnv = "ZMTP_TEST_CHILD"

var children = map[string]func(){
	"dealer with a raw peer": dealerWithRawPeer,
	"dealer copies":          dealerCopies,
	"silent connection":      silentConnection,
	"stuck router":           stuckRouter,
	"unknown identity":       unknownIdentity,
	"ping is data":           pingIsData,
}

// runChild runs a child, for its sockets' sake too: zmq4 leaves goroutines behind.
func runChild(t *testing.T, name string) (output string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func openRecorded(sends []byte) (err error) {
	_, err = zmq4.Open(&replay{r: bytes.NewReader(sends)}, null.Security(), zmq4.Dealer, nil, true, nil)
	return err
}

func TestZMQ4PanicsOnMalformedREADY(t *testing.T) {
	for name, metadata := range map[string]string{
		"name cut":    "\x0bSocket-Typ",
		"value cut":   "\x0bSocket-Type\x00\x00\x00",
		"no type":     "",
		"unknown":     "\x0bSocket-Type\x00\x00\x00\x04FISH",
		"name length": "\xff",
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := recover(); p == nil {
					if name != "name length" { // the one that it does check
						t.Error("no panic")
					}
				}
			}()
			if err := openRecorded(concat(nullGreeting, ready([]byte(metadata)))); err == nil {
				t.Error("no error either")
			}
		})
	}
}

func TestZMQ4TrustsLengthsInTheHandshake(t *testing.T) {
	defer func() {
		if p := recover(); !strings.Contains(fmt.Sprint(p), "makeslice: len out of range") {
			t.Errorf("got %v", p)
		}
	}()
	t.Error(openRecorded(concat(nullGreeting, unhex("063fffffffffffffff"))))
}

func TestZMQ4AcceptsMessageFlagsInTheHandshake(t *testing.T) {
	split := concat([]byte{5, 0}, dealerReady) // MORE on a command, and an empty one in front
	if err := openRecorded(concat(nullGreeting, split)); err == nil || !strings.Contains(err.Error(), "invalid length command") {
		t.Errorf("got %v: frames are not gathered any more", err)
	}
}

func TestZMQ4PlainDoesNotCheck(t *testing.T) {
	for name, hello := range map[string][]byte{"wrong password": plainHello, "malformed": []byte("\x04\x07\x05HELLO\xff")} {
		sends := concat(plainGreeting, hello, plainInitiate)
		_, err := zmq4.Open(&replay{r: bytes.NewReader(sends)}, plain.Security("svc/worker", "another"), zmq4.Dealer, nil, true, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// counter counts reads and writes of a peer that has sent everything already.
type counter struct {
	replay
	reads, writes int
}

func (c *counter) Read(p []byte) (int, error)  { c.reads++; return c.replay.Read(p) }
func (c *counter) Write(p []byte) (int, error) { c.writes++; return c.replay.Write(p) }

func TestZMQ4ReadsAndWritesTwiceForEachFrame(t *testing.T) {
	nc := &counter{replay: replay{r: bytes.NewReader(concat(nullDealer, []byte("\x00\x01a")))}}
	c, err := zmq4.Open(nc, null.Security(), zmq4.Dealer, nil, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	nc.reads, nc.writes = 0, 0
	if err := c.SendMsg(zmq4.NewMsgString("x")); err != nil || nc.writes != 2 {
		t.Errorf("%d writes, %v", nc.writes, err)
	}
	if _, err := c.RecvMsg(); err != nil || nc.reads != 2 {
		t.Errorf("%d reads, %v", nc.reads, err)
	}
}

// Its PING handling sends a PONG without the context, and libzmq needs that back.
func TestZMQ4PongLosesTheContext(t *testing.T) {
	a, b := testpipe.New()
	defer b.Close()
	mustWrite(t, b, concat(nullDealer, []byte("\x04\x09\x04PING\x00\x00hi")))
	c, err := zmq4.Open(a, null.Security(), zmq4.Dealer, nil, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustRead(t, b, greetingSize+len(ourReady))
	if _, err := c.RecvMsg(); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, b, 7); string(got) != "\x04\x05\x04PONG" {
		t.Errorf("got %q", got)
	}
}

func TestZMQ4DiesOfNineBytes(t *testing.T) {
	output, err := runChild(t, "dealer with a raw peer")
	if err == nil || !strings.Contains(output, "makeslice: len out of range") {
		t.Errorf("the process outlived them: %v\n%s", err, output)
	}
}

func dealerWithRawPeer() {
	dealer, address := listenZMQ4(zmq4.NewDealer)
	nc := dialRaw(address, nullREP)
	_, _ = nc.Write(unhex("023fffffffffffffff"))
	_, err := dealer.Recv()
	fmt.Println("still here:", err)
}

func TestZMQ4DealerSendsToEveryPeer(t *testing.T) {
	expectChild(t, "dealer copies", "3 peers had the one message")
}

func dealerCopies() {
	dealer, address := listenZMQ4(zmq4.NewDealer)
	type arrival struct {
		peer int
		what byte
	}
	arrivals := make(chan arrival, 1<<16)
	for i := range 3 {
		nc := dialRaw(address, nullREP)
		go func() {
			for {
				frame, err := readFull(nc, 3)
				if err != nil {
					return
				}
				arrivals <- arrival{i, frame[2]}
			}
		}()
	}
	got := map[arrival]int{}
	// A peer takes part some time after its handshake: send until each one has had something.
	sendUntilAllHave := func(what byte) {
		for got[arrival{0, what}] == 0 || got[arrival{1, what}] == 0 || got[arrival{2, what}] == 0 {
			if err := dealer.Send(zmq4.NewMsg([]byte{what})); err != nil {
				panic(err)
			}
			for len(arrivals) > 0 {
				got[<-arrivals]++
			}
		}
	}
	sendUntilAllHave('x')
	if err := dealer.Send(zmq4.NewMsg([]byte{'y'})); err != nil {
		panic(err)
	}
	sendUntilAllHave('z')
	fmt.Println(min(got[arrival{0, 'y'}], 1)+min(got[arrival{1, 'y'}], 1)+min(got[arrival{2, 'y'}], 1), "peers had the one message")
}

func TestZMQ4WaitsForASilentConnection(t *testing.T) {
	expectChild(t, "silent connection", "shakes hands between two accepts")
}

func silentConnection() {
	_, address := listenZMQ4(zmq4.NewDealer)
	silent, err := net.Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	awaitStack("zmq4.(*socket).accept(", "zmq4.Open(", "[IO wait")
	runtime.KeepAlive(silent)
	fmt.Println("shakes hands between two accepts")
}

func TestZMQ4RouterStallsBehindOnePeer(t *testing.T) { expectChild(t, "stuck router", "stalled") }

func stuckRouter() {
	router, address := listenZMQ4(zmq4.NewRouter)
	a, b := dialRouter(router, address, "a"), dialRouter(router, address, "b") // neither reads
	go func() {
		for {
			_ = router.Send(zmq4.NewMsgFrom([]byte("a"), make([]byte, 1<<20)))
		}
	}()
	awaitStack("zmq4.(*Conn).SendMsg(", "[IO wait")
	go func() { _ = router.Send(zmq4.NewMsgFrom([]byte("b"), []byte("hello"))) }()
	awaitStack("zmq4.(*routerMWriter).write(", "[sync.Mutex.Lock")
	fmt.Println("stalled")
	runtime.KeepAlive([]net.Conn{a, b}) // collected, they would close
}

func TestZMQ4RouterDropsForAnUnknownIdentity(t *testing.T) {
	expectChild(t, "unknown identity", `sent: <nil>, came: "\x00\x01y"`)
}

func unknownIdentity() {
	router, address := listenZMQ4(zmq4.NewRouter)
	nc := dialRouter(router, address, "a")
	sent := router.Send(zmq4.NewMsgFrom([]byte("b"), []byte("x")))
	if err := router.Send(zmq4.NewMsgFrom([]byte("a"), []byte("y"))); err != nil {
		panic(err)
	}
	came, err := readFull(nc, 3)
	if err != nil {
		panic(err)
	}
	fmt.Printf("sent: %v, came: %q\n", sent, came)
}

func TestZMQ4HandsPINGUpAsData(t *testing.T) { expectChild(t, "ping is data", `"\x04PING\x00\x00"`) }

func pingIsData() {
	dealer, address := listenZMQ4(zmq4.NewDealer)
	dialRaw(address, concat(nullDealer, []byte(pinged)))
	msg, err := dealer.Recv()
	if err != nil {
		panic(err)
	}
	fmt.Printf("%q\n", msg.Frames[0])
}

func expectChild(t *testing.T, name, want string) {
	t.Helper()
	output, err := runChild(t, name)
	if err != nil || strings.TrimSpace(output) != want {
		t.Errorf("got %q, %v; want %q", output, err, want)
	}
}

func listenZMQ4(newSocket func(context.Context, ...zmq4.Option) zmq4.Socket) (s zmq4.Socket, address string) {
	s = newSocket(context.Background())
	if err := s.Listen("tcp://127.0.0.1:0"); err != nil {
		panic(err)
	}
	return s, s.Addr().String()
}

// dialRaw plays a recorded peer until its handshake is done.
func dialRaw(address string, sends []byte) net.Conn {
	nc, err := net.Dial("tcp", address)
	if err == nil {
		_, err = nc.Write(sends)
	}
	if err == nil {
		var head []byte
		if head, err = readFull(nc, greetingSize+2); err == nil {
			_, err = readFull(nc, int(head[greetingSize+1])) // its READY, whose identity the socket has made up
		}
	}
	if err != nil {
		panic(err)
	}
	return nc
}

// dialRouter is dialRaw as a DEALER with an identity of one byte, which the router knows when it returns.
func dialRouter(router zmq4.Socket, address, id string) net.Conn {
	metadata := "\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x01" + id
	nc := dialRaw(address, concat(nullGreeting, ready([]byte(metadata)), []byte("\x00\x01"+id)))
	if _, err := router.Recv(); err != nil {
		panic(err)
	}
	return nc
}

// awaitStack waits for a goroutine whose stack has all that is wanted.
func awaitStack(wanted ...string) {
	stacks := make([]byte, 1<<20)
	for {
		n := runtime.Stack(stacks, true)
		for stack := range strings.SplitSeq(string(stacks[:n]), "\n\n") {
			if !slices.ContainsFunc(wanted, func(w string) bool { return !strings.Contains(stack, w) }) {
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
}
