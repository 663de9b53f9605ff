package shard

import (
	"iter"
	"sync/atomic"
	"unsafe"

	"inmem/op"
	"inmem/ordered"
	"inmem/run"
)

// Handle is where a run's newest published snapshot is found. There is at most one
// for each run of the store, and it stays the same while the run lives.
type Handle struct {
	ID       run.ID
	roll     *roll
	snapshot atomic.Pointer[Snapshot] // or atRest; the owner's to change
	told     atomic.Bool              // ttl knows the deadlines of the run's keys one by one
	used     atomic.Uint32            // the epoch of Memory in which it was used last
	pins     atomic.Int32             // of those who want it to stay in memory
	bells    bells                    // of those who watch the run
}

// Head returns what is known of the run's newest published version whether the
// run is in memory or not; nil once the run is deleted.
func (h *Handle) Head() *Head {
	snap := h.newest()
	if snap == nil {
		return nil
	}
	return &snap.Head
}

// Kept reports whether the run's keys are in memory. Where they left it, or the run
// was deleted, Config.Left or Config.Forget is called after Kept has become false.
func (h *Handle) Kept() bool {
	snap := h.snapshot.Load()
	return snap != nil && snap != atRest
}

// Snapshot is a run at one version, in memory. It never changes.
type Snapshot struct {
	keys ordered.View // first, where a reader comes by anyway
	cold *cold        // of what only Head is shown of: the keys are on disk
	Head
}

// Head is what is known of a run at one version without its keys.
type Head struct {
	ID        run.ID
	Version   uint64
	Time      int64     // of the commit that made the version, Unix milliseconds
	Info      *run.Info // without LastVersion; not to be changed
	FirstSeq  uint64    // where the run's history begins in the log …
	LastSeq   uint64    // … and where this version was logged
	Deadlines int       // keys that have one
	bytes     int64     // of memory
}

// Get returns an item, past its deadline or not. Its value must not be changed.
func (s *Snapshot) Get(tag op.Tag, key string) (op.Item, bool) {
	// Most keys fit the stack; looking one up allocates nothing then.
	var space [128]byte
	b := append(append(space[:0], byte(tag)), key...)
	return s.keys.Get(unsafe.String(unsafe.SliceData(b), len(b)))
}

// Len returns how many keys the run has, of all tags.
func (s *Snapshot) Len() int {
	counts := s.Counts()
	return counts.Total()
}

// Counts returns how many keys the run has, by tag, those past their deadline
// included.
func (s *Snapshot) Counts() ordered.Counts {
	if s.cold != nil {
		return s.cold.counts
	}
	return s.keys.Counts()
}

// Counts returns how many keys the run has now, by tag, those past their
// deadline included, and false once it is deleted. It loads nothing.
func (h *Handle) Counts() (ordered.Counts, bool) {
	snap := h.newest()
	if snap == nil {
		return ordered.Counts{}, false
	}
	return snap.Counts(), true
}

// All returns every key, with its tag, and item, in order. Neither may be changed.
func (s *Snapshot) All() iter.Seq2[string, op.Item] {
	return func(yield func(string, op.Item) bool) { s.keys.Ascend("", yield) }
}

// bounds returns where the keys of a range lie in a run's map.
func bounds(tag op.Tag, from, to string) (first, below string) {
	if to == "" {
		return op.MapKey(tag, from), op.MapKey(tag+1, "")
	}
	return op.MapKey(tag, from), op.MapKey(tag, to)
}

// Scan calls fn for the live items of a tag in the range, judging deadlines by
// now, until it returns false.
func (s *Snapshot) Scan(tag op.Tag, r op.Range, now int64, fn func(key string, it op.Item) bool) {
	from, below := bounds(tag, r.From, r.To)
	left := r.Limit
	s.keys.Scan(ordered.Range{From: from, Below: below, Reverse: r.Reverse}, func(block []ordered.Entry) bool {
		for i := range block {
			e := &block[i]
			if e.Expired(now) {
				continue
			}
			if !fn(e.Key[1:], e.Item) {
				return false
			}
			if left--; left == 0 {
				return false
			}
		}
		return true
	})
}

// Diff calls fn for the keys of a range that old, of the same run, does not have
// as this snapshot has them, until fn returns false: see ordered.View.Diff.
func (s *Snapshot) Diff(old *Snapshot, tag op.Tag, r op.Range, most int, fn func(key string, was, is *op.Item) bool) bool {
	from, below := bounds(tag, r.From, r.To)
	return s.keys.Diff(&old.keys, ordered.Range{From: from, Below: below}, most, func(key string, was, is *op.Item) bool {
		return fn(key[1:], was, is)
	})
}

// Digest returns the fingerprint of the snapshot, in O(run).
func (s *Snapshot) Digest() op.Digest {
	var d op.Digester
	for key, it := range s.All() {
		d.Add(key, it)
	}
	return d.Sum(s.Version)
}
