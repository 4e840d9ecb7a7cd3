package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var (
	killing   = fault{name: "killing"}
	refusing  = fault{name: "refusing", refuses: true}
	someTime  = time.Unix(1_000_000_000, 0)
	inASecond = someTime.Add(time.Second)
)

// file is a request as the two records have it, and what the book says of it.
func file(k kind, f *fault, o outcome, works ...work) []violation {
	return fileOf(plan{number: 7, kind: k, size: 100}, f, o, works...)
}

// hurried is one with a Request-Timeout, and its 504.
func hurried(k kind, proxyStatus string, works ...work) []violation {
	return fileOf(plan{number: 7, kind: k, size: 100, patience: time.Second}, &refusing, outcome{status: 504, whole: true, proxyStatus: proxyStatus}, works...)
}

func fileOf(p plan, f *fault, o outcome, works ...work) []violation {
	b := newBook()
	w := &window{fault: f, row: &row{fault: f.name}}
	b.leaves(&p, w, someTime)
	for _, done := range works {
		b.notes(done.worker, began, p.number, done.began)
		if !done.ended.IsZero() {
			b.notes(done.worker, ended, p.number, done.ended)
		}
	}
	if o.end.IsZero() {
		o.end = inASecond
	}
	b.returns(p.number, w, o)
	return b.close()
}

func by(worker string, after time.Duration) work {
	return work{worker: worker, began: someTime.Add(after), ended: someTime.Add(after + time.Millisecond)}
}

// Each breach is found in records that have it, and in none that have not.
func TestJudge(t *testing.T) {
	good := outcome{status: 200, whole: true}
	refused := outcome{status: 503, whole: true, retryAfter: "1"}
	unsafe := outcome{status: 502, whole: true, proxyStatus: `dialmux; error=connection_terminated; details="the worker, or its app, was lost; the request may have been carried out, so it was not sent again"`}
	quarantine := outcome{status: 502, whole: true, proxyStatus: `dialmux; error=connection_terminated; details="the worker, or its app, was lost twice with this request"`}
	spent := outcome{status: 502, whole: true, proxyStatus: `dialmux; error=connection_terminated; details="the worker, or its app, was lost, and too many requests are sent again already"`}
	waited := `dialmux; error=http_response_timeout; details="the request's time was over before a worker became ready"`
	brokeOff := outcome{status: 200, err: errors.New("unexpected EOF")}
	gone := outcome{err: errors.New("connection reset")}
	one, two := by("one", 10*time.Millisecond), by("two", 20*time.Millisecond)
	late := by("late", 2*time.Second)

	for name, tc := range map[string]struct {
		got  []violation
		want breach // "": none
	}{
		"answered":                               {file(post, &quiet, good, one), ""},
		"a GET that two began":                   {file(getSmall, &killing, good, one, two), ""},
		"a PUT that two began":                   {file(put, &killing, good, one, two), ""},
		"a POST with a key that two began":       {file(postKeyed, &killing, good, one, two), ""},
		"a POST that two began":                  {file(post, &killing, good, one, two), doubled},
		"a large POST that one began twice":      {file(uploadPost, &killing, good, one, one), doubled},
		"a POST begun, then 502":                 {file(post, &killing, unsafe, one), ""},
		"a POST begun, then 503":                 {file(post, &refusing, refused, one), doubled},
		"a GET begun before its 503":             {file(getSmall, &refusing, refused, one), ""},
		"a GET begun after its 503":              {file(getSmall, &refusing, refused, late), doubled},
		"a GET with 504":                         {file(getSmall, &refusing, outcome{status: 504, whole: true}, one), lost},
		"a PUT begun after its 504":              {hurried(put, "", late), doubled},
		"a POST begun after its 504":             {hurried(post, "", late), doubled},
		"a GET that waited, begun after its 504": {hurried(getSmall, waited, by("late", 1010*time.Millisecond)), doubled},
		"a GET on its way, begun after its 504":  {hurried(getSmall, "", by("late", 1010*time.Millisecond)), ""},
		"a GET begun in time, then 504":          {hurried(getSmall, "", one), ""},
		"a POST begun after its 502":             {file(post, &killing, unsafe, late), ""},
		"a GET with 502":                         {file(getSmall, &killing, unsafe, one), lost},
		"a POST with a key and 502":              {file(postKeyed, &killing, unsafe, one), lost},
		"a large PUT with 502":                   {file(uploadPut, &killing, unsafe, one), ""},
		"quarantined":                            {file(getSmall, &killing, quarantine, one, two), ""},
		"beyond the retry budget":                {file(getSmall, &killing, spent, one), ""},
		"503 while that is in order":             {file(getSmall, &refusing, refused), ""},
		"503 while it is not":                    {file(getSmall, &killing, refused), lost},
		"503 to a POST":                          {file(post, &killing, refused), ""},
		"503 without Retry-After":                {file(post, &refusing, outcome{status: 503, whole: true}), lost},
		"503 with a Retry-After of no use":       {file(post, &refusing, outcome{status: 503, whole: true, retryAfter: "0"}), lost},
		"a GET and no answer":                    {file(getSmall, &killing, gone), lost},
		"a POST and no answer":                   {file(post, &killing, gone, one), ""},
		"a POST and no answer, in quiet time":    {file(post, &quiet, gone, one), lost},
		"an answer that broke off":               {file(getLong, &killing, brokeOff, one), ""},
		"the same in quiet time":                 {file(getLong, &quiet, brokeOff, one), lost},
		"the same when its time was over":        {fileOf(plan{kind: getLong, number: 7, size: 100, patience: 20 * time.Millisecond}, &quiet, brokeOff, one), ""},
		"the same before that":                   {fileOf(plan{kind: getLong, number: 7, size: 100, patience: 2 * time.Second}, &quiet, brokeOff, one), lost},
		"another's answer":                       {file(getSmall, &killing, outcome{status: 200, whole: true, crossed: "the answer is to 8"}, one), crossed},
		"a short answer":                         {file(getLong, &killing, outcome{status: 200, whole: true, short: "5 bytes of 100"}, one), short},
		"no end":                                 {file(getSmall, &killing, outcome{hung: true}), hung},
		"no end of a POST":                       {file(post, &killing, outcome{status: 200, hung: true}, one), hung},
	} {
		switch {
		case tc.want == "" && len(tc.got) > 0:
			t.Errorf("%s: %v, want nothing", name, tc.got)
		case tc.want != "" && (len(tc.got) == 0 || tc.got[0].breach != tc.want):
			t.Errorf("%s: %v, want %s", name, tc.got, tc.want)
		case tc.want != "" && !strings.Contains(tc.got[0].text, "request 7: "):
			t.Errorf("%s: the complaint does not say which request: %s", name, tc.got[0].text)
		}
	}
}

