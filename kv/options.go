package kv

import (
	"time"

	"inmem/op"
)

// WriteOption changes how one write is done.
type WriteOption struct {
	ttl        time.Duration
	hasTTL     bool
	durability op.Durability
	chunked    bool
}

// TTL lets the value expire this long after its commit, by the store's clock,
// rounded up to a millisecond. It must be positive: op.ErrInvalidTTL otherwise.
func TTL(d time.Duration) WriteOption { return WriteOption{ttl: d, hasTTL: true} }

// Durability lets this commit be acknowledged by another mode than the
// store's: op.ErrInvalidOption where there is no such mode. A commit never gets
// less than those that go to the log with it.
func Durability(d op.Durability) WriteOption { return WriteOption{durability: d} }

// Chunked lets Write carry out a batch that is larger than a commit may be, in
// several commits. It has no effect elsewhere.
func Chunked() WriteOption { return WriteOption{chunked: true} }

func gather(opts []WriteOption) (o WriteOption, err error) {
	for _, next := range opts {
		if next.hasTTL {
			if next.ttl <= 0 {
				return o, op.ErrInvalidTTL
			}
			o.ttl = next.ttl
		}
		o.chunked = o.chunked || next.chunked
		if o.durability, err = o.durability.Choose(next.durability); err != nil {
			return o, err
		}
	}
	return o, nil
}

// ListOption changes what a listing returns.
type ListOption struct {
	reverse bool
	limit   int
	lend    bool
}

// Reverse lists from the last key to the first.
func Reverse() ListOption { return ListOption{reverse: true} }

// Limit ends the listing after n items; n <= 0 means no limit.
func Limit(n int) ListOption { return ListOption{limit: n} }

// Lend hands out keys and values as the store has them, without copies, which
// makes a listing several times faster. They must not be changed. They stay as
// they are for as long as they are held, whatever is written meanwhile, but each
// keeps the memory around it from being freed, up to 64 KiB: clone what is kept.
func Lend() ListOption { return ListOption{lend: true} }
