package ordered

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// Check returns the first breach of what the package promises itself about a
// map, or nil.
func (m *Map) Check() error {
	c := checker{tree: m.tree, epoch: m.epoch, live: make([]int, len(m.table))}
	if err := c.all(); err != nil {
		return err
	}
	if err := m.checkRecent(c.live); err != nil {
		return err
	}
	if c.nodes != m.nodes {
		return fmt.Errorf("nodes have %d bytes, counted are %d", c.nodes, m.nodes)
	}
	return m.checkSlab(c.live)
}

// Check does the same for a View. A node of it may have been made at any time
// before it.
func (v *View) Check() error {
	c := checker{tree: v.tree, epoch: math.MaxUint64, live: make([]int, len(v.table))}
	return c.all()
}

// checker walks a tree.
type checker struct {
	tree
	epoch uint64 // no node may be younger
	keys  int
	last  []byte // the greatest key so far
	nodes int64
	live  []int // bytes of live records in each slot
}

func (c *checker) all() error {
	if c.root == nil {
		if c.height != 0 || c.counts != (Counts{}) {
			return fmt.Errorf("empty tree is not the zero value: %+v", c.tree)
		}
		return nil
	}
	if c.height > 0 && (*inner)(c.root).n < 2 {
		return fmt.Errorf("root has a single child")
	}
	if err := c.node(c.root, c.height, nil, nil); err != nil {
		return err
	}
	if c.keys != c.counts.Total() {
		return fmt.Errorf("%d keys, counted are %d", c.keys, c.counts.Total())
	}
	return nil
}

// node checks a node whose keys must lie in [from, to); nil is no bound.
func (c *checker) node(n node, height int, from, to []byte) error {
	if height == 0 {
		return c.leaf((*leaf)(n), from, to)
	}
	in := (*inner)(n)
	c.nodes += innerBytes + in.seps.bytes()
	if in.epoch > c.epoch {
		return fmt.Errorf("inner node of epoch %d, now is %d", in.epoch, c.epoch)
	}
	if in.n < 1 || in.n > innerCap || int(in.seps.n) != in.n-1 {
		return fmt.Errorf("inner node of %d children has %d separators", in.n, in.seps.n)
	}
	for _, kid := range in.kids[in.n:] {
		if kid != nil {
			return fmt.Errorf("inner node refers to a child that it has no more")
		}
	}
	if err := in.seps.check(from, to); err != nil {
		return err
	}
	for i, kid := range in.kids[:in.n] {
		below := to
		if i < in.n-1 {
			below = in.seps.at(i)
		}
		if err := c.node(kid, height-1, from, below); err != nil {
			return err
		}
		from = below
	}
	return nil
}

func (s *separators) check(from, to []byte) error {
	for i := range int(s.n) {
		sep := s.at(i)
		if from != nil && bytes.Compare(sep, from) <= 0 || to != nil && bytes.Compare(sep, to) >= 0 {
			return fmt.Errorf("separator %q is not between %q and %q", sep, from, to)
		}
		if !bytes.Equal(sep[:s.skip], s.at(0)[:s.skip]) || s.prefix[i] != prefixOf(sep, int(s.skip)) {
			return fmt.Errorf("separator %q has prefix %x behind %d bytes", sep, s.prefix[i], s.skip)
		}
		from = sep
	}
	return s.prefix.checkNone(int(s.n))
}

func (ps *prefixes) checkNone(n int) error {
	for _, p := range ps[n:] {
		if p != none {
			return fmt.Errorf("prefix %x is not in use", p)
		}
	}
	return nil
}

