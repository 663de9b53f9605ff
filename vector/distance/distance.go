// Package distance computes how alike two vectors of float32 are: dot products
// and squared Euclidean distances, of two vectors or of one with many, with the
// processor's vector instructions where it has them and in plain Go elsewhere.
//
// It does not know what a vector stands for, where it is stored, or what is
// searched; whether numbers are finite is the caller's business.
//
// Invariant: a float32 result differs from the exact one by no more than
// DotError or SquaredEuclideanError says, on every machine. The last bits may
// differ between machines, since sums are added up in different orders. What
// must be the same everywhere is computed by DotFloat64 and
// SquaredEuclideanFloat64, which have one order.
//
// It carries no compatibility promise.
package distance

import (
	"iter"
	"math"
)

// Dot returns the dot product of a and b. It panics if b is shorter than a;
// what b has beyond is ignored.
func Dot(a, b []float32) float32 {
	b = prefix(b, len(a))
	if accelerated && len(a) > 0 {
		return dotAVX2(a, b)
	}
	return dot(a, b)
}

// SquaredEuclidean returns the square of the Euclidean distance of a and b. It
// panics if b is shorter than a; what b has beyond is ignored.
func SquaredEuclidean(a, b []float32) float32 {
	b = prefix(b, len(a))
	if accelerated && len(a) > 0 {
		return squaredEuclideanAVX2(a, b)
	}
	return squaredEuclidean(a, b)
}

// Norm returns the Euclidean norm of a, computed in float64 in the order of
// DotFloat64.
func Norm(a []float32) float64 { return math.Sqrt(DotFloat64(a, a)) }

// Dots sets dst[i] to the dot product of query and the i-th of the rows, which
// lie one behind the other in rows, each as long as query. It computes len(dst)
// of them and panics if rows has fewer.
func Dots(dst, query, rows []float32) {
	rows = prefix(rows, len(dst)*len(query))
	if dim := len(query); accelerated && len(rows) > 0 {
		for i, n := range blocks(len(dst), dim) {
			dotsAVX2(&dst[i], &query[0], &rows[i*dim], nil, n, dim)
		}
		return
	}
	for i := range dst {
		dst[i] = dot(query, rows[i*len(query):][:len(query)])
	}
}

// SquaredEuclideans is like Dots, for squared Euclidean distances.
func SquaredEuclideans(dst, query, rows []float32) {
	rows = prefix(rows, len(dst)*len(query))
	if dim := len(query); accelerated && len(rows) > 0 {
		for i, n := range blocks(len(dst), dim) {
			squaredEuclideansAVX2(&dst[i], &query[0], &rows[i*dim], nil, n, dim)
		}
		return
	}
	for i := range dst {
		dst[i] = squaredEuclidean(query, rows[i*len(query):][:len(query)])
	}
}

// DotsOf sets dst[i] to the dot product of query and rows[i], wherever those
// lie: memory is asked for a row while another one is computed. It panics if
// dst is shorter than rows, or a row shorter than query.
func DotsOf(dst, query []float32, rows [][]float32) {
	dst = prefix(dst, len(rows))
	atLeast(rows, len(query))
	if dim := len(query); accelerated && len(rows) > 0 && dim > 0 {
		for i, n := range blocks(len(rows), dim) {
			dotsAVX2(&dst[i], &query[0], nil, &rows[i], n, dim)
		}
		return
	}
	for i, row := range rows {
		dst[i] = dot(query, row[:len(query)])
	}
}

// SquaredEuclideansOf is like DotsOf, for squared Euclidean distances.
func SquaredEuclideansOf(dst, query []float32, rows [][]float32) {
	dst = prefix(dst, len(rows))
	atLeast(rows, len(query))
	if dim := len(query); accelerated && len(rows) > 0 && dim > 0 {
		for i, n := range blocks(len(rows), dim) {
			squaredEuclideansAVX2(&dst[i], &query[0], nil, &rows[i], n, dim)
		}
		return
	}
	for i, row := range rows {
		dst[i] = squaredEuclidean(query, row[:len(query)])
	}
}

// most is how many elements a kernel computes at most in one call, in about 10 µs:
// the scheduler cannot interrupt it, and the garbage collector waits for it.
const most = 1 << 16

// blocks cuts n rows of dim elements into calls: where each begins, and its rows.
func blocks(n, dim int) iter.Seq2[int, int] {
	size := max(1, most/max(1, dim))
	return func(yield func(int, int) bool) {
		for i := 0; i < n; i += size {
			if !yield(i, min(size, n-i)) {
				return
			}
		}
	}
}

// prefix returns the first n elements of s and panics if there are fewer, also
// where the capacity has more.
func prefix[T any](s []T, n int) []T {
	if len(s) < n {
		panic("distance: shorter than what it is held against")
	}
	return s[:n]
}

// atLeast panics if a row is shorter than dim: the kernels do not look.
func atLeast(rows [][]float32, dim int) {
	for _, row := range rows {
		if len(row) < dim {
			panic("distance: a row is shorter than the query")
		}
	}
}
