package distance

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkDots scans 8 MB of rows, 20,000 of dimension 100, with and without
// vector instructions.
func BenchmarkDots(b *testing.B) {
	for _, dim := range []int{100, 384, 1536} {
		n := 2_000_000 / dim
		rng := rand.New(rand.NewPCG(1, 2))
		query, rows := random(rng, dim), random(rng, n*dim)
		dst := make([]float32, n)
		list := make([][]float32, n)
		for i, row := range rng.Perm(n) {
			list[i] = rows[row*dim:][:dim]
		}
		bench := func(name string, fn func()) {
			b.Run(fmt.Sprintf("%s/dim=%d", name, dim), func(b *testing.B) {
				b.SetBytes(int64(n * dim * 4))
				for b.Loop() {
					fn()
				}
			})
		}
		bench("rows", func() { Dots(dst, query, rows) })
		bench("one by one", func() {
			for i := range dst {
				dst[i] = Dot(query, rows[i*dim:][:dim])
			}
		})
		bench("scattered", func() { DotsOf(dst, query, list) })
		bench("euclidean", func() { SquaredEuclideans(dst, query, rows) })
		bench("plain", func() {
			defer func(was bool) { accelerated = was }(accelerated)
			accelerated = false
			Dots(dst, query, rows)
		})
	}
}

func random(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}
