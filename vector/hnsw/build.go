package hnsw

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"inmem/vector/distance"
)

// Builder makes a graph. It belongs to one goroutine.
type Builder struct {
	g *Graph // nil once it is handed over
}

// New returns a Builder of a graph without vectors, or an error that is
// ErrParams.
func New(p Params) (*Builder, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return &Builder{&Graph{params: p, top: -1}}, nil
}

// Extend returns a Builder that goes on from a copy of g. It takes as much
// memory as the graph, and as long as copying that takes.
func (g *Graph) Extend() *Builder {
	c := *g
	c.levels = slices.Clone(g.levels)
	c.low, c.upper, c.high = slices.Clone(g.low), slices.Clone(g.upper), slices.Clone(g.high)
	c.dead, c.inverse = slices.Clone(g.dead), slices.Clone(g.inverse)
	c.codes.elements = slices.Clone(g.codes.elements)
	c.codes.scales, c.codes.norms = slices.Clone(g.codes.scales), slices.Clone(g.codes.norms)
	return &Builder{&c}
}

// Len returns the number of vectors so far, deleted ones included.
func (b *Builder) Len() int { return b.g.Len() }

// Params returns what the graph is made with.
func (b *Builder) Params() Params { return b.g.params }

// IsDead reports whether a vector was deleted.
func (b *Builder) IsDead(id uint32) bool { return b.g.IsDead(id) }

// Graph hands the graph over. The Builder must not be used any more. rows must
// be what the vectors were inserted from.
func (b *Builder) Graph(rows Rows) *Graph {
	g := b.g
	b.g = nil
	g.reach(rows)
	return g
}

// Delete marks a vector so that it is not found any more. It stays where it is,
// and leads to others. It panics if there is no such vector.
func (b *Builder) Delete(id uint32) {
	if !b.g.IsDead(id) {
		b.g.dead[id/64] |= 1 << (id % 64)
		b.g.deaths++
	}
}

// portion bounds how many vectors are inserted at a time. They do not see each
// other's links, only each other, so the graph is hardly different from one
// into which they came one by one.
const portion = 256

// Insert inserts the vectors that follow, up to the one before number end, with
// that many goroutines at work. The graph does not depend on how many. When ctx
// ends it returns its error; the vectors up to Len are in the graph then, and
// Insert may be called again for the rest.
//
// It panics if a vector has not the graph's dimension.
func (b *Builder) Insert(ctx context.Context, rows Rows, end, workers int) error {
	if end > MaxLen {
		return fmt.Errorf("%w: %d vectors are more than %d", ErrParams, end, MaxLen)
	}
	team := make([]*inserter, max(1, workers))
	for i := range team {
		team[i] = &inserter{rows: rows, g: b.g}
	}
	b.g.reserve(end)
	for b.g.Len() < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := b.g.Len()
		size := min(max(1, n/32), portion, end-n)
		b.insert(rows, size, team)
	}
	return nil
}

// insert inserts a portion in three steps. The first only reads the graph; in
// the second each vector's links are written by one goroutine; so none waits
// for another, and what comes out is certain.
func (b *Builder) insert(rows Rows, size int, team []*inserter) {
	g := b.g
	first := uint32(g.Len())
	for i := range size {
		g.add(rows.Row(first + uint32(i)))
	}
	chosen := make([][][]place, size)
	share(team, size, func(w *inserter, i int) { chosen[i] = w.choose(first, first+uint32(i)) })

	var back []backlink
	for i, levels := range chosen {
		id := first + uint32(i)
		for level, places := range levels {
			for _, p := range places {
				back = append(back, backlink{p.id(), uint8(level), id})
			}
			g.setLinks(id, level, ids(places))
		}
		if level := int(g.levels[id]); level > g.top {
			g.top, g.entry = level, id
		}
	}
	slices.SortFunc(back, backlink.compare)
	groups := group(back)
	share(team, len(groups), func(w *inserter, i int) { w.link(groups[i]) })
}

// share has the team do n pieces of work, each of them once.
func share(team []*inserter, n int, do func(w *inserter, i int)) {
	if len(team) == 1 || n < 2*len(team) {
		for i := range n {
			do(team[0], i)
		}
		return
	}
	var wait sync.WaitGroup
	for at, w := range team {
		wait.Go(func() {
			for i := at; i < n; i += len(team) {
				do(w, i)
			}
		})
	}
	wait.Wait()
}

// reserve makes room for the lowest level up to a number of vectors at once.
func (g *Graph) reserve(end int) {
	if n := end - g.Len(); n > 0 {
		g.low = slices.Grow(g.low, n*(1+2*g.params.M))
		g.levels, g.upper = slices.Grow(g.levels, n), slices.Grow(g.upper, n)
		if g.params.Int8 {
			g.codes.elements = slices.Grow(g.codes.elements, n*codeSize(g.params.Dimension))
		}
	}
}

