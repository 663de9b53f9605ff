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
	r, err := s.enter(e)
	if err != nil {
		return nil, err
	}
	r.keys = &ordered.Map{}
	return func(mapKey []byte, it op.Item) {
		s.timers = r.put(e.Run, mapKey, it, s.timers)
		s.willSettle(r)
	}, nil
}

// enter makes a run of what an entry says, without its keys.
func (s *State) enter(e *checkpoint.Entry) (*liveRun, error) {
	info, err := run.DecodeRecord(e.Run, e.Info)
	if err != nil {
		return nil, err
	}
	r := &liveRun{
		handle: &Handle{ID: e.Run}, info: info, bare: bareBytes(info), version: e.Version, time: e.Time,
		firstSeq: e.FirstSeq, lastSeq: e.LastSeq, changed: true,
	}
	s.runs[e.Run] = r
	s.changed = append(s.changed, r)
	s.listed = append(s.listed, listed{info: info})
	return r, nil
}

// Forget takes the IDs of runs that a checkpoint knows to be deleted.
func (s *State) Forget(deleted []run.ID) {
	for _, id := range deleted {
		s.deleted[id] = struct{}{}
	}
}

// LoadCold takes a run from a checkpoint and leaves its keys where they are.
func (s *State) LoadCold(e *checkpoint.Entry) error {
	r, err := s.enter(e)
	if err != nil {
		return err
	}
	r.cold = &cold{counts: ordered.Counts(e.Counts), image: e.Size(), earliest: e.Earliest}
	r.deadlines = int(e.Deadlines)
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
	l := loaded{from: r.cold, contents: contents{keys: &ordered.Map{}}}
	id := r.handle.ID
	if err := s.fetch(id, func(key []byte, it op.Item) { l.timers = l.put(id, key, it, l.timers) }); err != nil {
		return err
	}
	s.takeOver(r, &l)
	return nil
}

// takeOver makes a cold run warm.
func (s *State) takeOver(r *liveRun, l *loaded) {
	if l.from.earliest != 0 {
		s.timers = append(s.timers, ttl.Change{Run: r.handle.ID, Version: r.version})
	}
	s.timers = append(s.timers, l.timers...)
	r.contents, r.cold = l.contents, nil
	s.willSettle(r)
}

// cool makes a run cold whose image on disk is what it is.
func (s *State) cool(r *liveRun) {
	r.cold = &cold{counts: r.keys.Counts(), image: r.keys.Bytes()} // ttl knows the deadlines
	r.contents = contents{deadlines: r.deadlines}
}
