// Package vector is the face of a run for vectors: collections of them, under
// keys, with metadata, and the search for those nearest to another.
//
// It is stateless: a Store is a way of looking at a run, at a transaction or at a
// run's past, owns nothing and is cheap to copy. It knows no other face, no shard
// and no disk. What a search wants prepared is kept by package matrix, made from
// the records alone.
//
// A collection has a name, 1 to MaxName bytes of UTF-8 without NUL, and a
// dimension and a metric that are fixed when it is made. Keys of vectors are 1 byte
// or more, any bytes; with the name they are bounded by Options.MaxKeySize.
// Elements are finite; under Cosine a vector is not zero. Metadata is one JSON
// object or nothing, kept byte for byte. A vector with its metadata takes no more
// than Options.MaxValueSize. Bytes and vectors that go in are copied before the call
// returns; what comes out belongs to the caller.
//
// Outside of a transaction each call that writes is one commit, and each call that
// reads sees one version.
//
// Invariant: all vectors of a collection have its dimension, and there is none
// without its collection.
package vector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"inmem/op"
	"inmem/retry"
	"inmem/vector/matrix"
)

// The bounds of a collection.
const (
	MaxName      = 255    // bytes of its name
	MaxDimension = 65_536 // elements of a vector
)

// Metric says what makes vectors near.
type Metric = matrix.Metric

// The metrics, and what is the score of a vector under each.
const (
	// Cosine: the cosine of the angle to the query, -1 to 1. Lengths do not count.
	Cosine = matrix.Cosine
	// Dot: the dot product with the query.
	Dot = matrix.Dot
	// Euclidean: the negative of the Euclidean distance to the query, so that here
	// too the nearest has the highest score: 0 and below.
	Euclidean = matrix.Euclidean
)

