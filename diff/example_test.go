package diff_test

import (
	"fmt"

	"inmem/diff"
)

func ExampleJSON() {
	before := []byte(`{"user": "mia", "flights": [{"number": "HAT170", "seats": 2}]}`)
	after := []byte(`{"user": "mia", "flights": [{"number": "HAT170", "seats": 3}], "paid": true}`)
	list, _, _ := diff.JSON(before, after)
	for _, d := range list {
		fmt.Printf("%s %s: %s → %s\n", d.Path, d.Change, d.A, d.B)
	}
	// Output:
	// /flights/0/seats changed: 2 → 3
	// /paid added:  → true
}
