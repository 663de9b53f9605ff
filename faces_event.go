package inmem

import "inmem/event"

// Events returns the event face of the run: streams that are only appended to.
// Its errors are those of package event.
func (r *Run) Events() event.Store { return event.NewStore((*face)(r)) }

// Events returns the event face of the transaction.
func (tx *Tx) Events() event.Store { return event.NewStore((*txFace)(tx)) }

// Events returns the event face of the past: for reading.
func (p *Past) Events() event.Store { return event.NewStore((*pastFace)(p)) }
