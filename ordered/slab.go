package ordered

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"inmem/op"
)

// A record is a key and its item as they lie in a chunk, at any alignment:
//
//	version 8 | deadline 8 | key length 4 | value length 4 | key | value
const (
	atDeadline  = 8
	atKeyLen    = 16
	atValueLen  = 20
	recordStart = 24
)

// Sizes of chunks. They grow with the map; a record above maxShared gets a chunk
// of its own.
const (
	minChunk  = 512
	maxChunk  = 64 << 10
	maxShared = maxChunk / 4
)

// maxKey keeps the separators of an inner node below 4 GiB together.
const maxKey = 128 << 20

// ref is where a record is: the chunk's slot in the table << 32 | offset.
type ref uint64

func newRef(slot, offset int) ref { return ref(slot)<<32 | ref(offset) }

func (r ref) slot() int   { return int(r >> 32) }
func (r ref) offset() int { return int(uint32(r)) }

// table is the chunks. Each has its full length from the beginning.
type table [][]byte

func (t table) key(r ref) []byte {
	rec := t[r.slot()][r.offset():]
	end := recordStart + int(binary.LittleEndian.Uint32(rec[atKeyLen:]))
	return rec[recordStart:end:end]
}

func (t table) item(r ref) op.Item {
	rec := t[r.slot()][r.offset():]
	from := recordStart + int(binary.LittleEndian.Uint32(rec[atKeyLen:]))
	end := from + int(binary.LittleEndian.Uint32(rec[atValueLen:]))
	return op.Item{
		Value:    rec[from:end:end],
		Version:  binary.LittleEndian.Uint64(rec),
		Deadline: int64(binary.LittleEndian.Uint64(rec[atDeadline:])),
	}
}

// sizes are the lengths of a record's key and value, as they lie in it.
type sizes uint64

func (t table) sizes(r ref) sizes {
	return sizes(binary.LittleEndian.Uint64(t[r.slot()][r.offset()+atKeyLen:]))
}

// read reads a record whose sizes are known.
func (t table) read(r ref, size sizes, e *Entry) {
	rec := t[r.slot()][r.offset():]
	from := recordStart + int(uint32(size))
	end := from + int(size>>32)
	rec = rec[:end:end]
	e.Key = stringOf(rec[recordStart:from])
	e.Value = rec[from:]
	e.Version = binary.LittleEndian.Uint64(rec)
	e.Deadline = int64(binary.LittleEndian.Uint64(rec[atDeadline:]))
}

// record returns the whole record.
func (t table) record(r ref) []byte {
	rec := t[r.slot()][r.offset():]
	return rec[:recordStart+
		int(binary.LittleEndian.Uint32(rec[atKeyLen:]))+
		int(binary.LittleEndian.Uint32(rec[atValueLen:]))]
}

// slab is what only the owner needs to know of the chunks.
type slab struct {
	slots  []slot // beside the table
	tail   int    // 1 + the slot of the chunk being filled; 0 = none
	sparse []int  // slots of full chunks that are mostly dead, to be emptied
	spent  []int  // slots of emptied chunks that are still in the table
	free   []int  // slots of the table without a chunk, descending

	live       int64 // bytes of live records
	held       int64 // bytes of the chunks in the table
	spentBytes int64 // bytes of the spent ones
}

// slot is what the owner knows of one chunk.
type slot struct {
	used   int // bytes with records
	dead   int // bytes with records that were replaced or deleted; in a full chunk also those never used
	sparse bool
}

func (s *slab) bytes() int64 {
	return s.held + int64(cap(s.slots))*int64(unsafe.Sizeof(slot{})) +
		int64(cap(s.sparse)+cap(s.spent)+cap(s.free))*int64(unsafe.Sizeof(0))
}

// write appends a record.
func (m *Map) write(key []byte, it op.Item) ref {
	if len(key) > maxKey || uint64(len(it.Value)) > math.MaxUint32 {
		panic(fmt.Sprintf("ordered: key of %d bytes with value of %d bytes", len(key), len(it.Value)))
	}
	r, rec := m.reserve(recordStart + len(key) + len(it.Value))
	writeHead(rec, key, it)
	copy(rec[recordStart+len(key):], it.Value)
	return r
}

// writeHead writes what a record has in front of its value.
func writeHead(rec, key []byte, it op.Item) {
	binary.LittleEndian.PutUint64(rec, it.Version)
	binary.LittleEndian.PutUint64(rec[atDeadline:], uint64(it.Deadline))
	binary.LittleEndian.PutUint32(rec[atKeyLen:], uint32(len(key)))
	binary.LittleEndian.PutUint32(rec[atValueLen:], uint32(len(it.Value)))
	copy(rec[recordStart:], key)
}

// A block has just the room that a record needs.
var _ = [1]struct{}{}[recordStart-op.BlockHead]

// take makes the memory of a block a chunk of the map. Where it is not made for
// the key the value is copied.
func (m *Map) take(key []byte, it op.Item, b *op.Block) ref {
	size := recordStart + len(key) + len(it.Value)
	if len(key) > maxKey || size <= maxShared || !b.Holds(it.Value) {
		return m.write(key, it)
	}
	chunk := b.Take(recordStart + len(key))
	if chunk == nil {
		return m.write(key, it)
	}
	writeHead(chunk, key, it)
	m.live += int64(size)
	at := m.addChunk(chunk)
	m.slots[at].used = size
	m.fill(at)
	return newRef(at, 0)
}

