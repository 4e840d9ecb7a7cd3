package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// breach is a promise that was not kept.
type breach string

const (
	lost    breach = "LOST"    // it should have been answered, and was not
	doubled breach = "DOUBLED" // it was begun twice, or after its client had been sent away
	crossed breach = "CROSSED" // the answer, or what the worker got, was another's
	short   breach = "SHORT"   // it lacked something and looked whole
	hung    breach = "HUNG"    // it did not end by its deadline
)

type violation struct {
	breach breach
	fault  string
	text   string
}

func (v violation) String() string { return fmt.Sprintf("%s (%s): %s", v.breach, v.fault, v.text) }

// judge compares what a client saw with what the workers did.
func judge(e *entry) (found []violation) {
	complain := func(what breach, format string, args ...any) {
		found = append(found, violation{what, e.row().fault, fmt.Sprintf(format, args...) + e.evidence()})
	}
	o := &e.outcome
	switch {
	case o.hung:
		complain(hung, "no end within %v", e.plan.deadline())
	case o.status == http.StatusOK:
		if !o.whole && e.strict() && !e.overdue() {
			complain(lost, "its answer broke off")
		}
	default:
		if why := e.refusal(); why != "" {
			complain(lost, "%s", why)
		}
	}
	if o.crossed != "" {
		complain(crossed, "%s", o.crossed)
	}
	if o.short != "" {
		complain(short, "%s", o.short)
	}
	turnedAway := o.status == http.StatusServiceUnavailable || o.status == http.StatusGatewayTimeout
	switch once := !e.plan.kind.repeatable(); {
	case once && len(e.works) > 1:
		complain(doubled, "it must not be repeated, and was begun %d times", len(e.works))
	case once && len(e.works) == 1 && o.status == http.StatusServiceUnavailable:
		complain(doubled, "it must not be repeated, was begun, and its client was told to try again")
	case turnedAway:
		for _, w := range e.works {
			if w.began.Sub(o.end) > e.onItsWay() {
				complain(doubled, "it was begun %v after its client had got %d", w.began.Sub(o.end), o.status)
				break
			}
		}
	}
	return found
}

// onItsWay is how long after its 504 a request may still begin: a worker had got it
// by then, though not read it. One that still waited is never begun.
func (e *entry) onItsWay() time.Duration {
	if e.outcome.status == http.StatusGatewayTimeout && !strings.Contains(e.outcome.proxyStatus, "before a worker became ready") {
		return 250 * time.Millisecond
	}
	return 0
}

// refusal says what is wrong about an answer that is not 200, or none; "":
// nothing is, in this weather.
func (e *entry) refusal() string {
	o := &e.outcome
	if o.status == http.StatusServiceUnavailable || o.status == http.StatusTooManyRequests {
		if n, err := strconv.Atoi(o.retryAfter); err != nil || n < 1 {
			return fmt.Sprintf("%d with Retry-After %q, want seconds", o.status, o.retryAfter)
		}
	}
	promised := e.plan.kind.repeatable() && e.plan.kind.kept()
	switch {
	case o.status == http.StatusServiceUnavailable && e.met(func(f *fault) bool { return f.refuses }):
		return ""
	case o.status == http.StatusBadGateway && quarantined(o.proxyStatus):
		return ""
	case o.status == http.StatusGatewayTimeout && e.plan.patience > 0:
		return ""
	case !promised && !e.strict():
		return ""
	case o.status == 0:
		return fmt.Sprintf("no answer came: %v", o.err)
	}
	return fmt.Sprintf("it got %d", o.status)
}

// overdue tells that an answer may have broken off because its client had no more patience. What is left of that travels as whole
// milliseconds, so a worker's may be over by one too early.
func (e *entry) overdue() bool {
	return e.plan.patience > 0 && e.outcome.end.Sub(e.due) >= e.plan.patience-time.Millisecond
}

// strict tells that nothing goes on that could cost any request its answer.
func (e *entry) strict() bool { return !e.met(func(f *fault) bool { return !f.harmless }) }

// quarantined tells the two reasons for which the router gives up what it could
// send again: it took two workers down, or too much is sent again already.
func quarantined(proxyStatus string) bool {
	return strings.Contains(proxyStatus, "was lost twice with this request") || strings.Contains(proxyStatus, "too many requests are sent again")
}

// evidence is what one wants to know of a request that went wrong.
func (e *entry) evidence() string {
	o := &e.outcome
	var b strings.Builder
	version := "HTTP/1.1"
	if e.plan.http2 {
		version = "HTTP/2"
	}
	fmt.Fprintf(&b, "\n  request %d: %s %s %s, body of %d bytes, due %s, router %s", e.plan.number, version, e.plan.kind.method(), e.plan.target(),
		e.plan.upload, stamp(e.due), o.front)
	if e.plan.patience > 0 {
		fmt.Fprintf(&b, ", Request-Timeout %s", e.plan.seconds())
	}
	if e.plan.kind == postKeyed {
		b.WriteString(", with Idempotency-Key")
	}
	if o.retried {
		b.WriteString(", asked second")
	}
	fmt.Fprintf(&b, "; ended %s (%v) with status %d", stamp(o.end), o.end.Sub(e.due).Round(time.Millisecond), o.status)
	if o.proxyStatus != "" {
		fmt.Fprintf(&b, ", Proxy-Status %s", o.proxyStatus)
	}
	if o.err != nil {
		fmt.Fprintf(&b, ", %s", strings.ReplaceAll(o.err.Error(), "\n", "; "))
	}
	for _, w := range e.works {
		fmt.Fprintf(&b, "\n  begun by %s %s", w.worker, stamp(w.began))
		if !w.ended.IsZero() {
			fmt.Fprintf(&b, ", ended %s", stamp(w.ended))
		}
	}
	return b.String()
}

func stamp(t time.Time) string { return t.Format("15:04:05.000") }
