package frame

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
	"golang.org/x/net/http2"
)

// WelcomeInfo is the map of WELCOME: what a router tells a worker first.
type WelcomeInfo struct {
	Protocol   uint64   `msgpack:"protocol"`
	Router     string   `msgpack:"router"`     // the router's id
	Connection uint64   `msgpack:"connection"` // random, below 2^53; another one voids the streams of the last
	Limits     Limits   `msgpack:"limits"`
	Windows    Windows  `msgpack:"windows"`
	Routers    []string `msgpack:"routers,omitempty"` // endpoints of the known routers
	Refused    string   `msgpack:"refused,omitempty"` // why the last JOIN changes nothing
}

// Limits are bounds that a router sets.
type Limits struct {
	Head        uint64 `msgpack:"head"`        // bytes of a frame's head
	Payload     uint64 `msgpack:"payload"`     // bytes of a frame's payload
	Concurrency uint64 `msgpack:"concurrency"` // streams at once on one worker
}

// Windows are the first windows of each stream, in cost.
type Windows struct {
	Request  uint64 `msgpack:"request"`
	Response uint64 `msgpack:"response"`
}

// JoinInfo is the map of JOIN: a worker's whole state, each time.
type JoinInfo struct {
	Protocol    uint64            `msgpack:"protocol"`
	Connection  uint64            `msgpack:"connection"` // WELCOME's, echoed
	Instance    string            `msgpack:"instance"`   // random per process and link
	Name        string            `msgpack:"name,omitempty"`
	Concurrency uint64            `msgpack:"concurrency"` // 0 counts as 1
	Service     string            `msgpack:"service,omitempty"`
	Hosts       []string          `msgpack:"hosts,omitempty"`
	Paths       []string          `msgpack:"paths,omitempty"`
	Weight      uint64            `msgpack:"weight,omitempty"`
	Balance     string            `msgpack:"balance,omitempty"` // round-robin or least
	Sticky      string            `msgpack:"sticky,omitempty"`  // see ParseSticky
	AppVersion  string            `msgpack:"app_version,omitempty"`
	Zone        string            `msgpack:"zone,omitempty"`
	Tags        map[string]string `msgpack:"tags,omitempty"`
	Token       string            `msgpack:"token,omitempty"`
}

// OwnInfo is the map of OWN: all partitions that the worker now owns.
type OwnInfo struct {
	Epoch      uint64   `msgpack:"epoch"`
	Partitions []uint64 `msgpack:"partitions"`
}

// AppendWelcome writes the head of a WELCOME frame.
func AppendWelcome(dst []byte, w WelcomeInfo) []byte { return appendControl(dst, Welcome, w) }

// AppendJoin writes the head of a JOIN frame. Tags go out sorted by name.
func AppendJoin(dst []byte, j JoinInfo) []byte { return appendControl(dst, Join, j) }

// AppendOwn writes the head of an OWN frame.
func AppendOwn(dst []byte, o OwnInfo) []byte {
	if o.Partitions == nil {
		o.Partitions = []uint64{} // an array, not nil: the worker owns nothing any more
	}
	return appendControl(dst, Own, o)
}

func appendControl(dst []byte, t Type, v any) []byte {
	buf := bytes.NewBuffer(appendHead(dst, 4, t, 0, 0))
	enc := msgpack.NewEncoder(buf)
	enc.SetSortMapKeys(true)
	enc.UseCompactInts(true)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("frame: %v: %v", t, err)) // plain structs into memory: only a bug in them fails
	}
	return buf.Bytes()
}

// ParseWelcome reads the map of a WELCOME frame. In all three, keys that it
// does not know are passed over, and a known key twice is an error.
func ParseWelcome(f *Frame) (w WelcomeInfo, err error) {
	err = parseControl(f, entries{
		{key: "protocol", read: num(&w.Protocol)},
		{key: "router", read: str(&w.Router)},
		{key: "connection", read: num(&w.Connection)},
		{key: "limits", read: entries{
			{key: "head", read: num(&w.Limits.Head)},
			{key: "payload", read: num(&w.Limits.Payload)},
			{key: "concurrency", read: num(&w.Limits.Concurrency)},
		}.parse},
		{key: "windows", read: entries{
			{key: "request", read: num(&w.Windows.Request)},
			{key: "response", read: num(&w.Windows.Response)},
		}.parse},
		{key: "routers", read: strs(&w.Routers)},
		{key: "refused", read: str(&w.Refused)},
	})
	return w, err
}

// ParseJoin reads the map of a JOIN frame.
func ParseJoin(f *Frame) (j JoinInfo, err error) {
	err = parseControl(f, entries{
		{key: "protocol", read: num(&j.Protocol)},
		{key: "connection", read: num(&j.Connection)},
		{key: "instance", read: str(&j.Instance)},
		{key: "name", read: str(&j.Name)},
		{key: "concurrency", read: num(&j.Concurrency)},
		{key: "service", read: str(&j.Service)},
		{key: "hosts", read: strs(&j.Hosts)},
		{key: "paths", read: strs(&j.Paths)},
		{key: "weight", read: num(&j.Weight)},
		{key: "balance", read: str(&j.Balance)},
		{key: "sticky", read: str(&j.Sticky)},
		{key: "app_version", read: str(&j.AppVersion)},
		{key: "zone", read: str(&j.Zone)},
		{key: "tags", read: strMap(&j.Tags)},
		{key: "token", read: str(&j.Token)},
	})
	return j, err
}

// ParseOwn reads the map of an OWN frame.
func ParseOwn(f *Frame) (o OwnInfo, err error) {
	err = parseControl(f, entries{
		{key: "epoch", read: num(&o.Epoch)},
		{key: "partitions", read: nums(&o.Partitions)},
	})
	return o, err
}

func parseControl(f *Frame, known entries) error {
	if _, err := known.parse(f.Rest); err != nil {
		return connError(http2.ErrCodeProtocol, "%v: %v", f.Type, err)
	}
	return nil
}
