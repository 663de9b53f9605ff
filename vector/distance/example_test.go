package distance_test

import (
	"fmt"

	"inmem/vector/distance"
)

// The three rows are compared with the query in one call. What the results may
// be off by follows from the dimension and the norms.
func Example() {
	query := []float32{1, 0.5}
	rows := []float32{
		1, 0,
		0, 1,
		-1, -1,
	}
	dots := make([]float32, 3)
	distance.Dots(dots, query, rows)
	fmt.Println(dots)
	fmt.Println(distance.DotError(2, distance.Norm(query), 1) < 1e-6)
	fmt.Println(distance.DotFloat64(query, rows[:2]))
	// Output:
	// [1 0.5 -1.5]
	// true
	// 1
}
