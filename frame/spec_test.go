package frame_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

func spec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The numbers that people who write workers copy from the text.
func TestSpecNumbersAreTheConstants(t *testing.T) {
	text := strings.Join(strings.Fields(spec(t)), " ")
	for _, want := range []string{
		fmt.Sprintf("protocol, version %d", frame.Protocol),
		fmt.Sprintf("{protocol: %d, router: id", frame.Protocol),
		fmt.Sprintf("{protocol: %d, connection: the same number", frame.Protocol),
		fmt.Sprintf("a **head** (at most %d KiB) and a **payload** (at most %d KiB", frame.MaxHead>>10, frame.MaxPayload>>10),
		fmt.Sprintf("the flag END_STREAM (%d)", frame.EndStream),
		"Numbers are whole, from 0 to 2^53-1",
		fmt.Sprintf("costs max(%d, n), an empty one nothing", frame.MinCost),
		fmt.Sprintf("First windows: %s for the request's body, %s for the response's", thousands(frame.RequestWindow), thousands(frame.ResponseWindow)),
		fmt.Sprintf("100 opens it to %s", thousands(frame.RequestWindow)),
		fmt.Sprintf("RST_STREAM PROTOCOL_ERROR (%d)", http2.ErrCodeProtocol),
		fmt.Sprintf("RST_STREAM FLOW_CONTROL_ERROR (%d)", http2.ErrCodeFlowControl),
		fmt.Sprintf("RST_STREAM REFUSED_STREAM (%d)", http2.ErrCodeRefusedStream),
		fmt.Sprintf("NO_ERROR (%d)", http2.ErrCodeNo),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("SPEC.md does not say %q", want)
		}
	}
	if frame.MaxNumber != 1<<53-1 {
		t.Errorf("MaxNumber is %d, SPEC.md says 2^53-1", uint64(frame.MaxNumber))
	}
}

func thousands(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }

func TestSpecListsEveryType(t *testing.T) {
	rows := regexp.MustCompile(`(?m)^\| (\d+) ([A-Z_]+) \| (both|router|worker) \|`).FindAllStringSubmatch(spec(t), -1)
	listed := map[string]bool{}
	for _, row := range rows {
		listed[row[1]+" "+row[2]] = true
	}
	for _, typ := range []frame.Type{frame.Data, frame.Headers, frame.RSTStream, frame.GoAway, frame.WindowUpdate, frame.Welcome, frame.Join, frame.Own} {
		if row := fmt.Sprintf("%d %v", uint8(typ), typ); !listed[row] {
			t.Errorf("the table of types has no row %q", row)
		} else {
			delete(listed, row)
		}
	}
	for row := range listed {
		t.Errorf("the table of types has the row %q, which the package does not know", row)
	}
}

// The maps that the text shows are the ones that the codec writes.
func TestSpecNamesEveryKey(t *testing.T) {
	text := strings.Join(strings.Fields(spec(t)), " ")
	for what, v := range map[string]any{
		"WELCOME": frame.WelcomeInfo{Routers: []string{"x"}},
		"JOIN": frame.JoinInfo{
			Name: "x", Service: "x", Hosts: []string{"x"}, Paths: []string{"x"}, Weight: 1,
			AppVersion: "x", Zone: "x", Tags: map[string]string{"x": "x"}, Token: "x",
		},
		"OWN": frame.OwnInfo{},
	} {
		for key := range asMap(t, v).(map[string]any) {
			if !regexp.MustCompile("[{ `]" + key + "[:,} `]").MatchString(text) {
				t.Errorf("SPEC.md does not name the key %q of %s", key, what)
			}
		}
	}
}

func TestSpecVectorsAreVectors(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| `([0-9a-f ]+)` \\| ([A-Z_]+) on stream (\\d+)(.*) \\|$").FindAllStringSubmatch(spec(t), -1)
	if len(rows) < 5 {
		t.Fatalf("found %d rows of hex in SPEC.md, want five at least", len(rows))
	}
	inFile := map[string]bool{}
	for _, v := range vectors(t) {
		inFile[string(v.head)] = true
	}
	for _, row := range rows {
		head, means := unhex(t, strings.ReplaceAll(row[1], " ", "")), row[4]
		if !inFile[string(head)] {
			t.Errorf("%s is not in testdata/vectors.json", row[1])
		}
		f, err := frame.Parse(head, nil)
		if err != nil {
			t.Errorf("%s: %v", row[1], err)
			continue
		}
		if f.Type.String() != row[2] || fmt.Sprint(f.Stream) != row[3] {
			t.Errorf("%s is %v on stream %d, SPEC.md says %s on stream %s", row[1], f.Type, f.Stream, row[2], row[3])
		}
		if !bytes.Equal(f.Append(nil), head) {
			t.Errorf("%s is not how the codec writes it: %x", row[1], f.Append(nil))
		}
		if f.End() != strings.Contains(means, "END_STREAM") {
			t.Errorf("%s: END_STREAM is %v, SPEC.md says%s", row[1], f.End(), means)
		}
		var want string // what the text must say of it
		switch f.Type {
		case frame.Data:
			if f.End() {
				want = fmt.Sprintf("%d bytes in all", f.Total)
			}
		case frame.Headers:
			want = fmt.Sprintf("`:status` %s, `x-latin` of four bytes that are not UTF-8, total %d", f.Fields.Get(":status"), f.Total)
			if got := string(f.Fields.Get("x-latin")); got != "caf\xe9" {
				t.Errorf("%s: x-latin is %q", row[1], got)
			}
		case frame.WindowUpdate:
			want = ": " + thousands(int(f.Credit))
		case frame.RSTStream:
			want = fmt.Sprintf(": %v (%d), no reason", f.Code, uint32(f.Code))
		}
		if !strings.Contains(means, want) {
			t.Errorf("%s: SPEC.md says%s, not %q", row[1], means, want)
		}
	}
}