func (c *checker) leaf(l *leaf, from, to []byte) error {
	c.nodes += leafBytes
	if l.epoch > c.epoch {
		return fmt.Errorf("leaf of epoch %d, now is %d", l.epoch, c.epoch)
	}
	if l.n < 1 || l.n > fanout {
		return fmt.Errorf("leaf of %d keys", l.n)
	}
	for i := range int(l.n) {
		key := l.key(c.table, i)
		if c.keys > 0 && bytes.Compare(c.last, key) >= 0 {
			return fmt.Errorf("key %q is behind %q", key, c.last)
		}
		if from != nil && bytes.Compare(key, from) < 0 || to != nil && bytes.Compare(key, to) >= 0 {
			return fmt.Errorf("key %q is not between %q and %q", key, from, to)
		}
		if !bytes.Equal(key[:l.skip], l.skipped(c.table)) || l.prefix[i] != prefixOf(key, int(l.skip)) {
			return fmt.Errorf("key %q has prefix %x behind %d bytes", key, l.prefix[i], l.skip)
		}
		c.last = key
		c.keys++
		c.live[l.refs[i].slot()] += len(c.table.record(l.refs[i]))
	}
	return l.prefix.checkNone(int(l.n))
}

// checkRecent counts the records that were put lately as live, those that were
// replaced by now too.
func (m *Map) checkRecent(live []int) error {
	if m.recent == nil {
		if m.fresh != 0 {
			return fmt.Errorf("%d places of none are in use", m.fresh)
		}
		return nil
	}
	size := 0
	for i, r := range m.recent.refs[:m.fresh] {
		n := len(m.table.record(r))
		live[r.slot()] += n
		size += n
		if h := hashOf(m.table.key(r)); m.recent.marks[i] != h.mark() || !m.filter.mayHave(h) {
			return fmt.Errorf("place %d: the mark of %q is %x, the filter %x", i, m.table.key(r), m.recent.marks[i], m.filter)
		}
	}
	if size != m.recent.size || size > recentBytes {
		return fmt.Errorf("what was put lately has %d bytes, counted are %d", size, m.recent.size)
	}
	return nil
}

// checkSlab compares what the owner knows of the chunks with what is live in each.
func (m *Map) checkSlab(live []int) error {
	if len(m.slots) != len(m.table) {
		return fmt.Errorf("%d slots, %d chunks", len(m.slots), len(m.table))
	}
	var held, spent, total, large int64
	for at, chunk := range m.table {
		s := m.slots[at]
		held += int64(len(chunk))
		total += int64(live[at])
		if len(chunk) > maxChunk {
			large += int64(len(chunk))
		}
		if (chunk == nil) != slices.Contains(m.free, at) {
			return fmt.Errorf("slot %d: chunk of %d bytes, free %v", at, len(chunk), m.free)
		}
		if slices.Contains(m.spent, at) {
			spent += int64(len(chunk))
			if live[at] != 0 {
				return fmt.Errorf("slot %d: spent with %d live bytes", at, live[at])
			}
			continue
		}
		if chunk == nil {
			continue
		}
		if err := m.checkSlot(at, live[at]); err != nil {
			return fmt.Errorf("slot %d: %w: %+v", at, err, s)
		}
	}
	if large != m.large {
		return fmt.Errorf("%d bytes in chunks that none shares, counted are %d", large, m.large)
	}
	if held != m.held || spent != m.spentBytes || total != m.live {
		return fmt.Errorf("held %d, spent %d, live %d, counted are %d, %d, %d", held, spent, total, m.held, m.spentBytes, m.live)
	}
	if m.held > 0 && 16*m.spentBytes >= m.held {
		return fmt.Errorf("%d of %d bytes are spent and in the table", m.spentBytes, m.held)
	}
	return nil
}

func (m *Map) checkSlot(at, live int) error {
	s, size := m.slots[at], len(m.table[at])
	offset := 0
	for offset < s.used {
		offset += len(m.table.record(newRef(at, offset)))
	}
	if offset != s.used || s.used > size {
		return fmt.Errorf("records end at %d of %d", offset, size)
	}
	dead := s.used - live
	if m.tail != at+1 {
		dead = size - live
	}
	if s.dead != dead {
		return fmt.Errorf("%d bytes are dead", dead)
	}
	if s.sparse != slices.Contains(m.sparse, at) || s.sparse != (m.tail != at+1 && 2*dead > size) {
		return fmt.Errorf("%d of %d bytes are dead, to be emptied: %v", dead, size, m.sparse)
	}
	return nil
}
