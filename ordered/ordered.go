// Package ordered is the ordered map that holds one run's keys: byte strings to
// items. One owner changes a Map; Snapshot hands out a View of it in constant
// time, which any number of goroutines read without a lock while the owner goes
// on.
//
// It knows no run, no tag, no clock and no disk: an item whose deadline passed
// is an item like any other until it is deleted. It starts no goroutine and
// takes no lock; who publishes a View to other goroutines does so through
// something that orders memory, such as an atomic pointer or a channel.
//
// Invariant: nothing that a View can reach ever changes. A tree node is changed
// in place only in the epoch that made it, and Snapshot begins a new epoch. A
// record is written once, behind all records that any View knows of. A slot of
// the chunk table is written only while no View refers to a record in it.
//
// # How it is built
//
//	Map ── root ── inner ── inner ── leaf     B+tree, all leaves at one depth
//	 │                                │
//	 │               key prefixes, record references
//	 │                                │
//	 └── table ── chunk ── record ────┘       version, deadline, key, value
//
// The design serves two masters: the price of a put followed by a snapshot, and
// the garbage collector. A snapshot makes the next put copy the nodes on its
// path, so nodes are small and copying them is plain memory copying: leaves hold
// no pointers at all, and the separators of an inner node, which only a split or
// a merge changes, lie outside of it and are shared by its copies. Keys and
// values are records in chunks, which the collector never looks into; it sees a
// few objects for each hundred keys.
//
// A leaf compares the eight bytes of a key behind what all its keys have in
// common, and looks into a record only where those are equal.
//
// Overwritten and deleted records stay in their chunk until more than half of it
// is dead. Then the live ones are appended anew elsewhere and the chunk is let
// go. A View that still refers to it keeps it by itself. One operation empties at
// most one chunk of 64 KiB, so its work is bounded.
//
// What measurement decided: 31 keys a leaf, for 15 and 63 cost more in maps of
// 500 keys; no bits beside a chunk that mark its dead records, for asking the
// tree whether a record is live costs no more. Chunks are an eighth of their map
// long, at most 64 KiB, so that little is held in vain.
//
// ordered carries no compatibility promise of its own; package inmem does.
package ordered

import (
	"unsafe"

	"inmem/op"
)

// Map is an ordered map from byte strings to items. The zero value is an empty
// map. It belongs to one goroutine at a time and must not be copied; only its
// Views are shared.
//
// Keys and values that a Map or a View hands out are not copies: they point into
// the map's chunks. They never change and stay valid whatever happens to the
// map, but they must not be changed, and each keeps a whole chunk from being
// collected. Clone what is to be kept.
type Map struct {
	tree
	slab

	epoch uint64
	nodes int64 // bytes of the tree's nodes
}

// View is a Map as it was when Snapshot was called. The zero value is an empty
// View. It may be copied and used by any number of goroutines.
type View struct {
	tree
}

// Set stores an item under a key, copying both, and returns what it replaced.
// It panics if the key is longer than 128 MiB or the value not shorter than
// 4 GiB.
func (m *Map) Set(key string, it op.Item) (previous op.Item, existed bool) {
	k := bytesOf(key)
	x := insertion{key: k, ref: m.write(k, it)}
	m.insert(&x)
	if x.existed {
		previous = m.table.item(x.old)
		m.kill(x.old)
	} else {
		m.count++
	}
	m.tidy()
	return previous, x.existed
}

// Delete removes a key and returns what it held.
func (m *Map) Delete(key string) (previous op.Item, existed bool) {
	k := bytesOf(key)
	if _, ok := m.find(k); !ok {
		return op.Item{}, false
	}
	old := m.remove(k)
	previous = m.table.item(old)
	m.count--
	if m.count == 0 {
		*m = Map{epoch: m.epoch}
		return previous, true
	}
	m.kill(old)
	m.tidy()
	return previous, true
}

// Get returns the item under a key.
func (m *Map) Get(key string) (op.Item, bool) { return m.get(key) }

// Ascend is View.Ascend of the map as it is. fn must not change the map.
func (m *Map) Ascend(from string, fn func(key string, it op.Item) bool) {
	(&View{m.tree}).Ascend(from, fn)
}

// Len returns the number of keys.
func (m *Map) Len() int { return m.count }

// Bytes returns the memory that the map holds: its chunks, filled or not, and
// its nodes. What only older Views hold is not counted.
func (m *Map) Bytes() int64 {
	return int64(unsafe.Sizeof(*m)) + m.nodes + m.slab.bytes() + int64(cap(m.table))*int64(unsafe.Sizeof([]byte(nil)))
}

// Snapshot returns the map as it is now, in constant time.
func (m *Map) Snapshot() View {
	m.epoch++ // the present nodes are the View's from here on
	return View{m.tree}
}

// Get returns the item under a key.
func (v *View) Get(key string) (op.Item, bool) { return v.get(key) }

// Len returns the number of keys.
func (v *View) Len() int { return v.count }

// Ascend calls fn for the keys from the given one on, in ascending order, until
// fn returns false.
func (v *View) Ascend(from string, fn func(key string, it op.Item) bool) {
	if v.root != nil {
		v.ascend(v.root, v.height, bytesOf(from), fn)
	}
}

// Descend calls fn for the keys below the given one, in descending order, until
// fn returns false. An empty bound means: from the last key.
func (v *View) Descend(below string, fn func(key string, it op.Item) bool) {
	if v.root != nil {
		v.descend(v.root, v.height, bytesOf(below), fn)
	}
}

// bytesOf and stringOf look at one as the other. The bytes are never written to.
func bytesOf(s string) []byte  { return unsafe.Slice(unsafe.StringData(s), len(s)) }
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