// grow makes room for one more vector, on levels up to the one given.
func (g *Graph) grow(level int) {
	id := len(g.levels)
	g.levels = append(g.levels, uint8(level))
	g.low = append(g.low, make([]uint32, 1+2*g.params.M)...)
	first := 0
	if level > 0 {
		first = len(g.high) / (1 + g.params.M)
		g.high = append(g.high, make([]uint32, level*(1+g.params.M))...)
	}
	g.upper = append(g.upper, uint32(first))
	if id%64 == 0 {
		g.dead = append(g.dead, 0)
	}
	p := g.params
	if p.Metric == Cosine {
		g.inverse = append(g.inverse, 0)
	}
	if p.Int8 {
		g.codes.elements = append(g.codes.elements, make([]int8, codeSize(p.Dimension))...)
		g.codes.scales = append(g.codes.scales, 0)
		if p.Metric == Euclidean {
			g.codes.norms = append(g.codes.norms, 0)
		}
	}
}

// add makes room for a vector and notes what of it the graph keeps.
func (g *Graph) add(v []float32) {
	p := g.params
	if len(v) != p.Dimension {
		panic(fmt.Sprintf("hnsw: a vector has %d elements, the graph %d", len(v), p.Dimension))
	}
	id := len(g.levels)
	g.grow(p.level(uint32(id)))
	if p.Metric == Cosine {
		g.inverse[id] = inverseNorm(v)
	}
	if p.Int8 {
		g.codes.scales[id] = distance.Quantize(g.codes.elements[id*codeSize(p.Dimension):], v)
		if p.Metric == Euclidean {
			g.codes.norms[id] = distance.Dot(v, v)
		}
	}
}

// inserter is what one goroutine works with.
type inserter struct {
	searcher
	rows Rows
	g    *Graph
	all  []uint32
}

// choose returns whom a new vector is linked to, for each of its levels: out of
// what a search finds in the graph as it was, and of the new ones before it,
// from first on (algorithm 1 of the paper).
func (w *inserter) choose(first, id uint32) [][]place {
	g := w.g
	w.aimAt(g, w.rows, id)
	level := int(g.levels[id])
	chosen := make([][]place, level+1)
	w.all = w.all[:0]
	for other := first; other < id; other++ {
		w.all = append(w.all, other)
	}
	fellows := slices.Clone(w.measure(w.all))

	var from place
	if g.top >= 0 {
		from = w.descend(g.top, min(level, g.top))
	}
	for l := level; l >= 0; l-- {
		var candidates []place
		if l <= g.top {
			found := w.layer(l, g.params.EfConstruction, nil, from)
			from = found[0]
			candidates = append(candidates, found...)
		}
		for i, other := range w.all {
			if int(g.levels[other]) >= l {
				candidates = append(candidates, placeOf(fellows[i], other))
			}
		}
		slices.Sort(candidates)
		chosen[l] = slices.Clone(g.choose(w.rows, candidates, g.params.M))
	}
	return chosen
}

// backlink says that source has chosen target on a level.
type backlink struct {
	target uint32
	level  uint8
	source uint32
}

func (a backlink) compare(b backlink) int {
	order := func(l backlink) uint64 { return uint64(l.target)<<8 | uint64(l.level) }
	switch x, y := order(a), order(b); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return int(int64(a.source) - int64(b.source))
}

// group cuts sorted backlinks into those of each target and level.
func group(back []backlink) [][]backlink {
	var groups [][]backlink
	for len(back) > 0 {
		n := 1
		for n < len(back) && back[n].target == back[0].target && back[n].level == back[0].level {
			n++
		}
		groups = append(groups, back[:n])
		back = back[n:]
	}
	return groups
}

// link links a target back to those who chose it. Where there is no room it
// chooses anew.
func (w *inserter) link(group []backlink) {
	g, target, level := w.g, group[0].target, int(group[0].level)
	room := g.room(level)
	links := append(w.all[:0], g.links(target, level)...)
	if len(links)+len(group) <= room {
		for _, l := range group {
			links = append(links, l.source)
		}
	} else {
		w.aimAt(g, w.rows, target)
		for _, l := range group {
			if links = append(links, l.source); len(links) > room {
				links = w.prune(links, room)
			}
		}
	}
	g.setLinks(target, level, links)
	w.all = links[:0]
}

// prune chooses room of the links of the vector that is aimed at.
func (w *inserter) prune(links []uint32, room int) []uint32 {
	places := w.ahead[:0]
	for i, d := range w.measure(links) {
		places = append(places, placeOf(d, links[i]))
	}
	slices.Sort(places)
	kept := w.g.choose(w.rows, places, room)
	w.ahead = places[:0]
	links = links[:0]
	for _, p := range kept {
		links = append(links, p.id())
	}
	return links
}

func ids(places []place) []uint32 {
	list := make([]uint32, len(places))
	for i, p := range places {
		list[i] = p.id()
	}
	return list
}
