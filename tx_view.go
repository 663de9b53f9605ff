package inmem

import (
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"inmem/op"
)

// readSet is what a transaction has read and not written itself before.
type readSet struct {
	keys   []op.Key
	known  map[op.Key]struct{} // the keys, once there are many
	ranges []op.KeyRange
}

// fewKeys is how many keys are looked through one by one.
const fewKeys = 16

func (s *readSet) key(tag op.Tag, key string) {
	k := op.Key{Tag: tag, Key: key}
	if s.known == nil {
		if slices.Contains(s.keys, k) {
			return
		}
		if len(s.keys) == fewKeys {
			s.known = make(map[op.Key]struct{}, 2*fewKeys)
			for _, old := range s.keys {
				s.known[old] = struct{}{}
			}
		}
	}
	if s.known != nil {
		if _, ok := s.known[k]; ok {
			return
		}
		s.known[k] = struct{}{}
	}
	s.keys = append(s.keys, k)
}

// basis returns what was read, as a request carries it.
func (s *readSet) basis(v view) *op.Basis {
	if len(s.keys) == 0 && len(s.ranges) == 0 {
		return nil
	}
	both := &struct { // one allocation
		op.Basis
		view
	}{op.Basis{Keys: s.keys, Ranges: s.ranges}, v}
	both.Basis.View = &both.view
	return &both.Basis
}

// txView is what a transaction saw when View was called: the run's snapshot
// under its writes so far. What is read through it the transaction has read.
type txView struct {
	tx     *Tx
	base   view
	writes *btree.Map[string, op.Write] // nil = none
}

func (v *txView) Version() uint64 { return v.base.Version() }

func (v *txView) Get(tag op.Tag, key string) (op.Item, bool) {
	if v.writes != nil {
		if w, ok := v.writes.Get(op.MapKey(tag, key)); ok {
			return pending(&w, v.base.now)
		}
	}
	v.read(func(s *readSet) { s.key(tag, key) })
	return v.base.Get(tag, key)
}

// read records what was read, unless the transaction has ended, or has no
// commit that it could be held against.
func (v *txView) read(record func(*readSet)) {
	if v.tx.readOnly {
		return
	}
	v.tx.mu.Lock()
	defer v.tx.mu.Unlock()
	if v.tx.err == nil {
		record(&v.tx.reads)
	}
}

// Scan merges the snapshot with the writes. What was read is the range up to
// the last item that fn saw: beyond it others may write without a conflict.
func (v *txView) Scan(tag op.Tag, r op.Range, fn func(key string, it op.Item) bool) {
	m := merge{fn: fn, now: v.base.now, left: r.Limit, reverse: r.Reverse, own: v.own(tag, r)}
	snapshot := r
	snapshot.Limit = 0
	v.base.Scan(tag, snapshot, func(key string, it op.Item) bool {
		return m.before(key) && (m.replaced(key) || m.give(key, it))
	})
	if !m.stopped {
		m.rest()
	}
	seen := op.KeyRange{Tag: tag, From: r.From, To: r.To}
	switch {
	case m.stopped && r.Reverse:
		seen.From = strings.Clone(m.last)
	case m.stopped:
		seen.To = m.last + "\x00"
	}
	v.read(func(s *readSet) { s.ranges = append(s.ranges, seen) })
}

// Under implements op.Overlay.
func (v *txView) Under(tag op.Tag, r op.Range, fn func(key string, is *op.Item)) op.Snapshot {
	r.Reverse = false
	for own := v.own(tag, r); own.left; own.advance() {
		if it, exists := pending(&own.next, v.base.now); exists {
			fn(own.next.Key, &it)
		} else {
			fn(own.next.Key, nil)
		}
	}
	v.read(func(s *readSet) { s.ranges = append(s.ranges, op.KeyRange{Tag: tag, From: r.From, To: r.To}) })
	return &v.base
}

// own returns the transaction's writes in a range, in the order of the scan. It
// takes what is asked for and no more: a face that looks for its last key does
// not go through all that was written before.
func (v *txView) own(tag op.Tag, r op.Range) (o ownWrites) {
	if v.writes == nil {
		return o
	}
	o = ownWrites{it: v.writes.Iter(), tag: tag, span: r}
	if !r.Reverse {
		o.left = o.it.Seek(op.MapKey(tag, r.From))
	} else {
		end := op.MapKey(tag, r.To)
		if r.To == "" {
			end = op.MapKey(tag+1, "")
		}
		if o.it.Seek(end) {
			o.left = o.it.Prev()
		} else {
			o.left = o.it.Last()
		}
	}
	o.load()
	return o
}

// ownWrites is a transaction's writes in a range that were not handed out yet.
type ownWrites struct {
	it   btree.MapIter[string, op.Write]
	tag  op.Tag
	span op.Range
	left bool     // there is a next one …
	next op.Write // … and this is it
}

// load looks whether the iterator is still in the range.
func (o *ownWrites) load() {
	if o.left {
		o.next = o.it.Value()
		o.left = o.next.Tag == o.tag && o.next.Key >= o.span.From && (o.span.To == "" || o.next.Key < o.span.To)
	}
}

func (o *ownWrites) advance() {
	if o.span.Reverse {
		o.left = o.it.Prev()
	} else {
		o.left = o.it.Next()
	}
	o.load()
}

// merge hands the items of a snapshot and a transaction's own writes to fn, in
// order.
type merge struct {
	fn      func(key string, it op.Item) bool
	now     int64
	left    int // of the limit; counting below 0 = no limit
	reverse bool
	own     ownWrites
	stopped bool
	last    string // handed out last
}

// give hands one item to fn and reports whether to go on.
func (m *merge) give(key string, it op.Item) bool {
	m.last = key
	m.left--
	m.stopped = !m.fn(key, it) || m.left == 0
	return !m.stopped
}

// before hands out the own writes that come before key.
func (m *merge) before(key string) bool {
	for m.own.left && (m.own.next.Key < key) != m.reverse && m.own.next.Key != key {
		if !m.next() {
			return false
		}
	}
	return true
}

// replaced reports whether the transaction has written key itself: then its
// own comes next.
func (m *merge) replaced(key string) bool { return m.own.left && m.own.next.Key == key }

func (m *merge) rest() {
	for m.own.left && m.next() {
	}
}

// next hands out the next own write; a delete is nothing to hand out.
func (m *merge) next() bool {
	w := m.own.next
	m.own.advance()
	it, exists := pending(&w, m.now)
	return !exists || m.give(w.Key, it)
}
