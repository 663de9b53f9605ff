package vector

import (
	"context"
	"encoding/json"
	"unicode/utf8"

	"inmem/op"
	"inmem/retry"
)

// New is a vector to be put.
type New struct {
	Key      string // at least 1 byte, any bytes
	Vector   []float32
	Metadata []byte // a JSON object, or nothing
}

// Upsert sets key to a vector and its metadata, whatever it held before, and
// returns the run's new version.
//
// Errors: *NoCollectionError, *DimensionError, *ElementError, ErrZeroVector,
// ErrInvalidMetadata; op.ErrKeyEmpty, *op.SizeError; those of kv.Store.Put. Where
// others drop and make the collection all the time, op.ErrConflict after 64
// attempts. Nothing happened then.
func (s Store) Upsert(ctx context.Context, collection, key string, vector []float32, metadata []byte, opts ...WriteOption) (version uint64, err error) {
	one := [1]New{{key, vector, metadata}}
	version, at, err := s.upsert(ctx, collection, one[:], opts)
	_ = at // there is but one
	return version, err
}

// UpsertBatch is Upsert of several vectors in one commit, all or none. Later ones
// of a key win over earlier ones. What is wrong with one of them comes as an
// *ItemError; a batch that is larger than a commit may be is op.ErrBatchTooLarge.
// An empty one makes no commit, and returns version 0.
func (s Store) UpsertBatch(ctx context.Context, collection string, vectors []New, opts ...WriteOption) (version uint64, err error) {
	if len(vectors) == 0 {
		return 0, ctx.Err()
	}
	version, at, err := s.upsert(ctx, collection, vectors, opts)
	if err != nil && at >= 0 {
		err = &ItemError{Index: at, Key: vectors[at].Key, Err: err}
	}
	return version, err
}

// upsert puts vectors; at is which of them was refused, -1 where it is none of
// them.
func (s Store) upsert(ctx context.Context, collection string, list []New, opts []WriteOption) (version uint64, at int, err error) {
	o, err := gather(opts)
	if err != nil {
		return 0, -1, err
	}
	limits := s.run.Limits()
	writes := make([]op.Write, len(list))
	var made Config // for which the writes are
	err = retry.Conflicts(ctx, func() error {
		at = -1
		view, c, err := s.find(collection)
		if err != nil {
			return err
		}
		if made != c.Config {
			if at, err = encode(writes, list, c.Config, prefixOf(collection), limits); err != nil {
				return err
			}
			made = c.Config
		}
		res, err := s.run.Commit(ctx, &op.Request{Writes: writes, Durability: o.durability, Basis: basis(view, collection)})
		version = res.Version
		return err
	})
	return version, at, err
}

// basis makes a commit depend on the collection: it is there, and the same.
func basis(view op.View, collection string) *op.Basis {
	return &op.Basis{View: view, Keys: []op.Key{{Tag: op.Vector, Key: collectionPrefix + collection}}}
}

// encode fills in the writes, or returns which vector is refused and why.
func encode(writes []op.Write, list []New, c Config, prefix string, limits op.Limits) (at int, err error) {
	size := 0
	for i := range list {
		n := &list[i]
		if err := n.check(c, prefix, limits); err != nil {
			return i, err
		}
		value := encodeVector(n.Vector, n.Metadata)
		if len(value) > limits.MaxValue {
			return i, &op.SizeError{Err: op.ErrValueTooLarge, Size: len(value), Max: limits.MaxValue}
		}
		writes[i] = op.Write{Kind: op.Put, Tag: op.Vector, Key: prefix + n.Key, Value: value}
		size += op.OpSize(len(writes[i].Key), len(value))
	}
	if size > limits.MaxCommit {
		return -1, &op.SizeError{Err: op.ErrBatchTooLarge, Size: size, Max: limits.MaxCommit}
	}
	return -1, nil
}

func (n *New) check(c Config, prefix string, limits op.Limits) error {
	if n.Key == "" {
		return op.ErrKeyEmpty
	}
	if size := len(prefix) + len(n.Key); size > limits.MaxKey {
		return &op.SizeError{Err: op.ErrKeyTooLarge, Size: size, Max: limits.MaxKey}
	}
	if err := c.check(n.Vector); err != nil {
		return err
	}
	if len(n.Metadata) > 0 && !isObject(n.Metadata) {
		return ErrInvalidMetadata
	}
	return nil
}

// isObject reports whether b is one JSON object in UTF-8.
func isObject(b []byte) bool {
	for _, c := range b {
		switch c {
		case ' ', '\t', '\n', '\r':
			continue
		}
		return c == '{' && json.Valid(b) && utf8.Valid(b)
	}
	return false
}

// Delete removes a vector, or returns op.ErrNotFound where there is none. Errors
// beside that: *NoCollectionError; those of kv.Store.Put.
func (s Store) Delete(ctx context.Context, collection, key string, opts ...WriteOption) error {
	o, err := gather(opts)
	if err != nil {
		return err
	}
	return retry.Conflicts(ctx, func() error {
		view, _, err := s.find(collection)
		if err != nil {
			return err
		}
		res, err := s.run.Commit(ctx, &op.Request{
			Writes:     []op.Write{{Kind: op.Delete, Tag: op.Vector, Key: prefixOf(collection) + key}},
			Durability: o.durability, Basis: basis(view, collection),
		})
		if err == nil && !res.Existed {
			err = op.ErrNotFound
		}
		return err
	})
}
