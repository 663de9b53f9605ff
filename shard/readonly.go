package shard

// NewReadOnly publishes what recovery found. There is nobody to write: no
// goroutine, no log. Commands get op.ErrReadOnly.
func NewReadOnly(cfg Config) *Shard {
	s := &Shard{cfg: cfg, state: cfg.State, roll: cfg.State.roll, sweeping: make(chan struct{}, 1)}
	s.images = newImager(s)
	s.past.Store(cfg.History)
	s.feed.from, s.feed.last = unknown, s.last()
	s.open()
	return s
}

// readOnly reports whether NewReadOnly made the shard.
func (s *Shard) readOnly() bool { return s.log == nil }

// Refresh publishes what was logged since the shard was made, or refreshed, by
// whoever writes to it. It is for a shard that is only read. After an error
// readers see what they saw before.
func (s *Shard) Refresh() error {
	s.refreshing.Lock() // who refreshes is the state's owner
	defer s.refreshing.Unlock()
	past, err := s.cfg.More()
	if err != nil {
		return err
	}
	s.past.Store(past)
	s.state.settleAll()
	s.publish()
	return nil
}
