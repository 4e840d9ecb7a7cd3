package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialmux/dialmux/internal/testpipe"
)

const partHead = "GET / HTTP/1.1\r\nHost: h\r\nX-Pa"

func TestAHeadThatDoesNotComeInTime(t *testing.T) {
	for name, tc := range map[string]struct {
		first  string        // a whole request before it
		pause  time.Duration // after that
		part   string
		want   time.Duration // after part has been sent
		status int           // 0: silence
	}{
		"nothing on a new connection":    {part: "", want: 10 * time.Second},
		"part on a new connection":       {pause: 7 * time.Second, part: partHead, want: 3 * time.Second, status: 408},
		"one byte":                       {part: "G", want: 10 * time.Second, status: 408},
		"a CR":                           {part: "\r", want: 10 * time.Second, status: 408},
		"an empty line":                  {part: "\r\n", want: 10 * time.Second},
		"part after a request":           {first: asks("/first"), pause: 40 * time.Second, part: partHead, want: 10 * time.Second, status: 408},
		"part right behind a request":    {first: asks("/first") + "GET", want: 10 * time.Second, status: 408},
		"an empty line after a request":  {first: asks("/first"), pause: 40 * time.Second, part: "\r\n", want: 10 * time.Second},
		"an empty line behind a request": {first: asks("/first") + "\r\n", want: 10 * time.Second},
		"nothing after a request":        {first: asks("/first"), want: 75 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, &Server{}, func(s *stage) {
				a := &actor{}
				v := s.enter(a)
				if tc.first != "" {
					v.say(tc.first)
					v.wants("GET", "GET /first ")
				}
				time.Sleep(tc.pause)
				v.say(tc.part)
				start := time.Now()
				if tc.status != 0 {
					if h := v.hear("GET"); h.StatusCode != tc.status || !h.Close {
						v.t.Errorf("got %d, Connection: close %v", h.StatusCode, h.Close)
					}
				}
				v.ends()
				about(v.t, "the connection ended", time.Since(start), tc.want)
				if len(a.leftAt()) > 0 {
					v.t.Error("Left was called without a request")
				}
			})
		})
	}
}

func TestH11AHeadThatTricklesHasTenSecondsInAll(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{})
		v.say(asks("/first"))
		v.wants("GET", "GET /first ")
		start := time.Now()
		v.say("GET / HTTP/1.1\r\nHost: h\r\n")
		for time.Since(start) < 9*time.Second {
			time.Sleep(time.Second)
			v.say("X: y\r\n")
		}
		if h := v.hear("GET"); h.StatusCode != http.StatusRequestTimeout {
			v.t.Errorf("got %d", h.StatusCode)
		}
		about(v.t, "408 came", time.Since(start), 10*time.Second)
	})
}

func TestARequestInTheLastMomentIsServed(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{})
		time.Sleep(9800 * time.Millisecond)
		v.say(asks("/first"))
		v.wants("GET", "GET /first ")
		for range 3 {
			time.Sleep(74800 * time.Millisecond)
			v.say("GET /idle HT")
			time.Sleep(9800 * time.Millisecond)
			v.say("TP/1.1\r\nHost: h\r\n\r\n")
			v.wants("GET", "GET /idle ")
		}
	})
}

func TestServeMayTakeItsTime(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) { time.Sleep(10 * time.Minute); echo(c) }})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
		v.wants("PUT", "PUT / body")
	})
}

func TestH11ABodyThatStopsComing(t *testing.T) {
	for name, request := range map[string]string{
		"of a length":         "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
		"of a length, begun":  "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
		"chunked":             "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
		"chunked, in a size":  "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1",
		"chunked, in data":    "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na",
		"chunked, in trailer": "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrai",
	} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, &Server{}, func(s *stage) {
				v := s.enter(&actor{})
				v.say(request)
				start := time.Now()
				if h := v.hear("PUT"); h.StatusCode != http.StatusRequestTimeout || !h.Close {
					v.t.Errorf("got %d, Connection: close %v", h.StatusCode, h.Close)
				}
				about(v.t, "408 came", time.Since(start), 60*time.Second)
				v.ends()
			})
		})
	}
}

func TestASlowBodyIsNotCut(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{})
		v.say("PUT /slow HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		for _, piece := range []string{"3", "\r\n", "a", "bc\r", "\n0\r", "\n", "\r\n"} {
			time.Sleep(59 * time.Second)
			v.say(piece)
		}
		v.wants("PUT", "PUT /slow abc")
		v.stays()
	})
}

// stuffed is an answer of n bytes; err is what Write or Finish said.
func stuffed(n int, err *error) func(c *Conn) {
	return func(c *Conn) {
		c.Status(200)
		c.EndHead(int64(n))
		for range n / 100_000 {
			if *err = c.Write(make([]byte, 100_000)); *err != nil {
				return
			}
		}
		*err = c.Finish()
	}
}

func TestH14AClientThatDoesNotReadIsCut(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		var err error
		v := s.enter(&actor{serve: stuffed(1_000_000, &err)})
		start := time.Now()
		v.say(asks("/"))
		<-v.served
		about(v.t, "the connection ended", time.Since(start), 60*time.Second)
		if err == nil {
			v.t.Error("the handler was told that all was written")
		}
		if h, err := v.try("GET"); !errors.Is(err, io.ErrUnexpectedEOF) {
			v.t.Errorf("the client got %d bytes, %v; want a part", len(h.text), err)
		}
	})
}

