package frame

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Sticky is what JOIN's sticky says: by which key of theirs requests are kept on
// one worker each. The zero value leaves that to the router.
type Sticky struct {
	By       string        // off, ip, header, cookie, query or path
	Name     string        // of the header (in lower case), the cookie or the parameter
	Segments int           // of the path, from its beginning; 0: all
	Issue    bool          // the cookie, to clients that show none
	Turns    bool          // requests without a key take turns; else their client's address is the key
	Bound    float64       // times the mean of requests at once, that an owner may have; 0: any number
	Wait     time.Duration // for an owner that has gone, before its keys move
}

const (
	maxSticky     = 512 // bytes of a policy
	maxStickyName = 128
	// MaxStickyWait is the longest that keys may wait for their owner.
	MaxStickyWait = time.Hour
)

var (
	errStickyBy   = errors.New("want off, ip, header:NAME, cookie:NAME, query:NAME, path or path:SEGMENTS")
	errStickyName = fmt.Errorf("want a name behind the colon: 1 to %d letters, digits and signs of a token (RFC 9110 section 5.6.2)", maxStickyName)
)

// ParseSticky reads a policy: what the key is, and perhaps more, as in
//
//	ip
//	cookie:session; issue; fallback=round-robin; bound=1.25; wait=2s
//
// Empty text is the zero value.
func ParseSticky(text string) (s Sticky, err error) {
	switch {
	case text == "":
		return s, nil
	case len(text) > maxSticky:
		return s, fmt.Errorf("%d bytes: at most %d make a policy", len(text), maxSticky)
	}
	by, more, _ := strings.Cut(text, ";")
	if err := s.readKey(strings.TrimSpace(by)); err != nil {
		return Sticky{}, err
	}
	for more != "" {
		var option string
		option, more, _ = strings.Cut(more, ";")
		if err := s.readOption(strings.TrimSpace(option)); err != nil {
			return Sticky{}, err
		}
	}
	return s, nil
}

func (s *Sticky) readKey(text string) error {
	by, name, named := strings.Cut(text, ":")
	s.By = by
	switch by {
	case "off", "ip":
		if named {
			return errStickyBy
		}
	case "path":
		n, err := strconv.Atoi(name)
		if named && (err != nil || n < 1) {
			return errors.New("want path, or path:SEGMENTS with a number from 1 up")
		}
		s.Segments = n
	case "header", "cookie", "query":
		if !isStickyName(name) {
			return errStickyName
		}
		if s.Name = name; by == "header" {
			s.Name = strings.ToLower(name)
		}
	default:
		return errStickyBy
	}
	return nil
}

func (s *Sticky) readOption(text string) (err error) {
	key, value, _ := strings.Cut(text, "=")
	switch key {
	case "issue":
		if s.By != "cookie" || value != "" {
			return errors.New("issue is for cookie:NAME, and has no value")
		}
		s.Issue = true
	case "fallback":
		s.Turns = value == "round-robin"
		if !s.Turns && value != "ip" {
			return errors.New("want fallback=ip or fallback=round-robin")
		}
	case "bound":
		s.Bound, err = strconv.ParseFloat(value, 64)
		if err != nil || s.Bound != 0 && !(s.Bound >= 1 && s.Bound <= 100) {
			return errors.New("want bound=0 for any number, or 1 to 100 times the mean, such as bound=1.25")
		}
	case "wait":
		s.Wait, err = time.ParseDuration(value)
		if err != nil || s.Wait < 0 || s.Wait > MaxStickyWait {
			return fmt.Errorf("want wait=DURATION, such as 500ms or 2s, at most %v", MaxStickyWait)
		}
	default:
		return fmt.Errorf("%.40q is not known: want issue, fallback=, bound= or wait= behind a semicolon", text)
	}
	return nil
}

// String is text that ParseSticky reads: the same for the same policy.
func (s Sticky) String() string {
	if s.By == "" || s.By == "off" {
		return s.By
	}
	text := s.By
	switch {
	case s.Name != "":
		text += ":" + s.Name
	case s.Segments > 0:
		text += ":" + strconv.Itoa(s.Segments)
	}
	if s.Issue {
		text += "; issue"
	}
	if s.Turns {
		text += "; fallback=round-robin"
	}
	if s.Bound > 0 {
		text += "; bound=" + strconv.FormatFloat(s.Bound, 'g', -1, 64)
	}
	if s.Wait > 0 {
		text += "; wait=" + s.Wait.String()
	}
	return text
}

// isStickyName tells whether s is a token, as the names of headers and cookies
// are, and those of query parameters may well be.
func isStickyName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxStickyName
}
