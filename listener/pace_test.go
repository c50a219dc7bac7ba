package listener

import (
	"testing"
	"time"
)

func TestWhenTheNextCheckIsDue(t *testing.T) {
	p := pace{2 * time.Millisecond, time.Second}
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	started := t0.Add(-time.Millisecond)
	ago := func(d time.Duration) time.Time { return t0.Add(-d) }
	for name, test := range map[string]struct {
		demand demand
		past   past
		want   time.Duration // after the last check; negative: none is needed
	}{
		"nothing pending":                  {demand{}, past{}, -1},
		"nothing pending, after an outage": {demand{unasked: true}, past{failures: 3}, -1},
		"new, and nothing else":            {demand{wanted: true, unasked: true}, past{}, 0},
		"new, on a full server":            {demand{wanted: true, unasked: true}, past{sessions: 1000}, 0},
		"new, beside others":               {demand{wanted: true, unasked: true, left: true}, past{}, 2 * time.Millisecond},
		"new, beside others, 160 sessions": {demand{wanted: true, unasked: true, left: true}, past{sessions: 160}, 10 * time.Millisecond},
		"announced since":                  {demand{wanted: true, left: true, heardAt: t0, youngest: ago(time.Hour)}, past{}, 2 * time.Millisecond},
		"announced since, 160 sessions":    {demand{wanted: true, left: true, heardAt: t0, youngest: ago(time.Hour)}, past{sessions: 160}, 10 * time.Millisecond},
		"announced 40 ms ago":              {demand{wanted: true, left: true, heardAt: ago(40 * time.Millisecond), youngest: ago(time.Hour)}, past{}, 10 * time.Millisecond},
		"announced long before, young":     {demand{wanted: true, left: true, heardAt: ago(time.Hour), youngest: ago(320 * time.Millisecond)}, past{}, 10 * time.Millisecond},
		"pending for 1 ms":                 {demand{wanted: true, left: true, youngest: ago(time.Millisecond)}, past{}, 2 * time.Millisecond},
		"pending for 2 s":                  {demand{wanted: true, left: true, youngest: ago(2 * time.Second)}, past{}, 62500 * time.Microsecond},
		"pending for 2 s, 1,600 sessions":  {demand{wanted: true, left: true, youngest: ago(2 * time.Second)}, past{sessions: 1600}, 100 * time.Millisecond},
		"pending for an hour":              {demand{wanted: true, left: true, youngest: ago(time.Hour)}, past{}, time.Second},
		"pending, 100,000 sessions":        {demand{wanted: true, left: true, youngest: ago(time.Hour)}, past{sessions: 100_000}, time.Second},
		"first failure":                    {demand{wanted: true, unasked: true}, past{failures: 1}, 2 * time.Millisecond},
		"fourth failure":                   {demand{wanted: true, unasked: true, left: true}, past{failures: 4}, 16 * time.Millisecond},
		"thousandth failure":               {demand{wanted: true, unasked: true}, past{failures: 1000}, time.Second},
	} {
		test.past.started, test.past.ended = started, t0
		due := p.due(test.demand, test.past)
		switch {
		case due.IsZero() != (test.want < 0):
			t.Errorf("%s: due %v", name, due)
		case !due.IsZero() && due.Sub(t0) != test.want:
			t.Errorf("%s: due after %v, want %v", name, due.Sub(t0), test.want)
		}
	}
}
