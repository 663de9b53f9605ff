package ordered

import (
	"bytes"
	"slices"

	"inmem/op"
)

// Diff calls fn for the keys of a range whose item in the View is another than
// in an older or newer one of the same map, until fn returns false: with what old
// has and what v has, nil for nothing. First come those that the trees know, in
// order, and then what either View was put lately. Items are told apart by their
// version and deadline. Neither they nor the key may be changed.
//
// What both Views share is passed over without a look, so that it takes O(what
// was changed between them), and O(n) where they are of two maps. Diff gives up
// after having looked at so many entries, and returns false then; with a negative
// number it never does. r.Reverse has no effect.
func (v *View) Diff(old *View, r Range, most int, fn func(key string, was, is *op.Item) bool) bool {
	if r.Below != "" && r.From >= r.Below {
		return true
	}
	d := differ{was: newCursor(&old.content, r), is: newCursor(&v.content, r), most: most, fn: fn}
	d.lately(&old.content, &v.content, r)
	return d.trees() && (d.stopped || d.late(&old.content, &v.content))
}

// differ is one comparison under way.
type differ struct {
	was, is cursor
	most    int // entries that may still be looked at; negative = no bound
	fn      func(key string, was, is *op.Item) bool
	stopped bool // by fn

	fresh   [][]byte // what either was put lately, in order: the trees do not count …
	changed [][]byte // … and those of it to be looked at

	items [2]op.Item // what fn is given
}

// look reports whether one more entry may be looked at.
func (d *differ) look() bool {
	d.most--
	return d.most != -1
}

// trees compares what the trees have.
func (d *differ) trees() bool {
	for !d.stopped {
		if d.was.skipShared(&d.is) {
			continue
		}
		was, is := d.was.key(), d.is.key()
		if was == nil && is == nil {
			return true
		}
		if !d.look() {
			return false
		}
		order := 0
		switch {
		case is == nil:
			order = -1
		case was == nil:
			order = 1
		default:
			order = bytes.Compare(was, is)
		}
		key := was
		var before, after *op.Item
		if order <= 0 {
			d.items[0] = d.was.item()
			before = &d.items[0]
			d.was.next()
		}
		if order >= 0 {
			d.items[1] = d.is.item()
			key, after = is, &d.items[1]
			d.is.next()
		}
		if same(before, after) {
			continue
		}
		if _, fresh := slices.BinarySearchFunc(d.fresh, key, bytes.Compare); !fresh {
			d.stopped = !d.fn(stringOf(key), before, after)
		}
	}
	return true
}

func same(a, b *op.Item) bool {
	return a != nil && b != nil && a.Version == b.Version && a.Deadline == b.Deadline && len(a.Value) == len(b.Value)
}

// lately gathers the keys that either View was put lately.
func (d *differ) lately(old, now *content, r Range) {
	for _, c := range [2]*content{old, now} {
		for _, ref := range c.between(r) {
			d.fresh = append(d.fresh, c.table.key(ref))
		}
	}
	d.fresh = sorted(d.fresh)
	d.changed = d.fresh
	if old.recent != now.recent || old.root != now.root || len(d.fresh) == 0 {
		return
	}
	// One is the other with some more places.
	d.changed = nil
	later := now
	if old.fresh > now.fresh {
		later = old
	}
	for _, ref := range later.recent.refs[min(old.fresh, now.fresh):later.fresh] {
		key := later.table.key(ref)
		if _, in := slices.BinarySearchFunc(d.fresh, key, bytes.Compare); in {
			d.changed = append(d.changed, key)
		}
	}
	d.changed = sorted(d.changed)
}

func sorted(keys [][]byte) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}

// late compares what was put lately.
func (d *differ) late(old, now *content) bool {
	for _, key := range d.changed {
		if !d.look() {
			return false
		}
		var before, after *op.Item
		var had, has bool
		if d.items[0], had = old.Get(stringOf(key)); had {
			before = &d.items[0]
		}
		if d.items[1], has = now.Get(stringOf(key)); has {
			after = &d.items[1]
		}
		if !had && !has || same(before, after) {
			continue
		}
		if !d.fn(stringOf(key), before, after) {
			break
		}
	}
	return true
}

// cursor is a place in a tree: an entry of a leaf, and the way to it.
type cursor struct {
	table table
	below []byte  // nil = no bound
	way   []level // the leaf's parent first
	leaf  *leaf   // nil = behind the last entry
	i     int
}

// level is an inner node on the way, and which of its children is.
type level struct {
	in *inner
	at int
}

func newCursor(c *content, r Range) cursor {
	x := cursor{table: c.table}
	if r.Below != "" {
		x.below = bytesOf(r.Below)
	}
	if c.root == nil {
		return x
	}
	from := bytesOf(r.From)
	x.way = make([]level, c.height)
	n := c.root
	for h := c.height - 1; h >= 0; h-- {
		in := (*inner)(n)
		at := 0
		if len(from) > 0 {
			at = in.seps.child(from)
		}
		x.way[h] = level{in, at}
		n = in.kids[at]
	}
	x.leaf = (*leaf)(n)
	if len(from) > 0 {
		x.i, _ = x.leaf.search(x.table, from)
	}
	x.settle()
	return x
}

// key returns the entry's key, nil behind the last one of the range.
func (x *cursor) key() []byte {
	if x.leaf == nil {
		return nil
	}
	key := x.leaf.key(x.table, x.i)
	if x.below != nil && bytes.Compare(key, x.below) >= 0 {
		x.leaf = nil
		return nil
	}
	return key
}

func (x *cursor) item() op.Item { return x.table.item(x.leaf.refs[x.i]) }

func (x *cursor) next() {
	x.i++
	x.settle()
}

// settle goes on to the next leaf where this one has ended.
func (x *cursor) settle() {
	for x.leaf != nil && x.i >= int(x.leaf.n) {
		x.leave(0)
	}
}

// leave goes behind the node on the way that has this height.
func (x *cursor) leave(height int) {
	x.leaf = nil
	for h := height; h < len(x.way); h++ {
		l := &x.way[h]
		if l.at++; l.at == l.in.n {
			continue
		}
		n := l.in.kids[l.at]
		for h--; h >= 0; h-- {
			in := (*inner)(n)
			x.way[h] = level{in: in}
			n = in.kids[0]
		}
		x.leaf, x.i = (*leaf)(n), 0
		return
	}
}

// skipShared goes behind the greatest node that both have from this place on, if
// there is one.
func (x *cursor) skipShared(y *cursor) bool {
	if x.leaf == nil || x.leaf != y.leaf || x.i != y.i {
		return false
	}
	h := 0
	for h < len(x.way) && h < len(y.way) && x.way[h] == y.way[h] {
		h++
	}
	x.leave(h)
	y.leave(h)
	x.settle()
	y.settle()
	return true
}
