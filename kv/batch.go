package kv

import (
	"context"
	"fmt"

	"inmem/op"
)

// Batch gathers puts and deletes to be done in one commit. The zero Batch is
// empty and ready. It is for one goroutine; keys and values must not be
// changed before Write returned.
type Batch struct {
	writes []op.Write
	err    error
}

// Put adds a put. Later operations on a key win over earlier ones.
func (b *Batch) Put(key string, value []byte, opts ...WriteOption) {
	o, err := gather(opts)
	if err == nil && o.durability != op.Default {
		err = op.ErrInvalidOption // it belongs to Write: a commit has one
	}
	if b.err == nil {
		b.err = err
	}
	b.writes = append(b.writes, op.Write{Kind: op.Put, Tag: op.KV, Key: key, Value: value, TTL: o.ttl})
}

// PutIf adds a put with a condition: the whole batch is refused with an
// *op.VersionError unless key was at the expected version before it.
func (b *Batch) PutIf(key string, value []byte, expected uint64, opts ...WriteOption) {
	b.Put(key, value, opts...)
	b.writes[len(b.writes)-1].Expect = op.AtVersion(expected)
}

// Delete adds a delete. Deleting a key that is not there is no error.
func (b *Batch) Delete(key string) {
	b.writes = append(b.writes, op.Write{Kind: op.Delete, Tag: op.KV, Key: key})
}

// Len returns the number of operations.
func (b *Batch) Len() int { return len(b.writes) }

// Reset empties the batch for another use.
func (b *Batch) Reset() {
	clear(b.writes)
	b.writes, b.err = b.writes[:0], nil
}

// Write carries the batch out in one commit, all or nothing, and returns the
// run's version after it. A batch that changes nothing makes no commit. Beside
// the errors of Put there is op.ErrBatchTooLarge, or, with the option Chunked,
// a *ChunkError where some of the batch was carried out and the rest was not.
func (s Store) Write(ctx context.Context, b *Batch, opts ...WriteOption) (version uint64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	o, err := gather(opts)
	if err != nil {
		return 0, err
	}
	if o.ttl != 0 {
		return 0, op.ErrInvalidOption // it belongs to each Put
	}
	limits := s.run.Limits()
	for i := range b.writes {
		if err := check(limits, &b.writes[i]); err != nil {
			return 0, err
		}
	}
	rest := b.writes
	for {
		n, size := chunk(rest, limits.MaxCommit)
		if n < len(rest) && (n == 0 || !o.chunked) {
			return 0, &op.SizeError{Err: op.ErrBatchTooLarge, Size: size, Max: limits.MaxCommit}
		}
		res, err := s.run.Commit(ctx, &op.Request{Writes: rest[:n], Durability: o.durability})
		if done := len(b.writes) - len(rest); err != nil && done > 0 {
			return version, &ChunkError{Done: done, Version: version, Err: err}
		}
		if rest, version = rest[n:], res.Version; err != nil || len(rest) == 0 {
			return version, err
		}
	}
}

// chunk returns how many of the writes fit one commit, and the size of all.
func chunk(writes []op.Write, limit int) (n, size int) {
	for i := range writes {
		if size += op.OpSize(len(writes[i].Key), len(writes[i].Value)); size <= limit {
			n = i + 1
		}
	}
	return n, size
}

// ChunkError says how far a chunked batch got before it failed.
type ChunkError struct {
	Done    int    // operations carried out, the first ones of the batch
	Version uint64 // of the run with them
	Err     error
}

func (e *ChunkError) Error() string {
	return fmt.Sprintf("kv: the first %d operations of the batch are in, the rest is not: %v", e.Done, e.Err)
}

// Unwrap returns what the batch failed with.
func (e *ChunkError) Unwrap() error { return e.Err }
