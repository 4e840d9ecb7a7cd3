package http1

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

func TestKeepAlive(t *testing.T) {
	for name, tc := range map[string]struct {
		request   string
		keeps     bool
		says      string // Connection's value
		otherwise func(c *Conn)
	}{
		"1.1":                          {request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", keeps: true},
		"1.1 close":                    {request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", says: "close"},
		"1.1 Close in a list":          {request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n", says: "close"},
		"1.1 close in a second field":  {request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nConnection: close\r\n\r\n", says: "close"},
		"1.1 close beats keep-alive":   {request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, keep-alive\r\n\r\n", says: "close"},
		"1.1 keep-alive":               {request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", keeps: true},
		"1.0":                          {request: "GET / HTTP/1.0\r\n\r\n", says: "close"},
		"1.0 keep-alive":               {request: "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", keeps: true, says: "keep-alive"},
		"1.0 close beats keep-alive":   {request: "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", says: "close"},
		"1.0 keep-alive after a close": {request: "GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", says: "close"},
		"the handler closes": {
			request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", says: "close",
			otherwise: func(c *Conn) { c.Close(); echo(c) },
		},
		"a body":         {request: "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", keeps: true},
		"a chunked body": {request: "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", keeps: true},
	} {
		t.Run(name, func(t *testing.T) {
			onAll(t, func(s *stage) {
				v := s.enter(&actor{serve: tc.otherwise})
				v.say(tc.request)
				h := v.hear(strings.Fields(tc.request)[0])
				got := strings.Join(h.Header.Values("Connection"), "|")
				if h.Close { // net/http has taken the field away
					got += "close"
				}
				if h.StatusCode != http.StatusOK || got != tc.says {
					v.t.Errorf("%d, Connection: %q, want %q", h.StatusCode, got, tc.says)
				}
				if tc.keeps {
					v.stays()
					return
				}
				v.ends()
			})
		})
	}
}

func TestManyRequestsOnOneConnection(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		for i := range 500 {
			body := strings.Repeat("b", i*37%9000)
			v.say(fmt.Sprintf("PUT /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body))
			v.wants("PUT", fmt.Sprintf("PUT /%d %s", i, body))
		}
	})
}

func TestPipeliningIsAnsweredInOrder(t *testing.T) {
	onAll(t, func(s *stage) {
		a := &actor{}
		v := s.enter(a)
		var all strings.Builder
		for i := range 200 { // far more than a buffer
			switch i % 3 {
			case 0:
				all.WriteString(asks(fmt.Sprintf("/%d", i)))
			case 1:
				fmt.Fprintf(&all, "PUT /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nwhole", i)
			case 2:
				fmt.Fprintf(&all, "PUT /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npi\r\n3;x=y\r\nece\r\n0\r\nT: t\r\n\r\n", i)
			}
		}
		v.say(all.String())
		for i := range 200 {
			v.wants("PUT", fmt.Sprintf([]string{"GET /%d ", "PUT /%d whole", "PUT /%d piece"}[i%3], i))
		}
		v.stays()
	})
}

// pipelined are requests of every kind, and what is answered to them.
const pipelined = "GET /one HTTP/1.1\r\nHost: h\r\n\r\n" +
	"PUT /two HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nlength" +
	"\r\nPUT /three HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nchunk\r\n2\r\ned\r\n0\r\nEnd: yes\r\n\r\n" +
	"GET /four HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

var answers = []string{"GET /one ", "PUT /two length", "PUT /three chunked", "GET /four "}

func TestRequestsSplitAtEveryByte(t *testing.T) {
	for _, network := range []string{"pipe", "tcp"} {
		t.Run(network, func(t *testing.T) {
			story := func(s *stage) {
				for at := range len(pipelined) {
					v := s.enter(&actor{})
					v.say(pipelined[:at])
					if network == "pipe" {
						synctest.Wait() // or both pieces are read as one
					}
					v.say(pipelined[at:])
					for _, want := range answers {
						v.wants("PUT", want)
					}
					v.ends()
				}
			}
			if network == "pipe" {
				onPipes(t, &Server{}, story)
				return
			}
			play(t, network, &Server{}, story)
		})
	}
}

func TestRequestsThatComeByteByByte(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		v := s.enter(&actor{})
		for i := range len(pipelined) {
			v.say(pipelined[i : i+1])
			synctest.Wait()
		}
		for _, want := range answers {
			v.wants("PUT", want)
		}
		v.ends()
	})
}

func TestNothingIsServedAfterAConnectionThatCloses(t *testing.T) {
	onAll(t, func(s *stage) {
		a := &actor{}
		v := s.enter(a)
		v.say(asks("/last", "Connection: close") + asks("/smuggled"))
		v.wants("GET", "GET /last ")
		v.ends()
		if a.served() != "GET /last" {
			v.t.Errorf("served %s", a.served())
		}
	})
}

func TestNothingIsServedAfterARefusal(t *testing.T) {
	onAll(t, func(s *stage) {
		a := &actor{}
		v := s.enter(a)
		v.say(asks("/fine") + "GET /bad HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + asks("/smuggled"))
		v.wants("GET", "GET /fine ")
		if h := v.hear("GET"); h.StatusCode != http.StatusBadRequest || !h.Close {
			v.t.Errorf("got %d %q, Connection: close: %v", h.StatusCode, h.text, h.Close)
		}
		v.ends()
		if a.served() != "GET /fine" || len(a.refused) != 1 || len(a.leftAt()) != 0 {
			v.t.Errorf("served %s, refused %v, left %v", a.served(), a.refused, a.leftAt())
		}
	})
}

func TestAnEmptyLineBeforeARequest(t *testing.T) { // RFC 9112 section 2.2
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		v.say("\r\n" + asks("/one") + "\r\n")
		v.wants("GET", "GET /one ")
		v.stays()
	})
}

// A large head gets a buffer of its own, within which the next requests follow.
func TestALargeHeadIsPipelinedToo(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{})
		large := asks("/large", "Filler: "+strings.Repeat("f", 50_000))
		v.say(asks("/before") + large + large + asks("/after"))
		for _, want := range []string{"/before", "/large", "/large", "/after"} {
			v.wants("GET", "GET "+want+" ")
		}
		v.stays()
	})
}