// A fault between two quiet times is remembered.
func TestJudgeWindows(t *testing.T) {
	var l load
	calm := window{fault: &quiet, row: &row{fault: quiet.name}}
	l.enter(calm)
	b, start := newBook(), l.now.Load()
	for n := range uint32(2) {
		b.leaves(&plan{number: n, kind: getLong}, start, someTime)
	}
	b.returns(0, l.now.Load(), outcome{status: 200, end: inASecond})
	l.enter(window{fault: &killing, row: &row{fault: killing.name}})
	l.enter(calm)
	b.returns(1, l.now.Load(), outcome{status: 200, end: inASecond})
	if got := b.close(); len(got) != 1 || !strings.Contains(got[0].text, "request 0: ") || got[0].fault != quiet.name {
		t.Errorf("got %v, want a complaint about request 0: no fault was there when it broke off", got)
	}
}

// What must not be repeated is not even begun by a worker that comes late.
func TestJudgeLongAfter(t *testing.T) {
	b, w := newBook(), &window{fault: &killing, row: &row{}}
	for _, p := range []plan{{number: 1, kind: post}, {number: 2, kind: getSmall}, {number: 3, kind: getSmall}} {
		b.leaves(&p, w, someTime)
		end := someTime
		if p.number == 3 {
			end = end.Add(grace + time.Second)
		}
		b.returns(p.number, w, outcome{status: 200, whole: true, end: end})
	}
	b.notes("late", began, 1, someTime.Add(grace))
	b.notes("late", began, 2, someTime.Add(grace))
	if got := b.close(); len(got) != 1 || got[0].breach != doubled {
		t.Errorf("got %v, want one complaint, about the POST", got)
	}
	if w.row.requests != 3 {
		t.Errorf("%d requests were counted, want 3", w.row.requests)
	}
}