// ParseMetric returns the metric of a name, as Metric.String gives it, or an
// ErrInvalidConfig.
func ParseMetric(name string) (Metric, error) {
	for _, m := range []Metric{Cosine, Dot, Euclidean} {
		if m.String() == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%w: no metric is called %.100q; there are cosine, dot and euclidean", ErrInvalidConfig, name)
}

// Config is what is fixed when a collection is made.
type Config struct {
	Dimension int    // elements of each vector: 1 to MaxDimension
	Metric    Metric // Cosine, Dot or Euclidean
}

func (c Config) String() string { return fmt.Sprintf("%d × %v", c.Dimension, c.Metric) }

// Validate reports what is wrong with c, as an ErrInvalidConfig.
func (c Config) Validate() error {
	if c.Dimension < 1 || c.Dimension > MaxDimension {
		return fmt.Errorf("%w: a dimension of %d, not 1 … %d", ErrInvalidConfig, c.Dimension, MaxDimension)
	}
	if !c.Metric.Valid() {
		return fmt.Errorf("%w: %v; give Cosine, Dot or Euclidean", ErrInvalidConfig, c.Metric)
	}
	return nil
}

// Collection is a collection as it was at one version.
type Collection struct {
	Name string
	Config
	// Version is that of the commit that made it, in its run; op.Uncommitted in the
	// transaction that did.
	Version uint64
}

// Embedder makes vectors of texts, such that what means the same lies near. It is
// the program's: package embed has one that needs nothing, and one for services.
type Embedder interface {
	// Embed returns a vector for each text, in their order, all of one length.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}

// Store is the collections of one run. Get it from Run.Vectors, Tx.Vectors or
// Past.Vectors.
type Store struct {
	run op.Run
	set matrix.Set
}

// NewStore returns the vector face of r. What searches want prepared is kept in
// set; with the zero Set each of them reads all records.
func NewStore(r op.Run, set matrix.Set) Store { return Store{r, set} }

// The keys of a collection: its record, and its vectors, behind its name and a
// NUL.
const (
	collectionPrefix = "c"
	vectorPrefix     = "v"
)

func prefixOf(collection string) string { return vectorPrefix + collection + "\x00" }

// Create makes a collection, and returns it. Where there is one of this name with
// the same Config already, that is all there is to do; with another it is an
// *ExistsError.
//
// Errors: ErrInvalidName, ErrInvalidConfig, *ExistsError, *op.SizeError, and those
// of kv.Store.Put.
func (s Store) Create(ctx context.Context, collection string, c Config, opts ...WriteOption) (Collection, error) {
	o, err := gather(opts)
	if err == nil {
		err = checkName(collection)
	}
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		return Collection{}, err
	}
	if limit, size := s.run.Limits().MaxKey, len(prefixOf(collection))+1; size > limit {
		return Collection{}, &op.SizeError{Err: op.ErrKeyTooLarge, Size: size, Max: limit}
	}
	var out Collection
	err = retry.Conflicts(ctx, func() error {
		_, now, err := s.find(collection)
		switch {
		case err == nil && now.Config != c:
			return &ExistsError{Collection: collection, Has: now.Config, Wanted: c}
		case err == nil:
			out = now
			return nil
		case !errors.Is(err, ErrNoCollection):
			return err
		}
		res, err := s.run.Commit(ctx, &op.Request{Durability: o.durability, Writes: []op.Write{{
			Kind: op.Put, Tag: op.Vector, Key: collectionPrefix + collection, Value: c.encode(), Expect: op.AtVersion(0),
		}}})
		out = Collection{Name: collection, Config: c, Version: res.Version}
		if res.Version == 0 { // a transaction's
			out.Version = op.Uncommitted
		}
		return err
	}, op.ErrWrongVersion)
	if err != nil {
		return Collection{}, err
	}
	return out, nil
}

// find returns the newest view, and a collection in it.
func (s Store) find(collection string) (op.View, Collection, error) {
	view, err := s.run.View()
	if err != nil {
		return nil, Collection{}, err
	}
	it, ok := view.Get(op.Vector, collectionPrefix+collection)
	if !ok {
		return view, Collection{}, &NoCollectionError{Collection: collection}
	}
	c, err := toCollection(collection, it)
	return view, c, err
}

func toCollection(name string, it op.Item) (Collection, error) {
	c, err := decodeConfig(it.Value)
	if err != nil {
		return Collection{}, err
	}
	return Collection{Name: strings.Clone(name), Config: c, Version: it.Version}, nil
}

// Collection returns a collection, or a *NoCollectionError.
func (s Store) Collection(ctx context.Context, name string) (Collection, error) {
	if err := ctx.Err(); err != nil {
		return Collection{}, err
	}
	_, c, err := s.find(name)
	if err != nil {
		return Collection{}, err
	}
	return c, nil
}

// Collections returns the collections in order of their names, all as of one
// version. The loop ends after an error.
func (s Store) Collections(ctx context.Context) iter.Seq2[Collection, error] {
	return func(yield func(Collection, error) bool) {
		view, err := s.run.View()
		if err != nil {
			yield(Collection{}, err)
			return
		}
		view.Scan(op.Vector, op.Prefix(collectionPrefix), func(key string, it op.Item) bool {
			err := ctx.Err()
			var c Collection
			if err == nil {
				c, err = toCollection(key[len(collectionPrefix):], it)
			}
			return yield(c, err) && err == nil
		})
	}
}

// Drop removes a collection with all its vectors. What does not fit one commit
// goes in several, the collection itself with the last: one that failed leaves a
// collection with fewer vectors. A transaction takes only what fits one commit.
//
// Errors: *NoCollectionError; *op.ConflictError (op.ErrConflict) where others go on
// writing to the collection; those of kv.Store.Put.
func (s Store) Drop(ctx context.Context, collection string, opts ...WriteOption) error {
	o, err := gather(opts)
	if err != nil {
		return err
	}
	return retry.Conflicts(ctx, func() error {
		for {
			done, err := s.drop(ctx, collection, o)
			if err != nil || done {
				return err
			}
		}
	})
}

// Dropped reports whether a write of a commit drops a collection, and which.
func Dropped(w *op.Write) (collection string, ok bool) {
	if w.Tag != op.Vector || w.Kind != op.Delete {
		return "", false
	}
	return strings.CutPrefix(w.Key, collectionPrefix)
}

// drop removes as much of a collection as fits one commit, and reports whether
// that was the last of it.
func (s Store) drop(ctx context.Context, collection string, o WriteOption) (done bool, err error) {
	view, _, err := s.find(collection)
	if err != nil {
		return false, err
	}
	span := op.Prefix(prefixOf(collection))
	key := collectionPrefix + collection
	size := op.OpSize(len(key), 0)
	limit := s.run.Limits().MaxCommit
	var writes []op.Write
	done = true
	view.Scan(op.Vector, span, func(key string, _ op.Item) bool {
		size += op.OpSize(len(key), 0)
		if done = size <= limit; done {
			writes = append(writes, op.Write{Kind: op.Delete, Tag: op.Vector, Key: strings.Clone(key)})
		}
		return done
	})
	basis := &op.Basis{View: view, Keys: []op.Key{{Tag: op.Vector, Key: key}}}
	if done {
		writes = append(writes, op.Write{Kind: op.Delete, Tag: op.Vector, Key: key})
		// Nobody may have put a vector meanwhile: it would be without its collection.
		basis.Ranges = []op.KeyRange{{Tag: op.Vector, From: span.From, To: span.To}}
	}
	_, err = s.run.Commit(ctx, &op.Request{Writes: writes, Basis: basis, Durability: o.durability})
	return done, err
}

func checkName(name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%w: %.300q; give 1 to %d bytes of UTF-8 without NUL", ErrInvalidName, name, MaxName)
	}
	return nil
}
