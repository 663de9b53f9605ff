package hnsw

// choose keeps at most most of the candidates, which are in order of their
// distance from one vector: each that is nearer to that vector than to any kept
// before it (algorithm 4 of the paper, without what it discards). So links lead
// in different directions, and from cluster to cluster. If there is room for
// all candidates all are kept. The result lies where the candidates did.
func (g *Graph) choose(rows Rows, candidates []place, most int) []place {
	if len(candidates) <= most {
		return candidates
	}
	kept := candidates[:0]
	for _, c := range candidates {
		if len(kept) == most {
			break
		}
		if g.apart(rows, c, kept) {
			kept = append(kept, c)
		}
	}
	return kept
}

// apart reports whether c is nearer to the vector that it was measured from than
// to any of the kept ones.
func (g *Graph) apart(rows Rows, c place, kept []place) bool {
	far := c.distance()
	for _, k := range kept {
		if g.between(rows, c.id(), k.id()) < far {
			return false
		}
	}
	return true
}
