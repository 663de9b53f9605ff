package shard

import (
	"inmem/checkpoint"
	"inmem/op"
	"inmem/ordered"
	"inmem/run"
	"inmem/ttl"
)

// Load takes a run from a checkpoint: begin, then items one by one by the
// returned function.
func (s *State) Load(e *checkpoint.Entry) (item func(mapKey []byte, it op.Item), err error) {
	r, err := s.known(e)
	if err != nil {
		return nil, err
	}
	r.contents = contents{keys: &ordered.Map{}}
	s.runs[e.Run] = r
	r.changed = true
	s.changed = append(s.changed, r)
	return func(mapKey []byte, it op.Item) {
		s.timers = r.put(e.Run, mapKey, it, s.timers)
		s.willSettle(r)
	}, nil
}

// known makes a run of what an entry says, without its keys.
func (s *State) known(e *checkpoint.Entry) (*liveRun, error) {
	info, err := run.DecodeRecord(e.Run, e.Info)
	if err != nil {
		return nil, err
	}
	return &liveRun{
		handle: s.roll.handle(e.Run), info: info, bare: bareBytes(info), version: e.Version, time: e.Time,
		firstSeq: e.FirstSeq, lastSeq: e.LastSeq, contents: contents{deadlines: int(e.Deadlines)},
	}, nil
}

// Forget takes the IDs of runs that a checkpoint knows to be deleted.
func (s *State) Forget(deleted []run.ID) {
	for _, id := range deleted {
		s.deleted[id] = struct{}{}
	}
}

// Rest takes the runs of a checkpoint's index, and leaves their keys where they are.
// Each entry has been looked at by Rests.
func (s *State) Rest(index *checkpoint.Table) { s.roll.index.Store(index) }

// Rests looks at an entry of an index that Rest is about to take.
func (s *State) Rests(e *checkpoint.Entry) error {
	if err := run.CheckRecord(e.Run, e.Info); err != nil {
		return err
	}
	if e.Earliest != 0 {
		// An entry for the whole run: when it comes due the run is loaded, and its
		// keys get theirs.
		s.timers = append(s.timers, ttl.Change{Run: e.Run, Version: e.Version, Deadline: e.Earliest})
	}
	return nil
}

// Fetch lets replays read the keys of cold runs from their images; nil = no more.
func (s *State) Fetch(image func(id run.ID, item func(mapKey []byte, it op.Item)) error) {
	s.fetch = image
}

// warm loads a cold run where there is nobody else to do it.
func (s *State) warm(r *liveRun) error {
	if s.fetch == nil {
		return errCold
	}
	l := loaded{contents: contents{keys: &ordered.Map{}}}
	id := r.handle.ID
	if err := s.fetch(id, func(key []byte, it op.Item) { l.timers = l.put(id, key, it, l.timers) }); err != nil {
		return err
	}
	s.takeOver(r, &l)
	return nil
}

// takeOver takes a run into memory that was at rest, and was loaded.
func (s *State) takeOver(r *liveRun, l *loaded) {
	if r.deadlines > 0 && !r.handle.told.Load() {
		s.timers = append(s.timers, ttl.Change{Run: r.handle.ID, Version: r.version})
	}
	s.timers = append(s.timers, l.timers...)
	r.contents = l.contents
	s.runs[r.handle.ID] = r
	s.willSettle(r)
}

// rest lets a run leave memory whose image on disk is what it is.
func (s *State) rest(r *liveRun) {
	delete(s.runs, r.handle.ID)
	r.contents = contents{}
}

// resting yields what is known of the runs that are at rest.
func (s *State) resting(yield func(*checkpoint.Entry) bool) {
	for e := range s.roll.index.Load().All {
		if s.runs[e.Run] != nil {
			continue
		}
		if _, gone := s.deleted[e.Run]; !gone && !yield(e) {
			return
		}
	}
}
