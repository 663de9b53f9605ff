package distance

import "math"

// DotFloat64 returns the dot product of a and b in float64, added up from the
// first element to the last: the same bits on every machine. A product of two
// float32 is exact in float64, so it makes no difference whether a compiler
// fuses it with the addition. The result is within (n-1) 2^-53 ‖a‖‖b‖ of the
// exact one, but for terms of second order. It panics if b is shorter than a.
func DotFloat64(a, b []float32) float64 {
	b = prefix(b, len(a))
	var sum float64
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// SquaredEuclideanFloat64 returns the square of the Euclidean distance of a and
// b in float64, added up from the first element to the last: the same bits on
// every machine. It panics if b is shorter than a.
func SquaredEuclideanFloat64(a, b []float32) float64 {
	b = prefix(b, len(a))
	var sum float64
	for i, x := range a {
		d := float64(x) - float64(b[i])
		sum += float64(d * d) // the conversion forbids to fuse it with the addition
	}
	return sum
}

// unit is the unit roundoff of float32: the relative error of one operation.
const unit = 1.0 / (1 << 24)

// tiny is the absolute error of one operation whose result is too small for a
// float32 of full precision, or more.
const tiny = 0x1p-149

// slack makes up for the rounding of what the bounds are computed from.
const slack = 1 + 0x1p-20

// gamma returns n u/(1 - n u): the relative error of n operations one upon the
// other (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
// lemma 3.1). Infinite where that is of no use any more, for n from 2^22.
func gamma(n int) float64 {
	if n >= 1<<22 {
		return math.Inf(1)
	}
	nu := float64(n) * unit
	return nu / (1 - nu)
}

// DotError returns how far Dot and its like may be from the exact dot product
// of two vectors of dim elements with the norms given: γ(dim) ‖a‖‖b‖. That
// holds in whatever order the products are added up, fused or not (Higham, as
// above, section 3.1, with Σ|aᵢbᵢ| ≤ ‖a‖‖b‖), and beside it dim times the
// smallest float32, for products that are too small. It is infinite where a sum
// may have overflowed: then the result says nothing, and may be NaN.
func DotError(dim int, normA, normB float64) float64 {
	product := normA * normB
	if !(product < math.MaxFloat32/2) {
		return math.Inf(1)
	}
	return (gamma(dim)*product + float64(dim)*tiny) * slack
}

// SquaredEuclideanError returns how far SquaredEuclidean and its like may be
// from the exact value if they returned squared, for two vectors of dim
// elements. No term is negative, so the error is relative: each of them passes
// at most dim+2 operations, γ(dim+2), and what is known is the computed value
// instead of the exact one, at most once more. Infinite if squared is.
func SquaredEuclideanError(dim int, squared float32) float64 {
	g := gamma(dim + 2)
	s := float64(squared)
	if !(s <= math.MaxFloat32) || !(g < 0.5) {
		return math.Inf(1)
	}
	return (g/(1-g)*s + 2*float64(dim)*tiny) * slack
}
