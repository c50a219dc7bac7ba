package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// retention is a duration that may begin with days, which Go's durations do not have.
type retention struct{ time.Duration }

var leadingDays = regexp.MustCompile(`^(\d+(?:\.\d+)?)d(.*)$`)

// UnmarshalText reads 7d, 36h, 1d12h and the like. Zero and less are refused: they would purge what
// is still waited for.
func (r *retention) UnmarshalText(text []byte) error {
	rest, total := string(text), time.Duration(0)
	if m := leadingDays.FindStringSubmatch(rest); m != nil {
		days, err := strconv.ParseFloat(m[1], 64)
		if err != nil || days*float64(day) >= math.MaxInt64/2 {
			return fmt.Errorf("%q days are more than a duration can hold", m[1])
		}
		total, rest = time.Duration(days*float64(day)), m[2]
	}
	if rest != "" || rest == string(text) {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return fmt.Errorf("%q is not a duration: give one such as 7d, 36h or 1d12h", text)
		}
		if d < 0 || total > math.MaxInt64-d {
			return errors.New("a retention must be positive, and shorter than 292 years")
		}
		total += d
	}
	if total <= 0 {
		return errors.New("a retention must be longer than zero")
	}
	r.Duration = total
	return nil
}

// String writes whole days as days.
func (r retention) String() string {
	days, rest := r.Duration/day, r.Duration%day
	switch {
	case days == 0:
		return rest.String()
	case rest == 0:
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%v", days, rest)
}
