package inmem

import "inmem/trace"

// Trace returns the run's spans.
func (r *Run) Trace() trace.Store { return trace.NewStore((*face)(r)) }

// Trace returns the spans as the transaction sees them.
func (tx *Tx) Trace() trace.Store { return trace.NewStore((*txFace)(tx)) }

// Trace returns the spans as they were.
func (p *Past) Trace() trace.Store { return trace.NewStore((*pastFace)(p)) }
