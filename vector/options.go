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
		if o.durability, err = o.durability.Choose(next.durability); err != nil {
			return o, err
		}
	}
	return o, nil
}

// ListOption changes what a listing returns.
type ListOption struct {
	bare  bool
	limit int
	from  string
}

// From leaves out the keys before one.
func From(key string) ListOption { return ListOption{from: key} }

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
	ef      int
	vectors bool
}

// Where lets only those vectors count that the filter chooses. It is asked about
// those alone that may be among the nearest; a filter that chooses few is asked
// about most. It is asked from one goroutine at a time.
func Where(f Filter) SearchOption { return SearchOption{filter: f} }

// DefaultEf is how many candidates an approximate search keeps unless it says
// otherwise.
const DefaultEf = 100

// Approximate lets a search of a large collection use an index, and find about the
// nearest in a small part of the time. The index, a graph (HNSW), is made in the
// background when somebody first wants it, from 8,192 vectors on, and kept in memory
// with the copies of the vectors, and in a file of the store, from which it is loaded
// after the next opening; until it is there, and where it is of no use, as
// for a filter that lets few through, the search is exact. What was put since it was
// made is found exactly, and what was deleted is not found. Scores are exact, but
// some of the nearest may be missing, not always the same: the more candidates the
// search keeps, ef of them or DefaultEf for less than 1, the fewer. See
// Store.Prepare.
func Approximate(ef int) SearchOption {
	if ef < 1 {
		ef = DefaultEf
	}
	return SearchOption{ef: ef}
}

// Workers lets up to n goroutines scan at the same time; n <= 1 means the
// caller's alone. It makes no difference to what is found.
func Workers(n int) SearchOption { return SearchOption{workers: n} }

// WithVectors returns the vectors of what is found, too.
func WithVectors() SearchOption { return SearchOption{vectors: true} }
