package chart

import (
	"math"
	"strconv"
)

// A scale maps values to a length, logarithmically or linearly from zero.
type scale struct {
	log        bool
	from, to   float64 // values, powers of ten if log
	start, end float64 // coordinates
}

// newScale covers all values. On a logarithmic scale those that are not above zero have no place, and
// stand at its beginning.
func newScale(values []float64, log bool, start, end float64) scale {
	s := scale{log: log, start: start, end: end}
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if finite(v) && (!log || v > 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	if math.IsInf(low, 1) {
		low, high = 1, 10
	}
	if log {
		s.from = math.Pow(10, math.Floor(math.Log10(low)))
		s.to = math.Pow(10, math.Ceil(math.Log10(high)))
		if s.to <= s.from {
			s.to = s.from * 10
		}
		return s
	}
	s.to = roundUp(max(high, 0))
	return s
}

// roundUp returns the next of 1, 2, 2.5, 5 and 10 times a power of ten.
func roundUp(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

func (s scale) at(v float64) float64 {
	share := 0.0
	switch {
	case !s.log:
		share = v / s.to
	case v > s.from:
		share = math.Log10(v/s.from) / math.Log10(s.to/s.from)
	}
	return s.start + share*(s.end-s.start)
}

// ticks returns the values that have a line.
func (s scale) ticks() (out []float64) {
	if !s.log {
		for i := range 5 {
			out = append(out, s.to*float64(i)/4)
		}
		return out
	}
	for v := s.from; v <= s.to*1.0001; v *= 10 {
		out = append(out, v)
	}
	return out
}

// short writes a tick: 0.01, 10, 2k, 5M.
func short(v float64) string {
	for _, unit := range []struct {
		factor float64
		name   string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.factor {
			return strconv.FormatFloat(v/unit.factor, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
