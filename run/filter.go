package run

import (
	"math"
	"slices"
	"time"
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
