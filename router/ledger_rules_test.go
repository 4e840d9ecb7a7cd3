package router

import (
	"errors"
	"testing"
)

func TestLedger(t *testing.T) {
	for name, tc := range map[string]struct {
		l                ledger
		why              error
		repeatable, kept bool
		want             error
		known            bool
		lost             int
		after            phase
	}{
		"moved, not begun":            {l: ledger{phase: sent}, why: errMoved, kept: true, known: true, after: waiting},
		"refused, not begun":          {l: ledger{phase: sent}, why: errRefused, kept: true, known: true, after: waiting},
		"moved, though begun":         {l: ledger{phase: begun}, why: errMoved, kept: true, want: errUnsafe, lost: 1, after: done},
		"refused, though begun":       {l: ledger{phase: begun}, why: errRefused, kept: true, repeatable: true, lost: 1, after: waiting},
		"lost, repeatable":            {l: ledger{phase: sent}, why: errLost, repeatable: true, kept: true, lost: 1, after: waiting},
		"lost once begun, repeatable": {l: ledger{phase: begun}, why: errLost, repeatable: true, kept: true, lost: 1, after: waiting},
		"lost, not repeatable":        {l: ledger{phase: sent}, why: errLost, kept: true, want: errUnsafe, lost: 1, after: done},
		"lost, the body gone":         {l: ledger{phase: begun}, why: errLost, repeatable: true, want: errNotKept, lost: 1, after: done},
		"moved, the body gone":        {l: ledger{phase: sent}, why: errMoved, want: errNotKept, known: true, after: done},
		"lost, answered":              {l: ledger{phase: begun, answered: true}, why: errLost, repeatable: true, kept: true, want: errBrokeOff, lost: 1, after: done},
		"the second worker lost":      {l: ledger{phase: sent, lost: 1}, why: errLost, repeatable: true, kept: true, want: errQuarantined, lost: 2, after: done},
		"moved after one was lost":    {l: ledger{phase: sent, lost: 1}, why: errMoved, repeatable: true, kept: true, known: true, lost: 1, after: waiting},
	} {
		t.Run(name, func(t *testing.T) {
			l := tc.l
			known, err := l.fail(tc.why, &request{repeatable: tc.repeatable}, tc.kept)
			if !errors.Is(err, tc.want) || known != tc.known || l.lost != tc.lost || l.phase != tc.after {
				t.Errorf("%v, known %v, lost %d, %v; want %v, %v, %d, %v", err, known, l.lost, l.phase, tc.want, tc.known, tc.lost, tc.after)
			}
		})
	}
}
