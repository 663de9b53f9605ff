package run

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/tidwall/btree"
)

// Before reports whether a comes before b in the order of creation: by
// Created, then by ID.
func Before(a, b *Info) bool { return compare(a, b) < 0 }

func compare(a, b *Info) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), a.ID.Compare(b.ID))
}

// Index holds runs in the order of Before, and under each of their terms: what
// a Filter can ask for. The zero Index is empty and ready. One goroutine owns
// it; see Snapshot for others. An Info that is in an index must not be changed:
// put a changed Clone in its place.
type Index struct {
	runs   *btree.BTreeG[posting] // of the term 0, which all have
	terms  *btree.BTreeG[posting]
	counts *btree.Map[uint64, int] // postings of each term
}

// posting says that a run has a term. It is small, because a run has several.
type posting struct {
	term uint64
	info *Info
}

func lessPosting(a, b posting) bool {
	if a.term != b.term {
		return a.term < b.term
	}
	return compare(a.info, b.info) < 0
}

// A term is the hash of a property of runs. Two properties with the same hash
// share their postings, which does no harm: each run is held against the whole
// filter.
func term(kind byte, parts ...string) uint64 {
	var b []byte
	b = append(b, kind)
	for _, p := range parts {
		b = append(append(b, byte(len(p)), byte(len(p)>>8)), p...) // so that parts do not run together
	}
	return xxhash.Sum64(b)
}

// The kinds of term.
const (
	byStatus byte = iota + 1
	byTenant
	byApp
	byAgent
	byName
	byParent
	byTag
)

func statusTerm(s Status) uint64 { return term(byStatus, string([]byte{byte(s)})) }

// textTerms returns the terms of those that are not empty.
func textTerms(ns Namespace, name string) (list []uint64) {
	for kind, text := range [...]string{byTenant: ns.Tenant, byApp: ns.App, byAgent: ns.Agent, byName: name} {
		if text != "" {
			list = append(list, term(byte(kind), text))
		}
	}
	return list
}

// terms returns what the run can be found by.
func (i *Info) terms() []uint64 {
	list := make([]uint64, 0, 6+len(i.Tags))
	list = append(list, statusTerm(i.Status))
	list = append(list, textTerms(i.Namespace, i.Name)...)
	if !i.Parent.IsZero() {
		list = append(list, term(byParent, string(i.Parent[:])))
	}
	for k, v := range i.Tags {
		list = append(list, term(byTag, k, v))
	}
	return list
}

// alternatives returns sets of terms: of each set every chosen run has one.
func (f *Filter) alternatives() (sets [][]uint64) {
	if f == nil {
		return nil
	}
	one := func(t uint64) { sets = append(sets, []uint64{t}) }
	for _, t := range textTerms(f.Namespace, f.Name) {
		one(t)
	}
	if !f.Parent.IsZero() {
		one(term(byParent, string(f.Parent[:])))
	}
	for k, v := range f.Tags {
		one(term(byTag, k, v))
	}
	if len(f.Status) > 0 {
		var any []uint64
		for _, s := range f.Status {
			any = append(any, statusTerm(s))
		}
		slices.Sort(any)
		sets = append(sets, slices.Compact(any))
	}
	return sets
}

// init makes the zero Index ready.
func (x *Index) init() {
	if x.runs == nil {
		opts := btree.Options{NoLocks: true}
		x.runs = btree.NewBTreeGOptions(lessPosting, opts)
		x.terms = btree.NewBTreeGOptions(lessPosting, opts)
		x.counts = &btree.Map[uint64, int]{}
	}
}

// Put adds i, or replaces the info of the same run, which has the same Created.
func (x *Index) Put(i *Info) {
	x.init()
	old, replaced := x.runs.Set(posting{info: i})
	if replaced {
		x.forget(old.info)
	}
	for _, t := range i.terms() {
		x.terms.Set(posting{t, i})
		n, _ := x.counts.Get(t)
		x.counts.Set(t, n+1)
	}
}

