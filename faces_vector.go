package inmem

import "inmem/vector"

// Vectors returns the run's collections of vectors. Its errors are those of
// package vector.
func (r *Run) Vectors() vector.Store {
	return vector.NewStore((*face)(r), r.db.vectors.Of(r.ID(), r.handle))
}

// Vectors returns the collections of vectors as the transaction sees them.
func (tx *Tx) Vectors() vector.Store {
	return vector.NewStore((*txFace)(tx), tx.run.db.vectors.Of(tx.ID(), tx.run.handle))
}

// Vectors returns the collections of vectors as they were.
func (p *Past) Vectors() vector.Store {
	return vector.NewStore((*pastFace)(p), p.run.db.vectors.Past(p.ID()))
}
