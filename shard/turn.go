package shard

import (
	"runtime/debug"

	"inmem/actor"
	"inmem/op"
	"inmem/wal"
)

// Whoever has the turn is the owner: he alone reads and changes what the owner
// has, and gives the turn back with nothing half done. The shard's goroutine
// takes it for each batch, and a caller if it is free.

func (s *Shard) take() {
	s.wanted.Store(true) // or callers who come back for it all the time keep it
	s.turn.Lock()
	s.wanted.Store(false)
	s.mine = true
}

func (s *Shard) give() {
	s.mine = false
	s.turn.Unlock()
}

// lend lets the caller carry out its command itself, as a batch of one, which
// spares two switches of goroutines. It returns false where the turn is not
// free, where others wait for it, and where the command may have to wait for the
// disk: a caller's context could not end that.
func (s *Shard) lend(c *command) bool {
	if s.wanted.Load() || s.mailbox.Len() > 0 || !s.turn.TryLock() {
		return false
	}
	defer s.turn.Unlock()
	if s.closed || c.kind != install && (s.mode(c.mode) == op.Strict || !s.log.Ready(wal.FrameSize(c.size()))) {
		return false
	}
	returned := false
	defer func() {
		if !returned { // the goroutine is being ended by runtime.Goexit
			s.current = nil
			s.health.Poison(&actor.PanicError{Actor: s.name, Value: actor.ErrGoexit, Stack: debug.Stack()})
		}
	}()
	s.single[0], c.lent = c, true
	s.guarded(s.single[:])
	clear(s.state.commit.Ops) // the bytes are the caller's again
	s.single[0], returned = nil, true
	s.metrics.lent.Add(1)
	return true
}
