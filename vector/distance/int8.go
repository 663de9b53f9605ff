package distance

import "math"

// Quantize writes v as numbers from -127 to 127 times a scale, and returns the
// scale: code[i]·scale is within scale/2 of v[i], and a little for rounding.
// The scale is the greatest magnitude divided by 127; 0 for a zero vector. It
// panics if code is shorter than v. Elements must be finite.
func Quantize(code []int8, v []float32) (scale float32) {
	code = prefix(code, len(v))
	var top float32
	for _, x := range v {
		top = max(top, x, -x)
	}
	scale = top / 127
	if scale == 0 { // zero, or so small that a 127th is none any more
		clear(code)
		return 0
	}
	by := 127 / float64(top)
	for i, x := range v {
		code[i] = int8(math.RoundToEven(float64(x) * by))
	}
	return scale
}

// DotsInt8 sets dst[i] to the dot product of query and a row of rows, each as
// long as query: the i-th, or the one numbered ids[i] if ids is not nil. It
// panics if a row is not there. Sums are exact for up to 2^17 elements that
// come from Quantize.
func DotsInt8(dst []int32, query, rows []int8, ids []uint32) {
	dim := len(query)
	if ids == nil {
		rows = prefix(rows, len(dst)*dim)
	} else {
		ids = prefix(ids, len(dst))
	}
	for _, id := range ids {
		prefix(rows, (int(id)+1)*dim)
	}
	if accelerated && dim >= 16 && len(dst) > 0 {
		for i, n := range blocks(len(dst), dim) {
			if ids != nil {
				dotsInt8AVX2(&dst[i], &query[0], &rows[0], &ids[i], n, dim)
			} else {
				dotsInt8AVX2(&dst[i], &query[0], &rows[i*dim], nil, n, dim)
			}
		}
		if rest := dim &^ 15; rest < dim {
			for i := range dst {
				dst[i] += dotInt8(query[rest:], rowInt8(rows, ids, i, dim)[rest:])
			}
		}
		return
	}
	for i := range dst {
		dst[i] = dotInt8(query, rowInt8(rows, ids, i, dim))
	}
}

// rowInt8 returns row i, or the one numbered ids[i] if there are ids.
func rowInt8(rows []int8, ids []uint32, i, dim int) []int8 {
	if ids != nil {
		i = int(ids[i])
	}
	return rows[i*dim:][:dim]
}
