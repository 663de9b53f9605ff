package vector

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"

	"inmem/op"
	"inmem/vector/matrix"
)

// Item is a vector with what belongs to it.
type Item struct {
	Key      string
	Vector   []float32
	Metadata []byte // a JSON object as it was given; nil = none
	// Version is that of the commit that put it, in its run; op.Uncommitted in the
	// transaction that did.
	Version uint64
}

func (it *Item) own() {
	it.Key, it.Metadata = strings.Clone(it.Key), bytes.Clone(it.Metadata)
}

// Get returns a vector. Errors: op.ErrNotFound (inmem.ErrNotFound) where there is
// no such key, *NoCollectionError.
func (s Store) Get(ctx context.Context, collection, key string) (Item, error) {
	if err := ctx.Err(); err != nil {
		return Item{}, err
	}
	view, _, err := s.find(collection)
	if err != nil {
		return Item{}, err
	}
	it, ok := view.Get(op.Vector, prefixOf(collection)+key)
	if !ok {
		return Item{}, op.ErrNotFound
	}
	item, err := toItem(key, it, true)
	item.own()
	return item, err
}

// List returns the vectors of a collection whose keys begin with prefix, in order
// of the keys, all as of one version. The loop ends after an error, such as
// *NoCollectionError.
func (s Store) List(ctx context.Context, collection, prefix string, opts ...ListOption) iter.Seq2[Item, error] {
	bare, span := false, op.Prefix(prefixOf(collection)+prefix)
	for _, o := range opts {
		bare = bare || o.bare
		if o.limit > 0 {
			span.Limit = o.limit
		}
		span.From = max(span.From, prefixOf(collection)+o.from)
	}
	return func(yield func(Item, error) bool) {
		view, _, err := s.find(collection)
		if err != nil {
			yield(Item{}, err)
			return
		}
		skip := len(prefixOf(collection))
		view.Scan(op.Vector, span, func(key string, it op.Item) bool {
			err := ctx.Err()
			var item Item
			if err == nil {
				item, err = toItem(key[skip:], it, !bare)
				item.own()
			}
			return yield(item, err) && err == nil
		})
	}
}

// Len returns how many vectors a collection has, in O(their number), or a
// *NoCollectionError.
func (s Store) Len(ctx context.Context, collection string) (n int, err error) {
	for _, err := range s.List(ctx, collection, "", WithoutVectors()) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// collectionOf is a collection as it is searched.
func collectionOf(c Collection) matrix.Collection {
	prefix := prefixOf(c.Name)
	return matrix.Collection{
		Name: c.Name, Made: c.Version, Metric: c.Metric, Dimension: c.Dimension,
		Tag: op.Vector, Keys: op.Prefix(prefix), Prefix: prefix, Vector: vectorOf(c.Config),
	}
}

// Prepare makes what searches of a collection keep, within Options.VectorMemory, and
// waits for it: a copy of its vectors, and with the option Approximate the index,
// which is loaded where it was kept, or made and kept.
// Without it the first search makes the copy, and an approximate one has the index
// made while it and others go on without. Errors: *NoCollectionError, ctx.Err().
func (s Store) Prepare(ctx context.Context, collection string, opts ...SearchOption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	view, c, err := s.find(collection)
	if err != nil {
		return err
	}
	index := false
	for _, o := range opts {
		index = index || o.ef > 0
	}
	of := collectionOf(c)
	return s.set.Prepare(ctx, view, &of, index)
}

// Hit is one of the vectors that a search found.
type Hit struct {
	Item          // without Vector, but for the option WithVectors
	Score float64 // see the metrics
}

// Search returns the k vectors of a collection that are nearest to query, all that
// there are where they are fewer, as of one version: the highest scores first, and
// of equal scores the lowest keys.
//
// It is exact: scores are computed in float64, in one order of additions, and are
// the same on every machine. It takes one look at every vector, on the caller's
// goroutine. The first search of a collection reads the records; what it wants
// prepared stays in memory, within Options.VectorMemory, and later searches read
// what was changed since. In a transaction that writes, the whole collection counts
// as read.
//
// Errors: *NoCollectionError, *DimensionError, *ElementError, ErrZeroVector for the
// query; op.ErrInvalidOption where k is not positive; what the filter returns;
// ctx.Err().
func (s Store) Search(ctx context.Context, collection string, query []float32, k int, opts ...SearchOption) ([]Hit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if k < 1 {
		return nil, fmt.Errorf("%w: the %d nearest; give at least 1", op.ErrInvalidOption, k)
	}
	view, c, err := s.find(collection)
	if err != nil {
		return nil, err
	}
	if err := c.check(query); err != nil {
		return nil, err
	}
	of := collectionOf(c)
	q, vectors := matrix.Query{Vector: query, K: k}, false
	for _, o := range opts {
		q.Workers, q.Ef = max(q.Workers, o.workers), max(q.Ef, o.ef)
		vectors = vectors || o.vectors
		if f := o.filter; f != nil {
			also := q.Accept
			q.Accept = func(key string, it op.Item) (bool, error) {
				item, err := toItem(key, it, false)
				ok := err == nil
				if ok && also != nil {
					ok, err = also(key, it)
				}
				if !ok || err != nil {
					return false, err
				}
				return f.Match(item)
			}
		}
	}
	found, err := s.set.Search(ctx, view, &of, &q)
	if err != nil {
		return nil, err
	}
	hits := make([]Hit, len(found))
	for i, f := range found {
		if hits[i].Item, err = toItem(f.Key, f.Item, vectors); err != nil {
			return nil, err
		}
		hits[i].own()
		hits[i].Score = f.Score
	}
	return hits, nil
}
