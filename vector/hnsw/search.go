package hnsw

import (
	"fmt"
	"slices"
	"sync"

	"inmem/vector/distance"
)

// Result is a vector that was found.
type Result struct {
	ID uint32
	// Distance is how far it is by the graph's metric, computed in float32: one
	// minus the cosine, the negative dot product, or the squared distance.
	Distance float32
}

// Search returns about the k vectors nearest to query, nearest first, those as
// near by their number. It keeps ef candidates, or k if that is more: the more,
// the better the recall, and the longer it takes, about in proportion. With ef
// not below Len the result is exact, up to the rounding of float32.
//
// Vectors that are dead, or that accept returns false for, are passed through
// but not returned; accept may be nil. Where it accepts few, a search goes
// through much of the graph, and looking at those few is faster.
//
// It panics if query has not the graph's dimension.
func (g *Graph) Search(rows Rows, query []float32, k, ef int, accept func(id uint32) bool) []Result {
	if len(query) != g.params.Dimension {
		panic(fmt.Sprintf("hnsw: the query has %d elements, the graph %d", len(query), g.params.Dimension))
	}
	if k <= 0 || g.top < 0 {
		return nil
	}
	s := searchers.Get().(*searcher)
	defer s.free()
	s.aim(g, rows, query)
	s.quantize()
	from := s.descend(g.top, 0)
	entry := placeOf(s.far(append(s.fresh[:0], g.entry))[0], g.entry)
	found := s.layer(0, max(k, ef), s.judge(accept), from, entry)
	if s.coded {
		found = s.again(found)
	}
	found = found[:min(k, len(found))]
	results := make([]Result, len(found))
	for i, p := range found {
		results[i] = Result{ID: p.id(), Distance: p.distance()}
	}
	return results
}

// searcher is what one search works with.
type searcher struct {
	ruler
	visited []uint64 // a bit for each vector
	fresh   []uint32 // neighbours that were not visited before
	ahead   nearest  // where to look next
	found   farthest

	// With codes, distances are measured by them.
	coded bool
	code  []int8
	scale float32
	norm  float32
	dots  []int32
}

var searchers = sync.Pool{New: func() any { return new(searcher) }}

func (s *searcher) free() {
	s.release()
	s.coded = false
	searchers.Put(s)
}

// judge returns what decides whether a vector may be returned; nil if all may.
func (s *searcher) judge(accept func(id uint32) bool) func(id uint32) bool {
	g := s.graph
	switch {
	case g.deaths == 0:
		return accept
	case accept == nil:
		return func(id uint32) bool { return !g.IsDead(id) }
	}
	return func(id uint32) bool { return !g.IsDead(id) && accept(id) }
}

// far returns the distances of vectors from the query.
func (s *searcher) far(ids []uint32) []float32 {
	if s.coded {
		return s.measureCodes(ids)
	}
	return s.measure(ids)
}

// again measures what was found by the vectors instead of their codes, and puts
// it in order.
func (s *searcher) again(found []place) []place {
	s.fresh = s.fresh[:0]
	for _, p := range found {
		s.fresh = append(s.fresh, p.id())
	}
	for i, d := range s.measure(s.fresh) {
		found[i] = placeOf(d, s.fresh[i])
	}
	slices.Sort(found)
	return found
}

// descend goes from the entry towards the query, level by level, and returns
// the nearest vector it comes to on the level above the last.
func (s *searcher) descend(from, to int) place {
	g := s.graph
	s.fresh = append(s.fresh[:0], g.entry)
	at := placeOf(s.far(s.fresh)[0], g.entry)
	for level := from; level > to; level-- {
		for {
			links := g.links(at.id(), level)
			before := at
			for i, d := range s.far(links) {
				at = min(at, placeOf(d, links[i]))
			}
			if at == before {
				break
			}
		}
	}
	return at
}

// layer looks for the ef vectors of a level that are nearest to the query and
// that accept accepts, beginning at those given, and returns them in order, until
// the next call (algorithm 2 of the paper). All vectors of the lowest level are
// reached from the entry, but not from each of the others.
func (s *searcher) layer(level, ef int, accept func(id uint32) bool, begin ...place) []place {
	g := s.graph
	s.forget()
	s.ahead, s.found = s.ahead[:0], s.found[:0]
	for _, p := range begin {
		if s.visit(p.id()) {
			s.ahead.push(p)
			if accept == nil || accept(p.id()) {
				s.found.push(p)
			}
		}
	}
	for len(s.ahead) > 0 {
		at := s.ahead.pop()
		if len(s.found) >= ef && at > s.found[0] {
			break // whatever is ahead is farther than all that was found
		}
		s.fresh = s.fresh[:0]
		for _, id := range g.links(at.id(), level) {
			if s.visit(id) {
				s.fresh = append(s.fresh, id)
			}
		}
		for i, d := range s.far(s.fresh) {
			p := placeOf(d, s.fresh[i])
			full := len(s.found) >= ef
			if full && p > s.found[0] {
				continue
			}
			s.ahead.push(p)
			switch {
			case accept != nil && !accept(p.id()):
			case full:
				s.found.replace(p)
			default:
				s.found.push(p)
			}
		}
	}
	slices.Sort(s.found)
	return s.found
}

// forget makes all vectors unvisited.
func (s *searcher) forget() {
	words := (s.graph.Len() + 63) / 64
	if cap(s.visited) < words {
		s.visited = make([]uint64, words+words/4)
	}
	s.visited = s.visited[:words]
	clear(s.visited)
}

// visit reports whether a vector is visited for the first time.
func (s *searcher) visit(id uint32) bool {
	word, bit := &s.visited[id/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// codes are vectors in 8 bits an element, each times a scale of its own. Zeros
// fill a vector up to a multiple of 16 elements, which spares the kernel a rest.
type codes struct {
	elements []int8
	scales   []float32
	norms    []float32 // under Euclidean: the square of each vector's norm
}

func codeSize(dimension int) int { return (dimension + 15) &^ 15 }

func (c *codes) memory() int {
	return cap(c.elements) + 4*(cap(c.scales)+cap(c.norms))
}

// quantize has the search follow codes, where there are any.
func (s *searcher) quantize() {
	g := s.graph
	if s.coded = g.params.Int8; !s.coded {
		return
	}
	if size := codeSize(len(s.query)); len(s.code) != size {
		s.code = make([]int8, size)
	}
	s.scale = distance.Quantize(s.code, s.query)
	if g.params.Metric == Euclidean {
		s.norm = distance.Dot(s.query, s.query)
	}
}

// measureCodes is measure, by codes.
func (s *searcher) measureCodes(ids []uint32) []float32 {
	g := s.graph
	if cap(s.dots) < len(ids) {
		s.dots = make([]int32, max(64, 2*len(ids)))
	}
	if cap(s.values) < len(ids) {
		s.values = make([]float32, max(64, 2*len(ids)))
	}
	dots, values := s.dots[:len(ids)], s.values[:len(ids)]
	if len(ids) == 0 {
		return values
	}
	distance.DotsInt8(dots, s.code, g.codes.elements, ids)
	for i, id := range ids {
		dot := float32(dots[i]) * s.scale * g.codes.scales[id]
		switch g.params.Metric {
		case Euclidean:
			values[i] = s.norm + g.codes.norms[id] - 2*dot
		case Dot:
			values[i] = -dot
		default:
			values[i] = 1 - dot*s.inverse*g.inverse[id]
		}
	}
	return values
}
