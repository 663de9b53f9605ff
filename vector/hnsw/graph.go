package hnsw

import "inmem/vector/distance"

// Graph is an index that does not change. Vectors are numbered from 0 in the
// order of their insertion.
//
// A vector's links on a level are a slot of fixed size: their number, then the
// numbers of the vectors. The slots of the lowest level lie one behind the
// other. Those of the levels above, which few vectors have, do too, from the
// vector's place in upper on.
type Graph struct {
	params Params
	levels []uint8  // the highest level of each vector
	low    []uint32 // n slots of 1 + 2M
	upper  []uint32 // for each vector: its first slot in high; 0 if it has none
	high   []uint32 // slots of 1 + M: levels 1, 2 … of a vector, then the next vector's
	dead   []uint64 // a bit for each vector that is not to be found
	deaths int
	entry  uint32 // where a search begins: on the highest level there is
	top    int    // that level; -1 while nothing is linked

	inverse []float32 // under Cosine: one divided by each vector's norm
	codes   codes     // with Params.Int8
}

// Len returns the number of vectors, those deleted included.
func (g *Graph) Len() int { return len(g.levels) }

// IsDead reports whether vector id was deleted.
func (g *Graph) IsDead(id uint32) bool { return g.dead[id/64]>>(id%64)&1 != 0 }

// Memory returns how many bytes the graph takes, without the vectors.
func (g *Graph) Memory() int {
	return cap(g.levels) + 4*(cap(g.low)+cap(g.upper)+cap(g.high)+cap(g.inverse)) + 8*cap(g.dead) + g.codes.memory()
}

// Memory returns about how many bytes a graph of n vectors takes, without them: the
// lowest level, its share of those above, and what is kept of each vector.
func (p Params) Memory(n int) int64 {
	each := 4*(1+2*p.M) + 4*(1+p.M)/(p.M-1) + 6 // links, level, upper, dead
	if p.Metric == Cosine {
		each += 4
	}
	if p.Int8 {
		each += codeSize(p.Dimension) + 4
		if p.Metric == Euclidean {
			each += 4
		}
	}
	return int64(n) * int64(each)
}

// room returns how many links a vector may have on a level.
func (g *Graph) room(level int) int {
	if level == 0 {
		return 2 * g.params.M
	}
	return g.params.M
}

// slot returns what holds the links of vector id on a level that it has.
func (g *Graph) slot(id uint32, level int) []uint32 {
	if level == 0 {
		size := 1 + 2*g.params.M
		return g.low[int(id)*size:][:size]
	}
	size := 1 + g.params.M
	return g.high[(int(g.upper[id])+level-1)*size:][:size]
}

// links returns the vectors that id is linked to on a level that it has.
func (g *Graph) links(id uint32, level int) []uint32 {
	slot := g.slot(id, level)
	return slot[1 : 1+slot[0]]
}

// setLinks replaces them. There is room for as many.
func (g *Graph) setLinks(id uint32, level int, ids []uint32) {
	slot := g.slot(id, level)
	slot[0] = uint32(copy(slot[1:], ids))
}

// ruler measures how far vectors are from one of them, or from a query. Nearer
// is less.
type ruler struct {
	graph   *Graph
	rows    Rows
	query   []float32
	inverse float32 // of the query's norm, under Cosine

	vectors [][]float32 // what is being measured
	values  []float32
}

// aim takes a query that is no vector of the graph.
func (r *ruler) aim(g *Graph, rows Rows, query []float32) {
	r.graph, r.rows, r.query = g, rows, query
	if g.params.Metric == Cosine {
		r.inverse = inverseNorm(query)
	}
}

// aimAt takes a vector of the graph as the query.
func (r *ruler) aimAt(g *Graph, rows Rows, id uint32) {
	r.graph, r.rows, r.query = g, rows, rows.Row(id)
	if g.params.Metric == Cosine {
		r.inverse = g.inverse[id]
	}
}

// release lets go of the vectors, which a pooled ruler must not keep alive.
func (r *ruler) release() {
	clear(r.vectors[:cap(r.vectors)])
	r.graph, r.rows, r.query, r.vectors = nil, nil, nil, r.vectors[:0]
}

// measure returns the distances of the vectors from the query, until the next
// call.
func (r *ruler) measure(ids []uint32) []float32 {
	r.vectors = r.vectors[:0]
	for _, id := range ids {
		r.vectors = append(r.vectors, r.rows.Row(id))
	}
	if cap(r.values) < len(ids) {
		r.values = make([]float32, max(64, 2*len(ids)))
	}
	values := r.values[:len(ids)]
	switch r.graph.params.Metric {
	case Euclidean:
		distance.SquaredEuclideansOf(values, r.query, r.vectors)
		return values
	case Dot:
		distance.DotsOf(values, r.query, r.vectors)
		for i := range values {
			values[i] = -values[i]
		}
		return values
	}
	distance.DotsOf(values, r.query, r.vectors)
	for i, id := range ids {
		values[i] = 1 - values[i]*r.inverse*r.graph.inverse[id]
	}
	return values
}

// between returns the distance of two vectors of the graph.
func (g *Graph) between(rows Rows, a, b uint32) float32 {
	x, y := rows.Row(a), rows.Row(b)
	switch g.params.Metric {
	case Euclidean:
		return distance.SquaredEuclidean(x, y)
	case Dot:
		return -distance.Dot(x, y)
	}
	return 1 - distance.Dot(x, y)*g.inverse[a]*g.inverse[b]
}

// inverseNorm returns one divided by the norm of v; 0 where that is no number,
// so that such a vector is as far from everything as an orthogonal one.
func inverseNorm(v []float32) float32 {
	norm := distance.Norm(v)
	if inverse := float32(1 / norm); norm > 0 && inverse <= maxFloat32 {
		return inverse
	}
	return 0
}
