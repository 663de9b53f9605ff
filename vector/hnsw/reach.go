package hnsw

// reach makes sure that every vector can be reached from the entry on the lowest
// level. A vector may be chosen by nobody, or by others who chose anew later:
// then it is linked to by the nearest vector that is reached, in place of a link
// that nobody is reached by alone.
func (g *Graph) reach(rows Rows) {
	if g.top < 0 {
		return
	}
	t := tree{g: g, parent: make([]uint32, g.Len())}
	t.spread(g.entry, g.entry)
	if t.size == g.Len() {
		return
	}
	s := searchers.Get().(*searcher)
	defer s.free()
	for id := range uint32(g.Len()) {
		if t.parent[id] == 0 {
			s.aimAt(g, rows, id)
			t.adopt(s, id)
		}
	}
}

// tree knows for each vector that was reached through whom that was first.
type tree struct {
	g      *Graph
	parent []uint32 // plus one; 0 = not reached
	size   int
	queue  []uint32
}

// spread reaches id through from, and whatever can be reached from there.
func (t *tree) spread(id, from uint32) {
	t.parent[id] = from + 1
	t.size++
	t.queue = append(t.queue[:0], id)
	for len(t.queue) > 0 {
		at := t.queue[len(t.queue)-1]
		t.queue = t.queue[:len(t.queue)-1]
		for _, next := range t.g.links(at, 0) {
			if t.parent[next] == 0 {
				t.parent[next] = at + 1
				t.size++
				t.queue = append(t.queue, next)
			}
		}
	}
}

// adopt finds somebody who was reached to link to id. If none of those near by
// has a link to spare, somebody else has: a tree has fewer links than there are
// vectors, and each of them has room for several.
func (t *tree) adopt(s *searcher, id uint32) {
	g := t.g
	for _, p := range s.layer(0, g.params.EfConstruction, nil, s.descend(g.top, 0)) {
		if t.parent[p.id()] != 0 && t.take(p.id(), id) {
			return
		}
	}
	for other := range uint32(g.Len()) {
		if t.parent[other] != 0 && t.take(other, id) {
			return
		}
	}
}

// take links from to id, if it has room or a link to spare, the last first:
// that is the farthest, or the newest.
func (t *tree) take(from, id uint32) bool {
	g := t.g
	slot := g.slot(from, 0)
	n := int(slot[0])
	if n < g.room(0) {
		slot[0], slot[1+n] = uint32(n+1), id
		t.spread(id, from)
		return true
	}
	for i := n; i > 0; i-- {
		if t.parent[slot[i]] != from+1 {
			slot[i] = id
			t.spread(id, from)
			return true
		}
	}
	return false
}
