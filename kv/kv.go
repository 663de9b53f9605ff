// Package kv is the key-value face of a run: values under string keys, with
// versions, times to live and ordered listing.
//
// It is stateless: a Store is a way of looking at a run or at a transaction,
// owns nothing and is cheap to copy. It knows no other face, no shard and no
// disk.
//
// Keys are 1 to MaxKeySize bytes, any bytes; they order byte by byte. Values
// are 0 to MaxValueSize bytes. Bytes that go in are copied before the call
// returns; bytes that come out belong to the caller, but for those of a listing
// with the option Lend.
package kv

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"time"

	"inmem/op"
)

// Store is the keys and values of one run. Get it from Run.KV.
type Store struct{ run op.Run }

// New returns the key-value face of r.
func New(r op.Run) Store { return Store{run: r} }

// Item is a value with what the store knows of it.
type Item struct {
	Key     string // without anything before it: as it was put
	Value   []byte // the caller's
	Version uint64 // of the commit that wrote it, in its run
	// Deadline is when the value expires; the zero Time = never.
	Deadline time.Time
}

func toItem(key string, it op.Item) Item {
	return lent(strings.Clone(key), op.Item{Value: bytes.Clone(it.Value), Version: it.Version, Deadline: it.Deadline})
}

// lent is an item without copies.
func lent(key string, it op.Item) Item {
	out := Item{Key: key, Value: it.Value, Version: it.Version}
	if it.Deadline != 0 {
		out.Deadline = time.UnixMilli(it.Deadline)
	}
	return out
}

// Get returns the value of key, or op.ErrNotFound (inmem.ErrNotFound) where
// there is none or it is past its deadline.
func (s Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	it, err := s.run.Get(op.KV, key)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(it.Value), nil
}

// GetItem is Get with version and deadline.
func (s Store) GetItem(ctx context.Context, key string) (Item, error) {
	if err := ctx.Err(); err != nil {
		return Item{}, err
	}
	it, err := s.run.Get(op.KV, key)
	if err != nil {
		return Item{}, err
	}
	return toItem(key, it), nil
}

// Exists reports whether key has a value that is not past its deadline. It has
// the errors of Get but for op.ErrNotFound.
func (s Store) Exists(ctx context.Context, key string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	_, err := s.run.Get(op.KV, key)
	if errors.Is(err, op.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Put sets key to a copy of value and returns the run's new version. Without
// the option TTL the value does not expire, whatever was there before.
//
// Errors: op.ErrKeyEmpty, op.ErrKeyTooLarge, op.ErrValueTooLarge,
// op.ErrInvalidTTL, run.ErrNotFound, run.ErrNotActive, op.ErrDiskFull,
// op.ErrPoisoned, op.ErrClosed. A ctx that ends before the shard accepted the
// call: nothing happened; after that the error wraps ctx.Err() and the outcome
// is unknown.
func (s Store) Put(ctx context.Context, key string, value []byte, opts ...WriteOption) (version uint64, err error) {
	return s.put(ctx, op.Write{Kind: op.Put, Tag: op.KV, Key: key, Value: value}, opts)
}

// PutIf is Put where key is at the expected version, and an *op.VersionError
// (op.ErrWrongVersion) otherwise; 0 demands that there is no such key, or that
// it is past its deadline.
func (s Store) PutIf(ctx context.Context, key string, value []byte, expected uint64, opts ...WriteOption) (version uint64, err error) {
	return s.put(ctx, op.Write{Kind: op.Put, Tag: op.KV, Key: key, Value: value, Expect: op.AtVersion(expected)}, opts)
}

func (s Store) put(ctx context.Context, w op.Write, opts []WriteOption) (uint64, error) {
	o, err := gather(opts)
	if err != nil {
		return 0, err
	}
	w.TTL = o.ttl
	if err := check(s.run.Limits(), &w); err != nil {
		return 0, err
	}
	res, err := s.commit(ctx, w, o.durability)
	return res.Version, err
}

// single is a request of one write. The run copies what it needs before Commit
// returns, so requests can come from a pool: two allocations less for each Put.
type single struct {
	req   op.Request
	write [1]op.Write
}

var singles = sync.Pool{New: func() any { return new(single) }}

func (s Store) commit(ctx context.Context, w op.Write, durability op.Durability) (op.Result, error) {
	one := singles.Get().(*single)
	one.write[0] = w
	one.req = op.Request{Writes: one.write[:], Durability: durability}
	res, err := s.run.Commit(ctx, &one.req)
	*one = single{}
	singles.Put(one)
	return res, err
}

// Delete removes key and returns the value it had. Where there is none, or it
// is past its deadline, it returns op.ErrNotFound and makes no commit. The
// option TTL is op.ErrInvalidOption; the other errors are those of Put.
func (s Store) Delete(ctx context.Context, key string, opts ...WriteOption) (old []byte, err error) {
	o, err := gather(opts)
	if err != nil {
		return nil, err
	}
	if o.ttl != 0 {
		return nil, op.ErrInvalidOption // what is gone cannot expire
	}
	w := op.Write{Kind: op.Delete, Tag: op.KV, Key: key}
	if err := check(s.run.Limits(), &w); err != nil {
		return nil, err
	}
	res, err := s.commit(ctx, w, o.durability)
	if err != nil {
		return nil, err
	}
	if !res.Existed {
		return nil, op.ErrNotFound
	}
	return bytes.Clone(res.Previous.Value), nil
}

// check holds a write against the limits of the store.
func check(limits op.Limits, w *op.Write) error {
	switch {
	case w.Key == "":
		return op.ErrKeyEmpty
	case len(w.Key) > limits.MaxKey:
		return &op.SizeError{Err: op.ErrKeyTooLarge, Size: len(w.Key), Max: limits.MaxKey}
	case len(w.Value) > limits.MaxValue:
		return &op.SizeError{Err: op.ErrValueTooLarge, Size: len(w.Value), Max: limits.MaxValue}
	}
	return nil
}

// List returns the items whose keys begin with prefix, in order of the keys,
// all as of one version: the newest when the loop begins. The loop ends after
// an error, such as ctx.Err().
func (s Store) List(ctx context.Context, prefix string, opts ...ListOption) iter.Seq2[Item, error] {
	return s.scan(ctx, op.Prefix(prefix), opts)
}

// Range returns the items with from <= key < to, as List does. An empty to has
// no upper bound.
func (s Store) Range(ctx context.Context, from, to string, opts ...ListOption) iter.Seq2[Item, error] {
	return s.scan(ctx, op.Range{From: from, To: to}, opts)
}

func (s Store) scan(ctx context.Context, r op.Range, opts []ListOption) iter.Seq2[Item, error] {
	lend := false
	for _, o := range opts {
		r.Reverse = r.Reverse || o.reverse
		if o.limit > 0 {
			r.Limit = o.limit
		}
		lend = lend || o.lend
	}
	return func(yield func(Item, error) bool) {
		view, err := s.run.View()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(Item{}, err)
			return
		}
		view.Scan(op.KV, r, func(key string, it op.Item) bool {
			if err := ctx.Err(); err != nil {
				yield(Item{}, err)
				return false
			}
			if !lend {
				key, it.Value = strings.Clone(key), bytes.Clone(it.Value)
			}
			if it.Deadline == 0 {
				return yield(Item{Key: key, Value: it.Value, Version: it.Version}, nil)
			}
			return yield(lent(key, it), nil)
		})
	}
}
