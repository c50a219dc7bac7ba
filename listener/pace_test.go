package listener

import (
	"testing"
	"time"
)

func TestWhenTheNextCheckIsDue(t *testing.T) {
	p := pace{time.Millisecond, time.Second}
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ended := t0
	started := t0.Add(-time.Millisecond)
	for name, test := range map[string]struct {
		demand   demand
		failures int
		want     time.Duration // after the last check; negative: none is needed
	}{
		"nothing pending":                  {demand{}, 0, -1},
		"nothing pending, after an outage": {demand{unasked: true}, 3, -1},
		"just registered":                  {demand{pending: 1, unasked: true}, 0, time.Millisecond},
		"announced since":                  {demand{pending: 1, heardAt: t0, youngest: t0.Add(-time.Hour)}, 0, time.Millisecond},
		"announced before":                 {demand{pending: 1, heardAt: t0.Add(-40 * time.Millisecond), youngest: t0.Add(-time.Hour)}, 0, 10 * time.Millisecond},
		"pending for 1 ms":                 {demand{pending: 1, youngest: t0.Add(-time.Millisecond)}, 0, time.Millisecond},
		"pending for 400 ms":               {demand{pending: 1, youngest: t0.Add(-400 * time.Millisecond)}, 0, 100 * time.Millisecond},
		"pending for an hour":              {demand{pending: 1, youngest: t0.Add(-time.Hour)}, 0, time.Second},
		"first failure":                    {demand{pending: 1, unasked: true}, 1, time.Millisecond},
		"fourth failure":                   {demand{pending: 1, unasked: true}, 4, 8 * time.Millisecond},
		"thousandth failure":               {demand{pending: 1, unasked: true}, 1000, time.Second},
	} {
		due := p.due(test.demand, started, ended, test.failures)
		switch {
		case due.IsZero() != (test.want < 0):
			t.Errorf("%s: due %v", name, due)
		case !due.IsZero() && due.Sub(ended) != test.want:
			t.Errorf("%s: due after %v, want %v", name, due.Sub(ended), test.want)
		}
	}
}