// reserve returns room for a record of the given size.
func (m *Map) reserve(size int) (ref, []byte) {
	m.live += int64(size)
	var at int
	if size > maxShared {
		at = m.addChunk(ownChunk(size))
		m.slots[at].used = size
		m.fill(at)
		return newRef(at, 0), m.table[at]
	}
	if at = m.tail - 1; at < 0 || m.slots[at].used+size > len(m.table[at]) {
		if at >= 0 {
			m.fill(at)
		}
		at = m.addChunk(make([]byte, chunkSize(m.live, size)))
		m.tail = at + 1
	}
	offset := m.slots[at].used
	m.slots[at].used += size
	return newRef(at, offset), m.table[at][offset:]
}

// chunkSize returns how long the next chunk of a map with that many live bytes
// is: an eighth of them, so that little is held in vain, and room for two
// records.
func chunkSize(live int64, record int) int {
	part := 1 << bits.Len64(uint64(live)/16)
	two := 1 << bits.Len(uint(2*record-1))
	return min(max(minChunk, part, two), maxChunk)
}

// ownChunk returns a chunk for one record. It is as long as the memory behind it.
func ownChunk(size int) []byte {
	c := slices.Grow([]byte(nil), size)
	return c[:cap(c)]
}

// addChunk puts a chunk into the table. Views that share the table do not mind:
// none refers to a slot that is free or beyond its end.
func (m *Map) addChunk(c []byte) int {
	m.hold(c)
	if n := len(m.free); n > 0 {
		at := m.free[n-1]
		m.free = m.free[:n-1]
		m.table[at], m.slots[at] = c, slot{}
		return at
	}
	m.table = append(m.table, c)
	m.slots = append(m.slots, slot{})
	return len(m.table) - 1
}

// hold counts the bytes of a chunk in the table.
func (m *Map) hold(c []byte) {
	m.held += int64(len(c))
	if len(c) > maxChunk {
		m.large += int64(len(c))
	}
}

// fill declares a chunk full: what was not used never will be.
func (m *Map) fill(at int) {
	if m.tail == at+1 {
		m.tail = 0
	}
	s := &m.slots[at]
	s.dead += len(m.table[at]) - s.used
	m.weigh(at)
}

// kill counts a record that the tree no longer refers to.
func (m *Map) kill(r ref) {
	size := len(m.table.record(r))
	m.live -= int64(size)
	m.slots[r.slot()].dead += size
	m.weigh(r.slot())
}

// weigh notes a full chunk that is mostly dead. The chunk being filled is left
// alone, except in a map that shrank so much that it is out of proportion.
func (m *Map) weigh(at int) {
	s, size := &m.slots[at], len(m.table[at])
	if m.tail == at+1 {
		if size > minChunk && int64(size) > 8*m.live {
			m.fill(at)
		}
		return
	}
	if !s.sparse && 2*s.dead > size {
		s.sparse = true
		m.sparse = append(m.sparse, at)
	}
}

// tidy empties chunks that are mostly dead, until it has gone through this many
// bytes, and any that are wholly dead, for those take no work.
func (m *Map) tidy(budget int) {
	for n := len(m.sparse); n > 0 && budget > 0; n = len(m.sparse) {
		at := m.sparse[n-1]
		m.sparse = m.sparse[:n-1]
		if size := len(m.table[at]); m.slots[at].dead < size {
			m.empty(at)
			budget -= size
		}
		m.drop(at)
	}
}

// empty appends the live records of a chunk elsewhere.
func (m *Map) empty(at int) {
	used := m.slots[at].used
	for offset := 0; offset < used; {
		from := newRef(at, offset)
		key, rec := m.table.key(from), m.table.record(from)
		if m.refersTo(key, from) {
			to, room := m.reserve(len(rec))
			copy(room, rec)
			m.move(key, from, to)
			m.live -= int64(len(rec))
		}
		offset += len(rec)
	}
}

// drop lets go of an emptied chunk. Views may share the table, so it has to be
// copied; that waits until it frees a good part of the whole, lest a map of many
// chunks copy a long table for each.
func (m *Map) drop(at int) {
	m.spent = append(m.spent, at)
	m.spentBytes += int64(len(m.table[at]))
	if 16*m.spentBytes < m.held {
		return
	}
	t := slices.Clone(m.table)
	for _, at := range m.spent {
		if n := len(t[at]); n > maxChunk {
			m.large -= int64(n)
		}
		t[at] = nil
	}
	for t[len(t)-1] == nil {
		t = t[:len(t)-1]
	}
	m.held -= m.spentBytes
	m.table, m.slots = t, m.slots[:len(t)]
	m.spent, m.spentBytes = m.spent[:0], 0
	m.free = m.free[:0]
	for at, c := range slices.Backward(t) { // the lowest is reused first
		if c == nil {
			m.free = append(m.free, at)
		}
	}
}
