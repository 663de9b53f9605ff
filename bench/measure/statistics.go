package measure

import (
	"math"
	"slices"
)

// Summary is what several rounds gave.
type Summary struct{ Median, Low, High float64 }

// Summarize returns the median with the lowest and the highest; of an even
// number the mean of the two in the middle. Of none it is not a number.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{math.NaN(), math.NaN(), math.NaN()}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Summary{Median: (v[(n-1)/2] + v[n/2]) / 2, Low: v[0], High: v[n-1]}
}
