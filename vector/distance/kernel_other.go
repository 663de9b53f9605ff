//go:build !amd64 || purego

package distance

// accelerated is never true here; the kernels are there for the compiler only.
var accelerated = false

func dotAVX2(a, b []float32) float32              { panic("distance: no kernel") }
func squaredEuclideanAVX2(a, b []float32) float32 { panic("distance: no kernel") }

func dotsAVX2(dst, query, row *float32, list *[]float32, n, dim int) {
	panic("distance: no kernel")
}

func squaredEuclideansAVX2(dst, query, row *float32, list *[]float32, n, dim int) {
	panic("distance: no kernel")
}

func dotsInt8AVX2(dst *int32, query, rows *int8, ids *uint32, n, dim int) {
	panic("distance: no kernel")
}