// Load is Put of many runs, which are not in the index yet. Into an empty one it
// is several times as fast.
func (x *Index) Load(list []*Info) {
	x.init()
	if x.runs.Len() > 0 {
		for _, i := range list {
			x.Put(i)
		}
		return
	}
	list = slices.Clone(list)
	slices.SortFunc(list, compare)
	// Sorted without looking at the infos again: by term, then in their order.
	type place struct {
		term uint64
		n    int32
	}
	terms := make([]place, 0, 6*len(list))
	for n, i := range list {
		x.runs.Load(posting{info: i})
		for _, t := range i.terms() {
			terms = append(terms, place{t, int32(n)})
		}
	}
	slices.SortFunc(terms, func(a, b place) int { return cmp.Or(cmp.Compare(a.term, b.term), cmp.Compare(a.n, b.n)) })
	for _, p := range terms {
		x.terms.Load(posting{p.term, list[p.n]})
	}
	for from := 0; from < len(terms); {
		to := from + 1
		for to < len(terms) && terms[to].term == terms[from].term {
			to++
		}
		x.counts.Set(terms[from].term, to-from)
		from = to
	}
}

// Remove takes the run of i out, if it is there.
func (x *Index) Remove(i *Info) {
	x.init()
	if old, ok := x.runs.Delete(posting{info: i}); ok {
		x.forget(old.info)
	}
}

// forget removes the postings of an info.
func (x *Index) forget(i *Info) {
	for _, t := range i.terms() {
		x.terms.Delete(posting{t, i})
		if n, _ := x.counts.Get(t); n > 1 {
			x.counts.Set(t, n-1)
		} else {
			x.counts.Delete(t)
		}
	}
}

// Len returns how many runs the index holds, spaces included.
func (x *Index) Len() int {
	if x.runs == nil {
		return 0
	}
	return x.runs.Len()
}

// Snapshot returns the index as it is now, in O(1). Only the owner may call
// it. Any number of goroutines may read the snapshot while the owner goes on;
// later changes do not show in it.
func (x *Index) Snapshot() *Index {
	x.init()
	return &Index{runs: x.runs.Copy(), terms: x.terms.Copy(), counts: x.counts.Copy()}
}

// Scan calls fn with the runs that f chooses, in the order of Before, or in
// its reverse where f says so, until fn returns false. It goes through the runs
// with the rarest of the properties that f asks for, and of them only those
// between From and To. Limit is ignored. fn must not change the index.
func (x *Index) Scan(f *Filter, fn func(*Info) bool) {
	if x.runs == nil {
		return
	}
	tree, terms, fewest := x.runs, []uint64{0}, x.runs.Len()
	for _, set := range f.alternatives() {
		n := 0
		for _, t := range set {
			has, _ := x.counts.Get(t)
			n += has
		}
		if n < fewest {
			tree, terms, fewest = x.terms, set, n
		}
	}
	scanTerms(tree, terms, f, func(i *Info) bool { return !f.matchRest(i) || fn(i) })
}

// scanTerms calls fn with the runs under any of the terms, in the order that f
// asks for, within its time.
func scanTerms(tree *btree.BTreeG[posting], terms []uint64, f *Filter, fn func(*Info) bool) {
	first, last := f.span()
	reverse := f != nil && f.Reverse
	var lists []*list
	for _, t := range terms {
		l := &list{it: tree.Iter(), term: t, first: first, last: last, reverse: reverse}
		defer l.it.Release()
		if l.seek() {
			lists = append(lists, l)
		}
	}
	for len(lists) > 0 {
		next := 0
		for i, l := range lists {
			if i > 0 && (compare(l.info(), lists[next].info()) < 0) != reverse {
				next = i
			}
		}
		if !fn(lists[next].info()) {
			return
		}
		if !lists[next].advance() {
			lists = slices.Delete(lists, next, next+1)
		}
	}
}

// list is the runs under one term, on the way through them.
type list struct {
	it          btree.IterG[posting]
	term        uint64
	first, last int64
	reverse     bool
}

func (l *list) info() *Info { return l.it.Item().info }

// within reports whether the iterator is still among the term's runs in time.
func (l *list) within() bool {
	p := l.it.Item()
	return p.term == l.term && p.info.Created >= l.first && p.info.Created <= l.last
}

func (l *list) seek() bool {
	if !l.reverse {
		return l.it.Seek(posting{l.term, &Info{Created: l.first}}) && l.within()
	}
	// The last one not behind the pivot: the one before the first that is.
	found := l.it.Seek(posting{l.term, &Info{Meta: Meta{ID: maxID}, Created: l.last}})
	switch {
	case !found:
		found = l.it.Last()
	case l.it.Item().term != l.term || l.it.Item().info.Created > l.last:
		found = l.it.Prev()
	}
	return found && l.within()
}

func (l *list) advance() bool {
	if l.reverse {
		return l.it.Prev() && l.within()
	}
	return l.it.Next() && l.within()
}

// maxID is the last of all IDs.
var maxID = ID{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}
