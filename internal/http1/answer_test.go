package http1

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var dateLine = regexp.MustCompile(`(?m)^Date: (.*)\r\n`)

// bytesOf is what comes until the connection ends, without the date.
func bytesOf(v *visitor) string {
	v.t.Helper()
	all, err := v.rest()
	if err != nil {
		v.t.Fatal(err)
	}
	return dateLine.ReplaceAllString(all, "")
}

func field(c *Conn, name, value string) { c.Field([]byte(name), []byte(value)) }

// The bytes of each kind of answer. A second request on the same connection shows where the first answer ends.
func TestAnswersByteForByte(t *testing.T) {
	const (
		get10  = "GET / HTTP/1.0\r\n\r\n"
		keep10 = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
		get    = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
		head   = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
		last   = "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
		end    = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
	)
	with := func(status int, length int64, body ...string) func(c *Conn) {
		return func(c *Conn) {
			c.Status(status)
			field(c, "x-ab", "1")
			c.EndHead(length)
			for _, b := range body {
				_ = c.Write([]byte(b))
				_ = c.Flush()
			}
			_ = c.Finish()
		}
	}
	trailers := func(c *Conn) {
		c.Status(200)
		c.EndHead(-1)
		_ = c.Write([]byte("body"))
		field(c, "x-sum", "7")
		field(c, "x-end", "")
		_ = c.Finish()
	}
	infos := func(c *Conn) {
		c.Status(103)
		field(c, "link", "</a>")
		_ = c.EndInfo()
		c.Status(102)
		_ = c.EndInfo()
		with(200, 2, "ok")(c)
	}
	for name, tc := range map[string]struct {
		request string
		serve   func(c *Conn)
		want    string
		closes  bool
	}{
		"length":             {request: get, serve: with(200, 5, "he", "llo"), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nContent-Length: 5\r\n\r\nhello"},
		"empty":              {request: get, serve: with(404, 0), want: "HTTP/1.1 404 Not Found\r\nX-Ab: 1\r\nContent-Length: 0\r\n\r\n"},
		"unregistered":       {request: get, serve: with(299, 0), want: "HTTP/1.1 299 \r\nX-Ab: 1\r\nContent-Length: 0\r\n\r\n"},
		"chunked":            {request: get, serve: with(200, -1, "he", "", "llo, sixteen bytes"), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n12\r\nllo, sixteen bytes\r\n0\r\n\r\n"},
		"chunked, empty":     {request: get, serve: with(200, -1), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"until close":        {request: get10, serve: with(200, -1, "he", "llo"), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nConnection: close\r\n\r\nhello", closes: true},
		"until close, asked": {request: keep10, serve: with(200, -1, "he", "llo"), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nConnection: close\r\n\r\nhello", closes: true},
		"1.0 length":         {request: keep10, serve: with(200, 5, "hello"), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"},
		"HEAD length":        {request: head, serve: with(200, 5, "hello"), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nContent-Length: 5\r\n\r\n"},
		"HEAD unknown":       {request: head, serve: with(200, -1, "hello"), want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\n\r\n"},
		"HEAD trailers":      {request: head, serve: trailers, want: "HTTP/1.1 200 OK\r\n\r\n"},
		"204":                {request: get, serve: with(204, 5, "hello"), want: "HTTP/1.1 204 No Content\r\nX-Ab: 1\r\n\r\n"},
		"204 unknown":        {request: get, serve: with(204, -1, "hello"), want: "HTTP/1.1 204 No Content\r\nX-Ab: 1\r\n\r\n"},
		"205":                {request: get, serve: with(205, 5, "hello"), want: "HTTP/1.1 205 Reset Content\r\nX-Ab: 1\r\nContent-Length: 0\r\n\r\n"},
		"205 unknown":        {request: get, serve: with(205, -1, "hello"), want: "HTTP/1.1 205 Reset Content\r\nX-Ab: 1\r\nContent-Length: 0\r\n\r\n"},
		"304":                {request: get, serve: with(304, 5, "hello"), want: "HTTP/1.1 304 Not Modified\r\nX-Ab: 1\r\nContent-Length: 5\r\n\r\n"},
		"304 unknown":        {request: get, serve: with(304, -1, "hello"), want: "HTTP/1.1 304 Not Modified\r\nX-Ab: 1\r\n\r\n"},
		"trailers":           {request: get, serve: trailers, want: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\nX-End: \r\n\r\n"},
		"trailers in 1.0":    {request: keep10, serve: trailers, want: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody", closes: true},
		"1xx":                {request: get, serve: infos, want: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nX-Ab: 1\r\nContent-Length: 2\r\n\r\nok"},
		"1xx in 1.0":         {request: keep10, serve: infos, want: "HTTP/1.1 200 OK\r\nX-Ab: 1\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"},
	} {
		t.Run(name, func(t *testing.T) {
			onAll(t, func(s *stage) {
				v := s.enter(&actor{serve: func(c *Conn) {
					if string(c.Head().Path) == "/last" {
						reply(c, 204, "")
						return
					}
					tc.serve(c)
				}})
				v.say(tc.request + last)
				want := tc.want
				if !tc.closes {
					want += end
				}
				if got := bytesOf(v); got != want {
					v.t.Errorf("got\n%q, want\n%q", got, want)
				}
			})
		})
	}
}

func TestLargeAnswersArriveWhole(t *testing.T) {
	onAll(t, func(s *stage) {
		pattern := func(n int) string { return strings.Repeat("0123456789abcde", n/15+1)[:n] }
		v := s.enter(&actor{serve: func(c *Conn) {
			var n, step int
			var mode string
			_, _ = fmt.Sscanf(string(c.Head().Path), "/%1s/%d/%d", &mode, &n, &step)
			length := int64(n)
			if mode == "c" {
				length = -1
			}
			c.Status(200)
			field(c, "x-filler", pattern(n%5000))
			c.EndHead(length)
			for body := pattern(n); len(body) > 0; {
				k := min(step, len(body))
				_ = c.Write([]byte(body[:k]))
				body = body[k:]
			}
			_ = c.Finish()
		}})
		for _, mode := range []string{"l", "c"} {
			for _, n := range []int{1, 3900, 4000, 4088, 4096, 4097, 16384, 70_000, 1_000_000} {
				for _, step := range []int{7, 4096, 1_000_000} {
					if step == 7 && n > 20_000 {
						continue
					}
					v.say(asks(fmt.Sprintf("/%s/%d/%d", mode, n, step)))
					if h := v.hear("GET"); h.text != pattern(n) || h.Header.Get("X-Filler") != pattern(n%5000) {
						v.t.Fatalf("%s %d in steps of %d: %d bytes came, or others", mode, n, step, len(h.text))
					}
				}
			}
		}
	})
}

func TestH8TrailersOfARequest(t *testing.T) {
	onAll(t, func(s *stage) {
		var got [][]string
		v := s.enter(&actor{serve: func(c *Conn) {
			body, err := readBody(c)
			of := []string{body, fmt.Sprint(err)}
			for _, f := range c.Trailers() {
				of = append(of, string(f.Name)+"="+string(f.Value))
			}
			got = append(got, of)
			reply(c, 200, "")
		}})
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-One: 1\r\nX-TWO:\t2 \r\n\r\n")
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
		v.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nc")
		for range 3 {
			v.wants("PUT", "")
		}
		_ = v.Close()
		<-v.served
		want := [][]string{{"ab", "<nil>", "x-one=1", "x-two=2"}, {"", "<nil>"}, {"c", "<nil>"}}
		if !reflect.DeepEqual(got, want) {
			v.t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The head's fields are Serve's until the body is read, and whole, wherever it was split.
func TestTheHeadIsUnderstood(t *testing.T) {
	onAll(t, func(s *stage) {
		v := s.enter(&actor{serve: func(c *Conn) {
			h := c.Head()
			var b strings.Builder
			fmt.Fprintf(&b, "%s|%s|%s|1.%d|%d|%v|%v", h.Method, h.Path, h.Authority, h.Minor, h.Length, h.Expect, h.Upgrade)
			for _, f := range h.Fields {
				fmt.Fprintf(&b, "|%s=%s", f.Name, f.Value)
			}
			reply(c, 200, b.String())
		}})
		v.say("GET /p?q HTTP/1.1\r\nHOST: h:80\r\nX-Empty:\r\nX-V: \t v w\t \r\nConnection: upgrade\r\n\r\n")
		v.wants("GET", "GET|/p?q|h:80|1.1|0|false|true|host=h:80|x-empty=|x-v=v w|connection=upgrade")
		v.say("OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		v.wants("OPTIONS", "OPTIONS|*||1.0|0|false|false|connection=keep-alive")
		v.say("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n")
		v.wants("GET", "CONNECT||a:1|1.1|0|false|false|host=a:1|content-length=0")
	})
}

func TestDateStandsOnceAndIsNow(t *testing.T) { // RFC 9110 section 6.6.1
	onPipes(t, &Server{}, func(s *stage) {
		own := false
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(103)
			_ = c.EndInfo()
			c.Status(200)
			if own {
				field(c, "date", "Tue, 15 Nov 1994 08:12:31 GMT")
			}
			c.EndHead(0)
			_ = c.Finish()
		}})
		for _, own = range []bool{false, true, false} {
			for range 20 {
				time.Sleep(1370 * time.Millisecond)
				v.say(asks("/"))
				if h := v.hear("GET"); h.StatusCode != http.StatusEarlyHints || len(h.Header["Date"]) > 0 {
					s.t.Fatalf("got %d with %q, want a 103 without a date", h.StatusCode, h.Header["Date"])
				}
				dates := v.hear("GET").Header["Date"]
				if len(dates) != 1 {
					s.t.Fatalf("%d dates", len(dates))
				}
				d, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", dates[0])
				if own != (dates[0] == "Tue, 15 Nov 1994 08:12:31 GMT") || err != nil {
					s.t.Fatalf("Date: %s, %v", dates[0], err)
				}
				if age := time.Since(d); !own && (age < 0 || age > 2*time.Second+2*beat) {
					s.t.Errorf("Date is %v old", age)
				}
			}
		}
	})
}

func TestDateIsFreshAfterNobodyWasThere(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		for range 3 {
			v := s.enter(&actor{})
			v.say(asks("/", "Connection: close"))
			d, err := time.Parse(http.TimeFormat, v.hear("GET").Header.Get("Date"))
			if age := time.Since(d); err != nil || age > 2*time.Second {
				s.t.Errorf("Date is %v old, %v", age, err)
			}
			_ = v.Close()
			time.Sleep(time.Hour)
		}
	})
}

// What is written but not finished leaves with Flush, and no sooner than that if it is small.
func TestFlush(t *testing.T) {
	onPipes(t, &Server{}, func(s *stage) {
		goOn := make(chan struct{})
		v := s.enter(&actor{serve: func(c *Conn) {
			c.Status(200)
			c.EndHead(-1)
			_ = c.Write([]byte("event"))
			<-goOn
			_ = c.Flush()
			<-goOn
			_ = c.Finish()
		}})
		v.say(asks("/"))
		got := make(chan string, 1)
		s.conns.Go(func() {
			defer close(got)
			h, err := http.ReadResponse(v.r, nil)
			if err != nil {
				return
			}
			b := make([]byte, 5)
			_, _ = io.ReadFull(h.Body, b)
			got <- string(b)
		})
		synctest.Wait()
		if len(got) > 0 {
			s.t.Error("it left before Flush")
		}
		goOn <- struct{}{}
		synctest.Wait()
		select {
		case b := <-got:
			if b != "event" {
				s.t.Errorf("got %q", b)
			}
		default:
			s.t.Error("Flush sent nothing")
		}
		goOn <- struct{}{}
	})
}
