package report

import (
	"fmt"
	"math"
	"time"

	"inmem/bench/measure"
)

const nothing = "–"

// short writes a figure with about three digits.
func short(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return nothing
	case v >= 999_500:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 99_950:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 9_995:
		return fmt.Sprintf("%.1fk", v/1e3)
	case v >= 99.95 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// spread is the median, with the extremes where they differ.
func spread(s measure.Summary) string {
	if s.Low == s.High || math.IsNaN(s.Median) {
		return short(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", short(s.Median), short(s.Low), short(s.High))
}

// duration writes a duration with about three digits.
func duration(d time.Duration) string {
	switch ns := float64(d.Nanoseconds()); {
	case d >= time.Second:
		return short(ns/1e9) + " s"
	case d >= time.Millisecond:
		return short(ns/1e6) + " ms"
	case d >= time.Microsecond:
		return short(ns/1e3) + " µs"
	default:
		return short(ns) + " ns"
	}
}

// percent writes a share.
func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

// times writes a ratio.
func times(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nothing
	}
	return fmt.Sprintf("%.2f ×", v)
}
