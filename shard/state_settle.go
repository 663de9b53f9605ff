package shard

// willSettle notes that a run has puts to settle, if it has.
func (s *State) willSettle(r *liveRun) {
	if !r.unsettled && !r.keys.Settled() {
		r.unsettled = true
		s.unsettled = append(s.unsettled, r)
	}
}

// settleAll settles all runs that need it, before they are shown to readers who
// may be all that there will be.
func (s *State) settleAll() {
	for s.settle() != nil {
	}
}

// settle settles one of the runs that need it, and returns it, or nil if there
// is none.
func (s *State) settle() *liveRun {
	for n := len(s.unsettled) - 1; n >= 0; n-- {
		r := s.unsettled[n]
		s.unsettled[n] = nil
		s.unsettled = s.unsettled[:n]
		r.unsettled = false
		if r.keys != nil { // else it left memory, or was deleted
			r.keys.Settle()
			return r
		}
	}
	return nil
}
