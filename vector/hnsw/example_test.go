package hnsw_test

import (
	"context"
	"fmt"

	"inmem/vector/hnsw"
)

// Two vectors are found for a query, then, after one of them is deleted, others.
func Example() {
	rows := hnsw.Contiguous{Dimension: 2, Elements: []float32{
		0, 0,
		1, 0,
		0, 3,
		5, 5,
	}}
	b, err := hnsw.New(hnsw.DefaultParams(hnsw.Euclidean, 2))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := b.Insert(context.Background(), rows, 4, 1); err != nil {
		fmt.Println(err)
		return
	}
	g := b.Graph(rows)
	fmt.Println(g.Search(rows, []float32{1, 1}, 2, 10, nil))

	b = g.Extend()
	b.Delete(1)
	g = b.Graph(rows)
	fmt.Println(g.Search(rows, []float32{1, 1}, 2, 10, nil))
	// Output:
	// [{1 1} {0 2}]
	// [{0 2} {2 5}]
}
