package ordered

import (
	"bytes"
	"math/bits"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// Bounds of what is put before the tree is told of it. Readers look through it
// first, so it is short, and shorter in a small map.
const (
	minRecent   = 8
	maxRecent   = 64
	recentBytes = maxChunk // of records, so that settling is bounded work
)

// recent is what was put lately, in order; the last of a key counts. A place is
// filled once, before there is a View that knows of it, and never changes.
type recent struct {
	marks [maxRecent]uint16 // of the keys
	refs  []ref             // as many as there are places
	size  int               // bytes of the records
	order atomic.Pointer[order]
}

// order is the newest record of each key among the first places, in the order of
// the keys. Who needs it first makes it, for all Views that have as many places.
type order struct {
	places int
	refs   []ref
}

func newRecent(n int) *recent { return &recent{refs: make([]ref, n)} }

// hash is that of a key. Keys with different marks, the lower 16 bits, differ.
type hash uint64

func hashOf(key []byte) hash { return hash(xxhash.Sum64(key)) }

func (h hash) mark() uint16 { return uint16(h) }

// filter tells at a glance that a key was not put lately, most of the time. It
// lies in the View itself, where looking costs no further access to memory.
type filter [4]uint64

func (f *filter) add(h hash) {
	f[h>>16&3] |= 1 << (h >> 18 & 63)
	f[h>>24&3] |= 1 << (h >> 26 & 63)
}

func (f *filter) mayHave(h hash) bool {
	return f[h>>16&3]&(1<<(h>>18&63)) != 0 && f[h>>24&3]&(1<<(h>>26&63)) != 0
}

func (r *recent) bytes() int64 {
	if r == nil {
		return 0
	}
	return int64(unsafe.Sizeof(*r)) + int64(cap(r.refs))*int64(unsafe.Sizeof(ref(0)))
}

// first returns a copy of the first n places.
func (r *recent) first(n int) *recent {
	own := newRecent(n)
	copy(own.marks[:n], r.marks[:])
	copy(own.refs, r.refs)
	return own
}

// find returns the newest of the first n records that has the key.
func (r *recent) find(t table, n int, key []byte, mark uint16) (ref, bool) {
	marks := r.marks[:n]
	for i := len(marks) - 1; i >= 0; i-- {
		if marks[i] == mark && bytes.Equal(t.key(r.refs[i]), key) {
			return r.refs[i], true
		}
	}
	return 0, false
}

// note appends a record to what was put lately.
func (m *Map) note(key []byte, r ref) {
	h := hashOf(key)
	m.filter.add(h)
	m.recent.marks[m.fresh], m.recent.refs[m.fresh] = h.mark(), r
	m.recent.size += len(m.table.record(r))
	m.fresh++
	if m.recent.size > recentBytes {
		m.Settle()
	}
}

// makePlace makes sure that there is one for a record that is about to be put.
// Settling moves records, so it must not come between writing one and noting it.
func (m *Map) makePlace() {
	if m.recent != nil && m.fresh < len(m.recent.refs) {
		return
	}
	m.Settle()
	m.recent = newRecent(min(max(minRecent, 1<<bits.Len(uint(m.counts.Total()/16))), maxRecent))
}

// Settle tells the tree of what was put lately, where readers find it soonest.
// Put and Delete do it in time; else it is for when nothing else is to be done.
func (m *Map) Settle() {
	if m.fresh == 0 {
		return
	}
	for _, r := range m.recent.refs[:m.fresh] {
		x := insertion{key: m.table.key(r), ref: r}
		m.insert(&x)
		if x.existed {
			m.kill(x.old)
		} else {
			m.counts.add(x.key, 1)
		}
	}
	size := m.recent.size
	m.recent, m.fresh, m.filter = nil, 0, filter{}
	m.tidy(maxChunk + 2*size)
}

// newest returns the newest record of each key that was put lately, in the order
// of the keys. It must not be changed.
func (c *content) newest() []ref {
	if c.fresh == 0 {
		return nil
	}
	if o := c.recent.order.Load(); o != nil && o.places == c.fresh {
		return o.refs
	}
	key := c.table.key
	refs := slices.Clone(c.recent.refs[:c.fresh])
	slices.Reverse(refs) // the newest of a key comes first …
	slices.SortStableFunc(refs, func(a, b ref) int { return bytes.Compare(key(a), key(b)) })
	refs = slices.CompactFunc(refs, func(a, b ref) bool { return bytes.Equal(key(a), key(b)) }) // … and stays
	c.recent.order.Store(&order{places: c.fresh, refs: refs})
	return refs
}
