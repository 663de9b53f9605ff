package ordered

// Map returns a map that begins with what the View shows and shares its nodes
// and chunks: nothing of a key or a value is copied before it has to move. The
// map has an owner of its own, who goes on without a word to that of the View's.
// It takes O(n): all nodes and the head of each record are read.
//
// What makes it sound: the chunks that it shares count as full, so that it writes
// records into chunks of its own alone; its table has just the chunks that the
// View refers to, and is its own; and its epoch is that of no shared node, so
// that a node is copied before it is changed.
func (v *View) Map() Map {
	if v.root == nil && v.fresh == 0 {
		return Map{}
	}
	m := Map{content: content{tree: v.tree}}
	m.table = make(table, len(v.table))
	s := sharing{m: &m, live: make([]int, len(v.table)), used: make([]int, len(v.table))}
	if v.root != nil {
		s.node(v, m.root, m.height)
	}
	if v.fresh > 0 {
		m.recent, m.fresh, m.filter = v.recent.first(v.fresh), v.fresh, v.filter
		for _, r := range m.recent.refs[:m.fresh] {
			s.record(v, r)
			m.recent.size += len(v.table.record(r))
		}
	}
	m.epoch++
	for m.table[len(m.table)-1] == nil {
		m.table = m.table[:len(m.table)-1]
	}
	m.slots = make([]slot, len(m.table))
	for at := len(m.table) - 1; at >= 0; at-- { // free slots descend
		c := m.table[at]
		if c == nil {
			m.free = append(m.free, at)
			continue
		}
		m.hold(c)
		m.live += int64(s.live[at])
		m.slots[at] = slot{used: s.used[at], dead: len(c) - s.live[at]}
		m.weigh(at)
	}
	return m
}

// sharing finds out what a View refers to.
type sharing struct {
	m    *Map
	live []int // of each slot: bytes of records that are referred to …
	used []int // … and where the last of them ends
}

// node counts a node and what is below it. Slots that no record is in are not
// even read: the owner of the View's map may be filling them.
func (s *sharing) node(v *View, n node, height int) {
	m := s.m
	if height > 0 {
		in := (*inner)(n)
		m.epoch = max(m.epoch, in.epoch)
		m.nodes += innerBytes + in.seps.bytes()
		for _, kid := range in.kids[:in.n] {
			s.node(v, kid, height-1)
		}
		return
	}
	l := (*leaf)(n)
	m.epoch = max(m.epoch, l.epoch)
	m.nodes += leafBytes
	for _, r := range l.refs[:l.n] {
		s.record(v, r)
	}
}

func (s *sharing) record(v *View, r ref) {
	at, size := r.slot(), len(v.table.record(r))
	s.m.table[at] = v.table[at]
	s.live[at] += size
	s.used[at] = max(s.used[at], r.offset()+size)
}
