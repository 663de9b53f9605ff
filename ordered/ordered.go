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
// record is written once, behind all records that any View knows of, and so is a
// place of what was put lately. A slot of the chunk table is written only while
// no View refers to a record in it.
//
// # How it is built
//
//	Map ── root ── inner ── inner ── leaf     B+tree, all leaves at one depth
//	 │                                │
//	 │               key prefixes, record references
//	 │                                │
//	 ├── table ── chunk ── record ────┤       version, deadline, key, value
//	 │                                │
//	 └── recent ── record references ─┘       up to 64 puts the tree is not told of
//
// The design serves two masters: the price of a put followed by a snapshot, and
// the garbage collector. A snapshot makes the next put copy the nodes on its
// path, so nodes are small and copying them is plain memory copying: leaves hold
// no pointers at all, and the separators of an inner node, which only a split or
// a merge changes, lie outside of it and are shared by its copies. Keys and
// values are records in chunks, which the collector never looks into; it sees a
// few objects for each hundred keys.
//
// A put writes a record, notes it in recent, and is done: it neither looks for
// what was there nor copies a node. When recent is full the tree is told of all
// of it at once (Settle), which copies each node once, not once for each put, and
// finds the places of the keys while the nodes are near. Readers look through
// recent first, by hashes of the keys; a scan merges it in, sorted.
//
// A leaf compares the eight bytes of a key behind what all its keys have in
// common, and looks into a record only where those are equal.
//
// Overwritten and deleted records stay in their chunk until more than half of it
// is dead. Then the live ones are appended anew elsewhere and the chunk is let
// go. A View that still refers to it keeps it by itself. One operation empties a
// few chunks of 64 KiB at most, so its work is bounded.
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
	content
	slab

	epoch uint64
	nodes int64 // bytes of the tree's nodes
}

// View is a Map as it was when Snapshot was called. The zero value is an empty
// View. It may be copied and used by any number of goroutines.
type View struct {
	content
}

// content is what a Map and its Views have in common: what the tree has, but
// for what was put since.
type content struct {
	fresh  int // of recent's places, those in use
	recent *recent
	tree
	filter filter
	large  int64 // bytes of chunks longer than maxChunk
}

// LargeBytes returns how much memory is in records that are larger than any that
// others share a chunk with, those that were replaced a moment ago included: 0 =
// there is no value of op.Large.
func (c *content) LargeBytes() int64 { return c.large }

// A record with a large value has a chunk that is counted as such.
var _ = [1]struct{}{}[maxChunk-op.Large]

// Counts are numbers of keys, by the first byte of a key, which is its tag in a
// run. The empty key and those that begin with another byte are counted at 0.
type Counts [8]int32

func (c *Counts) add(key []byte, n int32) {
	if len(key) > 0 && int(key[0]) < len(c) {
		c[key[0]] += n
	} else {
		c[0] += n
	}
}

// Total returns the number of all keys.
func (c *Counts) Total() int {
	n := 0
	for _, k := range c {
		n += int(k)
	}
	return n
}

// Put stores an item under a key, copying both. It does not look for what was
// there. It panics if the key is longer than 128 MiB or the value not shorter
// than 4 GiB.
func (m *Map) Put(key string, it op.Item) {
	k := bytesOf(key)
	m.makePlace()
	m.note(k, m.write(k, it))
}

// PutBlock is Put of an item whose value lies in a block, which becomes the map's
// and is not copied, if it is large enough for a chunk of its own.
func (m *Map) PutBlock(key string, it op.Item, b *op.Block) {
	k := bytesOf(key)
	m.makePlace()
	m.note(k, m.take(k, it, b))
}

// Set is Put, and returns what it replaced.
func (m *Map) Set(key string, it op.Item) (previous op.Item, existed bool) {
	previous, existed = m.Get(key)
	m.Put(key, it)
	return previous, existed
}

// Delete removes a key and returns what it held.
func (m *Map) Delete(key string) (previous op.Item, existed bool) {
	m.Settle()
	k := bytesOf(key)
	if _, ok := m.find(k); !ok {
		return op.Item{}, false
	}
	old := m.remove(k)
	previous = m.table.item(old)
	m.counts.add(k, -1)
	if m.counts.Total() == 0 {
		*m = Map{epoch: m.epoch}
		return previous, true
	}
	m.kill(old)
	m.tidy(1)
	return previous, true
}

// Bytes returns the memory that the map holds: its chunks, filled or not, and
// its nodes. What only older Views hold is not counted.
func (m *Map) Bytes() int64 {
	return int64(unsafe.Sizeof(*m)) + m.nodes + m.slab.bytes() + m.recent.bytes() +
		int64(cap(m.table))*int64(unsafe.Sizeof([]byte(nil)))
}

// Snapshot returns the map as it is now, in constant time.
func (m *Map) Snapshot() View {
	m.epoch++ // the present nodes are the View's from here on
	return View{m.content}
}

// Get returns the item under a key.
func (c *content) Get(key string) (op.Item, bool) {
	k := bytesOf(key)
	if c.fresh > 0 {
		if h := hashOf(k); c.filter.mayHave(h) {
			if r, ok := c.recent.find(c.table, c.fresh, k, h.mark()); ok {
				return c.table.item(r), true
			}
		}
	}
	r, ok := c.find(k)
	if !ok {
		return op.Item{}, false
	}
	return c.table.item(r), true
}

// Settled reports whether nothing was put since the last Settle.
func (c *content) Settled() bool { return c.fresh == 0 }

// Counts returns how many keys there are. It looks up what was put lately.
func (c *content) Counts() Counts {
	n := c.counts
	for _, r := range c.newest() {
		key := c.table.key(r)
		if _, ok := c.find(key); !ok {
			n.add(key, 1)
		}
	}
	return n
}

// Len returns the number of keys, as Counts does.
func (c *content) Len() int {
	n := c.Counts()
	return n.Total()
}

// bytesOf and stringOf look at one as the other. The bytes are never written to.
func bytesOf(s string) []byte  { return unsafe.Slice(unsafe.StringData(s), len(s)) }
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
