package hnsw

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkInsert builds a graph of 5,000 clustered vectors, by one goroutine.
func BenchmarkInsert(b *testing.B) {
	const n, dim = 5000, 100
	rows := clustered(1, n, dim, 50)
	for b.Loop() {
		builder, err := New(DefaultParams(Cosine, dim))
		if err != nil {
			b.Fatal(err)
		}
		if err := builder.Insert(context.Background(), rows, n, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "vectors/s")
}

// BenchmarkSearch looks for ten neighbours among 5,000 clustered vectors.
func BenchmarkSearch(b *testing.B) {
	const n, dim = 5000, 100
	rows := clustered(1, n, dim, 50)
	for _, int8 := range []bool{false, true} {
		p := DefaultParams(Cosine, dim)
		p.Int8 = int8
		g := build(b, p, rows, n, 2)
		for _, ef := range []int{50, 200} {
			b.Run(fmt.Sprintf("codes=%v/ef=%d", int8, ef), func(b *testing.B) {
				b.ReportAllocs()
				i := uint32(0)
				for b.Loop() {
					g.Search(rows, rows.Row(i%n), 10, ef, nil)
					i++
				}
			})
		}
	}
}
