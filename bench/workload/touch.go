package workload

// cacheLine is what a processor fetches at once.
const cacheLine = 64

// touch reads a byte of each cache line of what a store handed out, so that all
// of it has been fetched: a store may lend memory that is mapped from a file,
// and has cost it nothing so far. It returns their sum, and is not inlined:
// otherwise the compiler would leave out reads that nobody needs.
//
//go:noinline
func touch[T ~string | ~[]byte](data T) (sum byte) {
	for i := 0; i < len(data); i += cacheLine {
		sum += data[i]
	}
	if len(data) > 0 { // it need not begin where a line does
		sum += data[len(data)-1]
	}
	return sum
}
