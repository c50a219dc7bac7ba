package chart

import (
	"math"
	"strconv"
)

// A scale maps values to a length, logarithmically.
type scale struct {
	from, to   float64 // values, powers of ten
	start, end float64 // coordinates
}

// newScale covers all values. Those that are not above zero have no place, and stand at its beginning.
func newScale(values []float64, start, end float64) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if finite(v) && v > 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	if math.IsInf(low, 1) {
		low, high = 1, 10
	}
	s := scale{from: math.Pow(10, math.Floor(math.Log10(low))), to: math.Pow(10, math.Ceil(math.Log10(high))), start: start, end: end}
	if s.to <= s.from {
		s.to = s.from * 10
	}
	return s
}

func (s scale) at(v float64) float64 {
	if v <= s.from {
		return s.start
	}
	return s.start + math.Log10(v/s.from)/math.Log10(s.to/s.from)*(s.end-s.start)
}

// ticks returns the values that have a line.
func (s scale) ticks() (out []float64) {
	for v := s.from; v <= s.to*1.0001; v *= 10 {
		out = append(out, v)
	}
	return out
}

// short writes a tick: 0.01, 10, 2k, 5M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
