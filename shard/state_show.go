package shard

import (
	"inmem/op"
	"inmem/run"
)

// Snapshot returns a run as it is now, or nil where it is not in memory.
func (s *State) Snapshot(id run.ID) *Snapshot {
	if r := s.runs[id]; r != nil {
		return r.snapshot()
	}
	return nil
}

// snapshot returns the run as it is now, for publishing.
func (r *liveRun) snapshot() *Snapshot {
	snap := &Snapshot{Head: Head{
		ID: r.handle.ID, Version: r.version, Time: r.time, Info: r.info,
		FirstSeq: r.firstSeq, LastSeq: r.lastSeq, Deadlines: r.deadlines,
	}}
	snap.keys = r.keys.Snapshot()
	snap.bytes = r.bare + r.keys.Bytes()
	return snap
}

// weigh keeps dirtyBytes: the memory that the keys and values take of the runs that
// changed since the last checkpoint, but for large values. Those that are not on disk
// yet count as what was logged.
func (s *State) weigh(r *liveRun) {
	if !r.dirty {
		return
	}
	now := int64(0)
	if !r.dropped {
		now = r.keys.Bytes() - r.keys.LargeBytes()
	}
	s.dirtyBytes += now - r.weight
	r.weight = now
}

// clean forgets what is dirty: it is on its way into a checkpoint.
func (s *State) clean() {
	for _, r := range s.dirty {
		r.dirty, r.weight = false, 0
	}
	clear(s.dirty)
	s.dirty, s.dirtyBytes, s.newlyDeleted = s.dirty[:0], 0, nil
}

// Len returns how many runs there are, and how many keys in all of them.
func (s *State) Len() (runs, keys int) {
	runs = len(s.runs)
	for _, r := range s.runs {
		keys += r.keys.Len()
	}
	for e := range s.resting {
		runs++
		keys += int(e.Keys)
	}
	return runs, keys
}

// Active returns the runs that are active, without spaces, in no order.
func (s *State) Active() []*run.Info {
	var list []*run.Info
	for _, r := range s.runs {
		if r.info.Status == run.Active && !r.info.Space {
			list = append(list, r.info)
		}
	}
	for e := range s.resting {
		if run.RecordStatus(e.Info) != run.Active {
			continue
		}
		if info, err := run.DecodeRecord(e.Run, e.Info); err == nil && !info.Space {
			list = append(list, info)
		}
	}
	return list
}

// Digest returns the fingerprint of a run that is in memory.
func (s *State) Digest(id run.ID) (op.Digest, bool) {
	r := s.runs[id]
	if r == nil {
		return op.Digest{}, false
	}
	return r.snapshot().Digest(), true
}
