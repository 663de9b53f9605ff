package inmem

// LeastIndexed is how many vectors have an index in tests: every test that searches
// for about the nearest meets one.
const LeastIndexed = 8

func init() { leastIndexed = LeastIndexed }
