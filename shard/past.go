package shard

import (
	"context"
	"errors"

	"inmem/op"
	"inmem/run"
	"inmem/wal"
)

// Past is a run on its way through its history: the state it had at a version.
// One goroutine uses it at a time.
type Past struct {
	state   *State
	version uint64 // 0 = nothing yet
	seq     uint64 // of that version's frame
	lost    bool   // the way on is interrupted: a base may lead on
}

// NewPast returns a run before its first commit.
func NewPast() *Past { return &Past{state: NewState()} }

// PastOf returns a run as it is in a state, with a version and the sequence of
// that version's frame.
func PastOf(state *State, version, sequence uint64) *Past {
	return &Past{state: state, version: version, seq: sequence}
}

// Version returns where it is; 0 = before the first commit.
func (p *Past) Version() uint64 { return p.version }

// Snapshot returns the run as it is there, or nil.
func (p *Past) Snapshot(id run.ID) *Snapshot { return p.state.Snapshot(id) }

// Digest returns the fingerprint of the run as it is there.
func (p *Past) Digest(id run.ID) (op.Digest, bool) { return p.state.Digest(id) }

// CutError says that the way to a version is not kept.
type CutError struct {
	Version uint64 // to which the way was
	First   uint64 // the first version to which there is a way; 0 = none was found
}

func (e *CutError) Error() string { return "what led to the version is not kept" }

// StepError says that a commit does not follow from those before it.
type StepError struct {
	Version uint64
	Err     error
}

func (e *StepError) Error() string { return e.Err.Error() }
func (e *StepError) Unwrap() error { return e.Err }

// errThere ends a reading of the log that has got where it was to go.
var errThere = errors.New("there")

// Follow goes on to a version, by the run's frames in the log from one sequence
// to another. Each commit on the way is given to each, if there is one, which may
// keep it. Where a part of the way is not kept it begins at the next base. It
// returns a *CutError where none leads to the version, or, with each, where not
// every commit is kept; a *StepError; and the errors of the log and of each.
func (p *Past) Follow(ctx context.Context, log *wal.History, id run.ID, from, to, version uint64, each func(*op.Commit) error) error {
	if p.version == version {
		return nil
	}
	f := follower{Past: p, target: version, each: each}
	err := log.Stream(ctx, id, max(from, p.seq+1), to, f.frame)
	if errors.Is(err, errThere) {
		return nil
	}
	if err == nil {
		err = &CutError{Version: version}
	}
	return err
}

// Take goes on by one frame of the run, into which it decodes c. Where the frame
// does not follow, and some before it may not be kept, it waits for a base.
func (p *Past) Take(f wal.Frame, c *op.Commit) error {
	if err := c.Decode(f.Payload); err != nil {
		return err
	}
	if f.Kind == wal.Base {
		return p.rebase(c, f.Sequence)
	}
	if p.version == 0 && !Begins(c) || f.Cut && p.version != 0 && c.Version != p.version+1 {
		p.lost = true
	}
	if p.lost {
		return nil
	}
	if err := p.state.Replay(c, f.Sequence); err != nil {
		return &StepError{c.Version, err}
	}
	p.version, p.seq = c.Version, f.Sequence
	return nil
}

// rebase goes over to a base, which needs nothing before it.
func (p *Past) rebase(c *op.Commit, seq uint64) error {
	if c.Version <= p.version && !p.lost {
		return nil
	}
	state := NewState()
	if err := state.Apply(c, seq); err != nil {
		return err
	}
	p.state, p.version, p.seq, p.lost = state, c.Version, seq, false
	return nil
}

// Lost reports whether it is not where the frames that it has taken led.
func (p *Past) Lost() bool { return p.lost }

// follower is a Past on its way to a version.
type follower struct {
	*Past
	target uint64
	each   func(*op.Commit) error
	commit op.Commit // scratch
}

func (f *follower) frame(fr wal.Frame) error {
	c, before := &f.commit, f.version
	if f.each != nil {
		c = new(op.Commit)
	}
	if fr.Kind == wal.Base {
		if v := versionOfRecord(fr.Payload); (v > before || f.lost) && (v > f.target || f.each != nil) {
			return &CutError{Version: f.target, First: v}
		}
	}
	if err := f.Take(fr, c); err != nil {
		return err
	}
	if f.each != nil && fr.Kind == wal.Record && f.version == c.Version && f.version != before {
		if err := f.each(c); err != nil {
			return err
		}
	}
	if f.version == f.target && !f.lost {
		return errThere
	}
	return nil
}

// baseOf returns the payload of a base: the run as it was at a version.
func baseOf(snap *Snapshot) ([]byte, bool) {
	c := &op.Commit{Run: snap.ID, Version: snap.Version, Time: snap.Time, Ops: make([]op.Op, 0, snap.Len())}
	for key, it := range snap.All() {
		c.Ops = append(c.Ops, op.Op{
			Kind: op.Put, Tag: op.Tag(key[0]), Key: key[1:], Value: it.Value, Deadline: it.Deadline, Version: it.Version,
		})
	}
	if c.Size() > wal.MaxPayload || len(c.Ops) == 0 {
		return nil, false
	}
	return op.AppendCommit(nil, c), true
}