func TestAClientThatReadsSlowlyIsNotCut(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		var err error
		v := s.enter(&actor{serve: stuffed(500_000, &err)})
		v.say(asks("/"))
		var all bytes.Buffer
		for all.Len() < 500_000 {
			time.Sleep(59 * time.Second)
			if _, failed := io.CopyN(&all, v, min(piece, int64(500_000-all.Len()))); failed != nil {
				v.t.Fatalf("after %d bytes: %v", all.Len(), failed)
			}
		}
		v.r = bufio.NewReader(io.MultiReader(&all, v))
		if h := v.hear("GET"); len(h.text) != 500_000 || err != nil {
			v.t.Errorf("%d bytes, %v", len(h.text), err)
		}
	})
}

func TestLimitsThatAreSet(t *testing.T) {
	srv := &Server{HeadTimeout: time.Second, IdleTimeout: 2 * time.Second, BodyTimeout: 3 * time.Second, WriteTimeout: 4 * time.Second}
	onPipes(t, srv, func(s *stage) {
		for _, tc := range []struct {
			what, say string
			heard     []int // what is answered before the end
			want      time.Duration
		}{
			{"nothing", "", nil, time.Second},
			{"half a head", "GET", []int{408}, time.Second},
			{"idle", asks("/"), []int{200}, 2 * time.Second},
			{"half a body", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nx", []int{408}, 3 * time.Second},
		} {
			v := s.enter(&actor{})
			start := time.Now()
			v.say(tc.say)
			for _, status := range tc.heard {
				if h := v.hear("GET"); h.StatusCode != status {
					v.t.Errorf("%s: got %d, want %d", tc.what, h.StatusCode, status)
				}
			}
			v.ends()
			about(v.t, tc.what+": the connection ended", time.Since(start), tc.want)
		}
		var err error
		v := s.enter(&actor{serve: stuffed(1_000_000, &err)})
		start := time.Now()
		v.say(asks("/"))
		<-v.served
		about(v.t, "the write ended", time.Since(start), 4*time.Second)
	})
}

func TestNegativeLimitsAreNone(t *testing.T) {
	onPipes(t, &Server{HeadTimeout: -1, IdleTimeout: -1, BodyTimeout: -1, WriteTimeout: -1}, func(s *stage) {
		const long = 10 * time.Minute
		var err error
		slow := stuffed(1_000_000, &err)
		v := s.enter(&actor{serve: func(c *Conn) {
			if string(c.Head().Path) == "/slow" {
				slow(c)
				return
			}
			echo(c)
		}})
		for _, part := range []string{"\r", "\nPUT / HTTP/1.1\r\nHo", "st: h\r\nContent-Length: 4\r\n\r\nbo", "dy"} {
			time.Sleep(long)
			v.say(part)
		}
		v.wants("PUT", "PUT / body")
		time.Sleep(long)
		v.say(asks("/slow"))
		time.Sleep(long)
		h := v.hear("GET")
		_ = v.Close()
		<-v.served
		if len(h.text) != 1_000_000 || err != nil {
			v.t.Errorf("%d bytes, %v", len(h.text), err)
		}
	})
}

// Each of many slow clients is closed at its own deadline, and the one that is not slow is served meanwhile.
func TestH11ManySlowClients(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		var slow []*visitor
		start := time.Now()
		for i := range 200 {
			client, server := testpipe.NewSize(512)
			v := s.admit(client, server, &actor{})
			v.say([]string{"", "GET", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nx", "\r\n"}[i%4])
			slow = append(slow, v)
			time.Sleep(7 * time.Millisecond)
		}
		quick := s.enter(&actor{})
		for range 8 {
			quick.stays()
			time.Sleep(time.Second)
		}
		for i, v := range slow {
			if i%4 != 2 {
				<-v.served
			}
		}
		quick.stays()
		if took := time.Since(start); took < 13*time.Second || took > 14*time.Second {
			s.t.Errorf("the slow heads were gone after %v, want 11.4 s and the 2 s that a 408 has to be read", took)
		}
		for i := 2; i < len(slow); i += 4 {
			<-slow[i].served
		}
		if took := time.Since(start); took < 61*time.Second || took > 65*time.Second {
			s.t.Errorf("the slow bodies were gone after %v, want 61.4 s and the 2 s that a 408 has to be read", took)
		}
	})
}

func TestATimeoutIsToldToTheReaderOnly(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		var faults []string
		v := s.enter(&actor{serve: func(c *Conn) {
			for range 2 { // it is told each time
				_, err := c.Read(make([]byte, 1))
				if fault, ok := errors.AsType[*Error](err); ok {
					faults = append(faults, fault.Error())
				}
			}
			reply(c, 503, "busy")
		}})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
		synctest.Wait()
		if h := v.hear("PUT"); h.StatusCode != http.StatusServiceUnavailable || !h.Close {
			v.t.Errorf("got %d", h.StatusCode)
		}
		if strings.Join(faults, "|") != errBodyLate.Error()+"|"+errBodyLate.Error() {
			v.t.Errorf("told %q", faults)
		}
		v.ends()
	})
}
