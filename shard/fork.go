package shard

import (
	"bytes"
	"context"
	"fmt"

	"inmem/op"
	"inmem/ordered"
)

// Fork carries out the commit with which a run begins that has the items of a
// snapshot, as Adopt does. What it puts as the snapshot has it, with its version,
// lies in memory only once: the run shares it with the one of the snapshot. Such
// puts are in the order of the snapshot.
func (s *Shard) Fork(ctx context.Context, c *op.Commit, from *Snapshot, mode op.Durability) (*Handle, error) {
	var h *Handle
	err := s.settled(ctx, c.Run, func() (err error) {
		cmd := s.newCommand(adopt, c.Run)
		cmd.made, cmd.mode, cmd.shared = []*op.Commit{c}, mode, from.shared(c)
		h, err = s.adopted(ctx, cmd)
		return err
	})
	return h, err
}

// shared returns a map with what the commit puts as the snapshot has it.
func (s *Snapshot) shared(c *op.Commit) *ordered.Map {
	keys, rest := s.keys.Map(), c.Ops
	for key := range s.All() {
		for len(rest) > 0 && rest[0].Version == 0 {
			rest = rest[1:]
		}
		if len(rest) > 0 && rest[0].Tag == op.Tag(key[0]) && rest[0].Key == key[1:] {
			rest = rest[1:]
		} else {
			keys.Delete(key)
		}
	}
	return &keys
}

// has reports whether the run has the very item that is put from the beginning.
func (r *liveRun) has(key string, it op.Item) bool {
	if !r.shares {
		return false
	}
	was, ok := r.keys.Get(key)
	return ok && was.Version == it.Version && was.Deadline == it.Deadline && bytes.Equal(was.Value, it.Value)
}

// sharedAll ends the commit with which a run began that shares what it has. That
// must have been what the commit says, neither less nor more.
func (r *liveRun) sharedAll(said int) error {
	if !r.shares {
		return nil
	}
	r.shares = false
	if n := r.keys.Len(); n != said {
		return fmt.Errorf("run %v begins with %d keys in memory, but with %d in its commit", r.handle.ID, n, said)
	}
	return nil
}
