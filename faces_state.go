package inmem

import "inmem/state"

// State returns the run's state cells.
func (r *Run) State() state.Store { return state.NewStore((*face)(r)) }

// State returns the state cells as the transaction sees them.
func (tx *Tx) State() state.Store { return state.NewStore((*txFace)(tx)) }

// State returns the state cells as they were.
func (p *Past) State() state.Store { return state.NewStore((*pastFace)(p)) }
