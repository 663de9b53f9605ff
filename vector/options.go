package vector

import "inmem/op"

// WriteOption changes how one write is done.
type WriteOption struct{ durability op.Durability }

// Durability lets this commit be acknowledged by another mode than the store's:
// op.ErrInvalidOption where there is no such mode. A commit never gets less than
// those that go to the log with it.
func Durability(d op.Durability) WriteOption { return WriteOption{durability: d} }

func gather(opts []WriteOption) (o WriteOption, err error) {
	for _, next := range opts {
		if next.durability > op.Async {
			return o, op.ErrInvalidOption
		}
		if next.durability != op.Default {
			o.durability = next.durability
		}
	}
	return o, nil
}

// ListOption changes what a listing returns.
type ListOption struct {
	bare  bool
	limit int
}

// WithoutVectors leaves Item.Vector out.
func WithoutVectors() ListOption { return ListOption{bare: true} }

// Limit ends the listing after n items; n <= 0 means no limit.
func Limit(n int) ListOption { return ListOption{limit: n} }

// Filter chooses which vectors count in a search.
type Filter interface {
	// Match reports whether a vector counts. The item is lent, without its Vector,
	// and must not be kept. An error ends the search, which returns it.
	Match(Item) (bool, error)
}

// FilterFunc is a function as a Filter.
type FilterFunc func(Item) (bool, error)

// Match calls f.
func (f FilterFunc) Match(it Item) (bool, error) { return f(it) }

// SearchOption changes a search.
type SearchOption struct {
	filter  Filter
	workers int
	vectors bool
}

// Where lets only those vectors count that the filter chooses. It is asked about
// those alone that may be among the nearest; a filter that chooses few is asked
// about most. It is asked from one goroutine at a time.
func Where(f Filter) SearchOption { return SearchOption{filter: f} }

// Workers lets up to n goroutines scan at the same time; n <= 1 means the
// caller's alone. It makes no difference to what is found.
func Workers(n int) SearchOption { return SearchOption{workers: n} }

// WithVectors returns the vectors of what is found, too.
func WithVectors() SearchOption { return SearchOption{vectors: true} }
