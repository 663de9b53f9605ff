package ordered

import (
	"bytes"
	"slices"
	"sync"

	"inmem/op"
)

// Entry is a key and its item.
type Entry struct {
	Key string
	op.Item
}

// Ascend calls fn for the keys from the given one on, in ascending order, until
// fn returns false. fn must not change the map.
func (c *content) Ascend(from string, fn func(key string, it op.Item) bool) {
	c.Scan(Range{From: from}, each(fn))
}

// Descend calls fn for the keys below the given one, in descending order, until
// fn returns false. An empty bound means: from the last key. fn must not change
// the map.
func (c *content) Descend(below string, fn func(key string, it op.Item) bool) {
	c.Scan(Range{Below: below, Reverse: true}, each(fn))
}

func each(fn func(key string, it op.Item) bool) func([]Entry) bool {
	return func(block []Entry) bool {
		for i := range block {
			if !fn(block[i].Key, block[i].Item) {
				return false
			}
		}
		return true
	}
}

// Range is the keys From <= key < Below. An empty Below is no bound.
type Range struct {
	From, Below string
	Reverse     bool // in descending order
}

// Scan calls fn for the keys of a range, in order, some neighbours at a time,
// until fn returns false. The block is fn's until it returns; fn must not change
// the map.
//
// Blocks are why a scan is fast: the sizes of a block's records are read one
// right after the other, and none waits for another, so that the memory serves
// many at once. They grow, for who looks for one key wants no other.
func (c *content) Scan(r Range, fn func(block []Entry) bool) {
	s := scanners.Get().(*scanner)
	s.table, s.reverse, s.fn, s.size = c.table, r.Reverse, fn, minBlock
	s.fresh = c.between(r)
	from, below := bytesOf(r.From), bytesOf(r.Below)
	if r.Below == "" || r.From < r.Below {
		_ = (c.root == nil || s.node(c.root, c.height, from, below)) && s.emit(s.fresh)
	}
	s.release()
}

// between returns what was put lately in a range.
func (c *content) between(r Range) []ref {
	list := c.newest()
	if len(list) == 0 {
		return nil
	}
	at := func(key string) int {
		i, _ := slices.BinarySearchFunc(list, bytesOf(key), func(r ref, key []byte) int {
			return bytes.Compare(c.table.key(r), key)
		})
		return i
	}
	end := len(list)
	if r.Below != "" {
		end = at(r.Below)
	}
	return list[min(at(r.From), end):end]
}

// Sizes of the blocks of a scan.
const (
	minBlock = 4
	maxBlock = 32
)

// scanner is one scan under way.
type scanner struct {
	table   table
	reverse bool
	fn      func([]Entry) bool
	fresh   []ref // what was put lately and is still to come
	size    int   // of the next block
	filled  int   // entries of it that were in use

	merged [fanout + maxRecent]ref // of a leaf, with what was put lately
	sizes  [maxBlock]sizes
	block  [maxBlock]Entry
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// release forgets what the scan referred to, lest it be kept from the collector.
func (s *scanner) release() {
	clear(s.block[:s.filled])
	s.table, s.fn, s.fresh, s.filled = nil, nil, nil, 0
	scanners.Put(s)
}

// node visits the keys of a node between two bounds; an empty one is none.
func (s *scanner) node(n node, height int, from, below []byte) bool {
	if height == 0 {
		return s.leaf((*leaf)(n), from, below)
	}
	in := (*inner)(n)
	first, last := 0, in.n-1
	if len(from) > 0 {
		first = in.seps.child(from)
	}
	if len(below) > 0 {
		last = in.seps.child(below)
	}
	at, step, end := first, 1, last
	if s.reverse {
		at, step, end = last, -1, first
	}
	for {
		var lower, upper []byte // those between the first and the last child lie within
		if at == first {
			lower = from
		}
		if at == last {
			upper = below
		}
		if !s.node(in.kids[at], height-1, lower, upper) {
			return false
		}
		if at == end {
			return true
		}
		at += step
	}
}

// leaf visits the keys of a leaf between two bounds, together with what was put
// lately among them.
func (s *scanner) leaf(l *leaf, from, below []byte) bool {
	first, end := 0, int(l.n)
	if len(from) > 0 {
		first, _ = l.search(s.table, from)
	}
	if len(below) > 0 {
		end, _ = l.search(s.table, below)
	}
	if len(s.fresh) == 0 {
		return s.emit(l.refs[first:end])
	}
	return s.emit(s.merge(l, first, end))
}

// merge returns the references of a leaf's entries, with those of what was put
// lately among them or instead of them. What lies behind all its keys is left
// for the next leaf, for it may belong there; in descending order what lies
// before them is.
func (s *scanner) merge(l *leaf, first, end int) []ref {
	own, places := s.fresh, [maxRecent]place{}
	if s.reverse {
		at := len(s.fresh)
		for at > 0 && places[at-1].find(l, s.table, own[at-1]).within(1, int(l.n)) {
			at--
		}
		own, s.fresh = s.fresh[at:], s.fresh[:at]
		copy(places[:], places[at:])
	} else {
		at := 0
		for at < len(own) && places[at].find(l, s.table, own[at]).within(0, int(l.n)-1) {
			at++
		}
		own, s.fresh = s.fresh[:at], s.fresh[at:]
	}
	if len(own) == 0 {
		return l.refs[first:end]
	}
	merged := s.merged[:0]
	for i, r := range own {
		p := places[i]
		merged = append(append(merged, l.refs[first:p.at]...), r)
		if first = int(p.at); p.found {
			first++
		}
	}
	return append(merged, l.refs[first:end]...)
}

// place is where a key is in a leaf, or would be.
type place struct {
	at    uint8
	found bool
}

func (p *place) find(l *leaf, t table, r ref) *place {
	at, found := l.search(t, t.key(r))
	p.at, p.found = uint8(at), found
	return p
}

func (p *place) within(first, last int) bool {
	return p.found || first <= int(p.at) && int(p.at) <= last
}

// emit hands out the records of some references, which are in ascending order.
func (s *scanner) emit(refs []ref) bool {
	for len(refs) > 0 {
		n := min(s.size, len(refs))
		part := refs[:n]
		if s.reverse {
			part, refs = refs[len(refs)-n:], refs[:len(refs)-n]
		} else {
			refs = refs[n:]
		}
		block := s.block[:n]
		s.filled = max(s.filled, n)
		for i, r := range part {
			s.sizes[i] = s.table.sizes(r)
		}
		for i, r := range part {
			e := &block[i]
			if s.reverse {
				e = &block[n-1-i]
			}
			s.table.read(r, s.sizes[i], e)
		}
		if !s.fn(block) {
			return false
		}
		s.size = min(2*s.size, maxBlock)
	}
	return true
}
