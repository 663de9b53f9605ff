package op

import (
	"context"
	"iter"
)

// Range selects keys of one tag: From <= key < To, in byte order. An empty To
// has no upper bound. Reverse walks from the end. Limit 0 means no limit.
type Range struct {
	From, To string
	Reverse  bool
	Limit    int
}

// Prefix returns the range of all keys that begin with p.
func Prefix(p string) Range { return Range{From: p, To: prefixEnd(p)} }

// prefixEnd returns the smallest string greater than every string with prefix
// p, or "" where there is none (p is empty or all 0xFF).
func prefixEnd(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xFF {
			return p[:i] + string([]byte{p[i] + 1})
		}
	}
	return ""
}

// View is an immutable state of a run: one version, whole. Values it hands out
// belong to the store and must not be changed.
type View interface {
	// Version is the run's version this view shows.
	Version() uint64
	// Get returns a live item: one that exists and is not past its deadline.
	Get(tag Tag, key string) (Item, bool)
	// Scan calls fn for each live item in the range, in order, until it returns false.
	Scan(tag Tag, r Range, fn func(key string, it Item) bool)
}

// Snapshot is a View that can tell what was changed between it and another one
// of the same run.
type Snapshot interface {
	View
	// Diff calls fn for each key of a range, deadlines passed or not, that is
	// another here than in old, with what old and this view have, nil for nothing,
	// until fn returns false. Limit and Reverse have no effect. It takes O(changes)
	// where the two lie close together, and returns false, perhaps after some calls
	// of fn, where it would have had to look at more than most items, or old is of
	// another run; a negative most is no bound.
	Diff(old Snapshot, tag Tag, r Range, most int, fn func(key string, was, is *Item) bool) bool
}

// Overlay is a View of a transaction: a snapshot under writes of its own.
type Overlay interface {
	View
	// Under returns the snapshot, and calls fn for each own write in the range, in
	// order, with nil for a delete. All of the range counts as read.
	Under(tag Tag, r Range, fn func(key string, is *Item)) Snapshot
}

// Run is what a face stands on: something that can be read at one version and
// changed atomically. A run and a transaction both are one.
type Run interface {
	// Get returns a live item, or ErrNotFound. It is View and View.Get in one,
	// for the path on which every nanosecond counts.
	Get(tag Tag, key string) (Item, error)
	// View returns the state to read from.
	View() (View, error)
	// Commit carries the request out, as one commit. When it returns, the
	// request and all it refers to are the caller's again.
	Commit(ctx context.Context, req *Request) (Result, error)
	// Limits returns the sizes the store accepts.
	Limits() Limits
	// Now returns the store's clock, Unix milliseconds. It never runs backwards.
	Now() int64
	// History returns the run's commits with from <= version, in order, as far
	// as what is read here goes. The loop ends after an error.
	History(ctx context.Context, from uint64) iter.Seq2[*Commit, error]
}
