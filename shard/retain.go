package shard

import (
	"inmem/op"
	"inmem/retention"
	"inmem/run"
)

// SetTag decides on a change of a tag of a run's metadata. A nil commit without
// an error means that the run has it.
func (s *State) SetTag(id run.ID, key, value string, fence op.Expect, now int64) (*op.Commit, error) {
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if r.keys == nil {
		return nil, errCold
	}
	if err := r.fenced(fence); err != nil {
		return nil, err
	}
	info := r.info.Clone()
	if had, ok := info.Tags[key]; ok && had == value {
		return nil, nil
	}
	if info.Tags == nil {
		info.Tags = map[string]string{}
	}
	info.Tags[key] = value
	if err := info.Validate(); err != nil {
		return nil, err
	}
	c := s.next(r, now)
	c.Ops = append(c.Ops, metadata(info))
	return c, nil
}

// Remove decides on the deletion of a run by retention. A nil commit without an
// error means that it is to be kept.
func (s *State) Remove(id run.ID, now int64) (*op.Commit, error) {
	r, err := s.find(id)
	if err != nil || !retention.Removable(r.info) {
		return nil, err
	}
	return s.Drop(id, now)
}
