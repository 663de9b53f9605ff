package ordered

import (
	"slices"
	"unsafe"
)

// node is a *leaf at height 0 and an *inner above. The height is known wherever
// a node is, because all leaves are at one depth.
type node unsafe.Pointer

// tree is what a Map and its Views have in common.
type tree struct {
	root   node // nil if there are no keys
	height int
	table  table
	counts Counts
}

// leafOf returns the leaf where a key belongs; the tree is not empty.
func (t *tree) leafOf(key []byte) *leaf {
	n := t.root
	for range t.height {
		in := (*inner)(n)
		n = in.kids[in.seps.child(key)]
	}
	return (*leaf)(n)
}

func (t *tree) find(key []byte) (ref, bool) {
	if t.root == nil {
		return 0, false
	}
	l := t.leafOf(key)
	if i, ok := l.find(t.table, key); ok {
		return l.refs[i], true
	}
	return 0, false
}

// insertion is a key on its way into the tree and what came of it.
type insertion struct {
	key []byte
	ref ref

	old     ref // what was there
	existed bool

	// A node that was split leaves its new right neighbour to its parent.
	right node
	sep   []byte
}

// insert makes the tree refer to a record.
func (m *Map) insert(x *insertion) {
	if m.root == nil {
		m.root = node(m.newLeaf())
	}
	m.insertAt(&m.root, m.height, x)
	if x.right == nil {
		return
	}
	root := m.newInner()
	root.n = 2
	root.kids[0], root.kids[1] = m.root, x.right
	root.seps = newSeparators([][]byte{x.sep})
	m.nodes += root.seps.bytes()
	m.root = node(root)
	m.height++
}

func (m *Map) insertAt(at *node, height int, x *insertion) {
	if height == 0 {
		m.insertLeaf(at, x)
		return
	}
	in := m.ownInner(at)
	i := in.seps.child(x.key)
	m.insertAt(&in.kids[i], height-1, x)
	if x.right != nil {
		m.insertKid(in, i, x)
	}
}

func (m *Map) insertLeaf(at *node, x *insertion) {
	i, found := (*leaf)(*at).search(m.table, x.key)
	l := m.ownLeaf(at)
	if found {
		x.old, x.existed = l.refs[i], true
		l.refs[i] = x.ref
		return
	}
	if l.n < fanout {
		l.insert(m.table, i, x.key, x.ref)
		return
	}
	right := m.newLeaf()
	l.split(m.table, i, right)
	if n := int(l.n); i < n || i == n && right.n > 0 {
		l.insert(m.table, i, x.key, x.ref)
	} else {
		right.insert(m.table, i-n, x.key, x.ref)
	}
	last, first := l.key(m.table, int(l.n)-1), right.key(m.table, 0)
	x.right, x.sep = node(right), first[:common(last, first)+1]
}

// insertKid puts the right half of child i behind it, splitting the node if it
// is full.
func (m *Map) insertKid(in *inner, i int, x *insertion) {
	m.nodes -= in.seps.bytes()
	kid, sep := x.right, x.sep
	x.right, x.sep = nil, nil
	switch {
	case in.n < innerCap:
		in.insert(i, sep, kid)
	case i == in.n-1: // ascending order leaves full nodes behind
		right := m.newInner()
		right.n, right.kids[0] = 1, kid
		right.seps = newSeparators(nil)
		x.right, x.sep = node(right), sep
	default:
		right := m.newInner()
		x.right, x.sep = node(right), in.split(innerCap/2, right)
		if i < in.n {
			in.insert(i, sep, kid)
		} else {
			right.insert(i-in.n, sep, kid)
		}
	}
	m.nodes += in.seps.bytes()
	if x.right != nil {
		m.nodes += (*inner)(x.right).seps.bytes()
	}
}

// remove takes a key that is there out of the tree and returns its reference.
func (m *Map) remove(key []byte) ref {
	old := m.removeAt(&m.root, m.height, key)
	for m.height > 0 && (*inner)(m.root).n == 1 {
		root := (*inner)(m.root)
		m.root = root.kids[0]
		m.height--
		m.nodes -= innerBytes + root.seps.bytes()
	}
	return old
}

