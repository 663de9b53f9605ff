package kv

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"time"

	"inmem/op"
)

// Change is what one commit did to a key.
type Change struct {
	Version uint64    // of the run, with the commit; in a fork what it was where it was made
	Time    time.Time // of the commit, to the millisecond, in UTC
	Value   []byte    // nil where the key was removed; the caller's
	// Removed is how the key ceased to be: op.Delete, or op.Expire because its
	// deadline had passed; 0 = it did not.
	Removed  op.Kind
	Deadline time.Time // of the value; the zero Time = never
}

// History returns what became of a key, from its first kept change to its last,
// read from the run's history in O(run). A key that never was has none. The
// loop ends after an error.
func (s Store) History(ctx context.Context, key string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for c, err := range s.run.History(ctx, 0) {
			if err != nil {
				yield(Change{}, err)
				return
			}
			if change, ok := changeOf(c, key); ok && !yield(change, nil) {
				return
			}
		}
	}
}

// changeOf returns what a commit left a key at, if it changed it.
func changeOf(c *op.Commit, key string) (out Change, ok bool) {
	for i := range c.Ops {
		o := &c.Ops[i]
		if o.Kind == op.Drop || o.Tag != op.KV || o.Key != key {
			continue
		}
		out, ok = Change{Version: cmp.Or(o.Version, c.Version), Time: time.UnixMilli(c.Time).UTC()}, true
		if o.Kind != op.Put {
			out.Removed = o.Kind
			continue
		}
		out.Value = bytes.Clone(o.Value)
		if o.Deadline != 0 {
			out.Deadline = time.UnixMilli(o.Deadline)
		}
	}
	return out, ok
}
