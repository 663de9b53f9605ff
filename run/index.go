package run

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/tidwall/btree"
)

// Filter chooses runs. Every field narrows the choice; its zero value does
// not. A nil Filter is the zero Filter.
type Filter struct {
	Status    []Status          // any of these
	Namespace Namespace         // equal in the parts that are not empty
	Parent    ID                // children of this run
	Tags      map[string]string // all of these, with these values
	Name      string            // exactly this name
	// From and To bound the time of creation: From <= created < To. They must
	// be representable in Unix milliseconds.
	From, To time.Time
	Spaces   bool // choose spaces as well as runs
	// Limit bounds how many runs are wanted; 0 = all. It is for the caller
	// that merges the runs of several indexes: Match and Scan ignore it.
	Limit   int
	Reverse bool // the newest first
}

// Match reports whether the filter chooses i.
func (f *Filter) Match(i *Info) bool {
	first, last := f.span()
	return i.Created >= first && i.Created <= last && f.matchRest(i)
}

// span returns the first and the last Created (Unix ms) that the filter lets
// through. Where first > last there is none.
func (f *Filter) span() (first, last int64) {
	first, last = math.MinInt64, math.MaxInt64
	if f == nil {
		return first, last
	}
	if !f.From.IsZero() {
		first = ceilMilli(f.From)
	}
	if !f.To.IsZero() {
		last = ceilMilli(f.To) - 1
	}
	return first, last
}

// ceilMilli returns the first whole Unix millisecond not before t: runs are
// created in whole milliseconds, so it bounds them exactly as t does.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}

// matchRest is Match but for the time of creation.
func (f *Filter) matchRest(i *Info) bool {
	if f == nil {
		return !i.Space
	}
	return (f.Spaces || !i.Space) &&
		(len(f.Status) == 0 || slices.Contains(f.Status, i.Status)) &&
		matchText(f.Namespace.Tenant, i.Namespace.Tenant) &&
		matchText(f.Namespace.App, i.Namespace.App) &&
		matchText(f.Namespace.Agent, i.Namespace.Agent) &&
		(f.Parent.IsZero() || f.Parent == i.Parent) &&
		matchText(f.Name, i.Name) &&
		f.matchTags(i.Tags)
}

func matchText(want, have string) bool { return want == "" || want == have }

func (f *Filter) matchTags(have map[string]string) bool {
	for k, want := range f.Tags {
		if v, ok := have[k]; !ok || v != want {
			return false
		}
	}
	return true
}

// Before reports whether a comes before b in the order of creation: by
// Created, then by ID.
func Before(a, b *Info) bool {
	return cmp.Or(cmp.Compare(a.Created, b.Created), a.ID.Compare(b.ID)) < 0
}

// Index holds runs in the order of Before. The zero Index is empty and ready.
// One goroutine owns it; see Snapshot for others. An Info that is in an index
// must not be changed: put a changed Clone in its place.
type Index struct {
	m btree.Map[string, *Info] // by indexKey
}

// indexKey returns the key of a run: 24 bytes that order as Before does.
func indexKey(created int64, id ID) string {
	var b [8 + len(id)]byte
	// The sign bit is turned over so that negative times sort before others.
	binary.BigEndian.PutUint64(b[:8], uint64(created)^1<<63)
	copy(b[8:], id[:])
	return string(b[:])
}

// Put adds i, or replaces the info of the same run, which has the same Created.
func (x *Index) Put(i *Info) { x.m.Set(indexKey(i.Created, i.ID), i) }

// Remove takes the run of i out, if it is there.
func (x *Index) Remove(i *Info) { x.m.Delete(indexKey(i.Created, i.ID)) }

// Len returns how many runs the index holds, spaces included.
func (x *Index) Len() int { return x.m.Len() }

// Snapshot returns the index as it is now, in O(1). Only the owner may call
// it. Any number of goroutines may read the snapshot while the owner goes on;
// later changes do not show in it.
func (x *Index) Snapshot() *Index { return &Index{m: *x.m.Copy()} }

// Scan calls fn with the runs that f chooses, in the order of Before, or in
// its reverse where f says so, until fn returns false. From and To are sought,
// not filtered; Limit is ignored. fn must not change the index.
func (x *Index) Scan(f *Filter, fn func(*Info) bool) {
	first, last := f.span()
	visit := func(_ string, i *Info) bool {
		if i.Created < first || i.Created > last {
			return false // beyond the far end
		}
		return !f.matchRest(i) || fn(i)
	}
	if f != nil && f.Reverse {
		x.m.Descend(indexKey(last, maxID), visit)
	} else {
		x.m.Ascend(indexKey(first, ID{}), visit)
	}
}

// maxID is the last of all IDs.
var maxID = ID{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}