func (m *Map) removeAt(at *node, height int, key []byte) ref {
	if height == 0 {
		l := m.ownLeaf(at)
		i, _ := l.search(m.table, key)
		old := l.refs[i]
		l.remove(i)
		return old
	}
	in := m.ownInner(at)
	i := in.seps.child(key)
	old := m.removeAt(&in.kids[i], height-1, key)
	m.mend(in, i, height-1)
	return old
}

// mend removes child i if it is empty, or merges it with a neighbour if it is
// small and both together leave room. height is the child's.
func (m *Map) mend(in *inner, i, height int) {
	limit := fanout
	if height > 0 {
		limit = innerCap
	}
	n := size(in.kids[i], height)
	if n > limit/4 {
		return
	}
	if n == 0 {
		m.removeKid(in, i, height)
		return
	}
	for _, left := range [2]int{i - 1, i} {
		if left < 0 || left+1 >= in.n {
			continue
		}
		if size(in.kids[left], height)+size(in.kids[left+1], height) <= limit*3/4 {
			m.mergeKids(in, left, height)
			return
		}
	}
}

// size returns how many entries or children a node has.
func size(n node, height int) int {
	if height == 0 {
		return int((*leaf)(n).n)
	}
	return (*inner)(n).n
}

// mergeKids puts all of child i+1 into child i.
func (m *Map) mergeKids(in *inner, i, height int) {
	if height == 0 {
		m.ownLeaf(&in.kids[i]).merge(m.table, (*leaf)(in.kids[i+1]))
	} else {
		left := m.ownInner(&in.kids[i])
		m.nodes -= left.seps.bytes()
		left.merge(in.seps.at(i), (*inner)(in.kids[i+1]))
		m.nodes += left.seps.bytes()
	}
	m.removeKid(in, i+1, height)
}

func (m *Map) removeKid(in *inner, i, height int) {
	if height == 0 {
		m.nodes -= leafBytes
	} else {
		m.nodes -= innerBytes + (*inner)(in.kids[i]).seps.bytes()
	}
	m.nodes -= in.seps.bytes()
	in.remove(i)
	m.nodes += in.seps.bytes()
}

// refersTo reports whether the tree refers to this record, which has this key.
func (m *Map) refersTo(key []byte, r ref) bool {
	l := m.leafOf(key)
	return slices.Contains(l.refs[:l.n], r)
}

// move makes the tree refer to another copy of a record.
func (m *Map) move(key []byte, from, to ref) {
	at := &m.root
	for range m.height {
		in := m.ownInner(at)
		at = &in.kids[in.seps.child(key)]
	}
	l := m.ownLeaf(at)
	l.refs[slices.Index(l.refs[:l.n], from)] = to
}

const (
	leafBytes  = int64(unsafe.Sizeof(leaf{}))
	innerBytes = int64(unsafe.Sizeof(inner{}))
)

func (s *separators) bytes() int64 { return int64(unsafe.Sizeof(*s)) + int64(cap(s.text)) }

func (m *Map) newLeaf() *leaf {
	m.nodes += leafBytes
	l := &leaf{epoch: m.epoch}
	l.prefix.clear(0)
	return l
}

func (m *Map) newInner() *inner {
	m.nodes += innerBytes
	return &inner{epoch: m.epoch}
}

// ownLeaf returns the leaf at a place, which is the map's own, ready to be
// changed: if a View may reach it, a copy takes its place.
func (m *Map) ownLeaf(at *node) *leaf {
	l := (*leaf)(*at)
	if l.epoch != m.epoch {
		own := *l
		own.epoch = m.epoch
		l = &own
		*at = node(l)
	}
	return l
}

// ownInner does for inner nodes what ownLeaf does for leaves.
func (m *Map) ownInner(at *node) *inner {
	in := (*inner)(*at)
	if in.epoch != m.epoch {
		own := *in
		own.epoch = m.epoch
		in = &own
		*at = node(in)
	}
	return in
}
