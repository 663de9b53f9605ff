package event

import "inmem/op"

// Run returns what the store stands on, for tests that damage what it stored.
func (s Store) Run() op.Run { return s.run }
