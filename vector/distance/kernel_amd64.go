//go:build !purego

package distance

import "golang.org/x/sys/cpu"

// accelerated says whether the kernels are used. It is set once, at start, but
// for tests.
var accelerated = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// The kernels do not look at bounds: their callers here have done that. dim and
// n are at least 1. A row is the next dim elements from row on or, if list is
// not nil, the next one of that list.

//go:noescape
func dotsAVX2(dst, query, row *float32, list *[]float32, n, dim int)

//go:noescape
func squaredEuclideansAVX2(dst, query, row *float32, list *[]float32, n, dim int)

// dotsInt8AVX2 computes the first dim &^ 15 elements of each row. A row is the
// next dim elements of rows or, if ids is not nil, those from ids[i]·dim on.
//
//go:noescape
func dotsInt8AVX2(dst *int32, query, rows *int8, ids *uint32, n, dim int)

func dotAVX2(a, b []float32) (dot float32) {
	dotsAVX2(&dot, &a[0], &b[0], nil, 1, len(a))
	return dot
}

func squaredEuclideanAVX2(a, b []float32) (squared float32) {
	squaredEuclideansAVX2(&squared, &a[0], &b[0], nil, 1, len(a))
	return squared
}
