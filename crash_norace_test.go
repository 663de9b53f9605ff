//go:build !race

package inmem_test

const raceEnabled = false
